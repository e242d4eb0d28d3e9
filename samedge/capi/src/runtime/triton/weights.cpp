#include "runtime/triton/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr std::size_t kChunk = std::size_t{1} << 24;

float float_of(std::uint32_t bits) noexcept {
  float value = 0.0F;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::uint32_t bits_of(float value) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// The value of half-precision bits, exactly.
float widened_half(std::uint16_t half) noexcept {
  const std::uint32_t sign = (half & 0x8000U) << 16U, exponent = (half >> 10U) & 0x1FU, fraction = half & 0x3FFU;
  if (exponent == 0x1F) return float_of(sign | 0x7F800000U | fraction << 13U);
  if (exponent != 0) return float_of(sign | (exponent + 112) << 23U | fraction << 13U);
  const float value = static_cast<float>(fraction) * 0x1p-24F;
  return sign != 0 ? -value : value;
}

// The nearest half, of two the even one; too large ones become infinite, as numpy has it.
std::uint16_t half_of(float value) noexcept {
  const std::uint32_t bits = bits_of(value), sign = bits >> 16U & 0x8000U, rest = bits & 0x7FFFFFFFU;
  if (rest > 0x7F800000U)  // NaN keeps what fits of its payload, and stays one
    return static_cast<std::uint16_t>(sign | 0x7C00U | std::max(rest >> 13U & 0x3FFU, 1U));
  if (rest >= 0x477FF000U) return static_cast<std::uint16_t>(sign | 0x7C00U);  // 65520 and more
  if (rest < 0x38800000U) {                                                    // below 2^-14: no normal half
    // Added to 0.5 the value's last kept bit is the last one of the sum's fraction, and the addition rounds.
    const float sum = float_of(rest) + 0.5F;
    return static_cast<std::uint16_t>(sign | (bits_of(sum) - 0x3F000000U));
  }
  const std::uint32_t rounded = rest + 0xFFFU + (rest >> 13U & 1U) - 0x38000000U;
  return static_cast<std::uint16_t>(sign | rounded >> 13U);
}

std::uint16_t bfloat_of(float value) noexcept {
  if (std::isnan(value)) return 0x7FC0;
  const std::uint32_t bits = bits_of(value);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}

float read_as_float(const std::uint8_t *at, Stored type) noexcept {
  if (type == Stored::fp32) {
    float value = 0.0F;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint16_t half = 0;
  std::memcpy(&half, at, sizeof half);
  return type == Stored::fp16 ? widened_half(half) : float_of(std::uint32_t{half} << 16U);
}

// Whether the value that was written is finite.
bool write_as(std::uint8_t *at, Stored type, float value) noexcept {
  if (type == Stored::fp32) {
    std::memcpy(at, &value, sizeof value);
    return std::isfinite(value);
  }
  const std::uint16_t half = type == Stored::fp16 ? half_of(value) : bfloat_of(value);
  std::memcpy(at, &half, sizeof half);
  const std::uint16_t exponent = type == Stored::fp16 ? 0x7C00 : 0x7F80;
  return (half & exponent) != exponent;
}

// One row of values that lie `step` bytes apart. Types are known where it is compiled: it is a tight loop.
template <Stored stored, Stored dtype>
bool convert_row(const std::uint8_t *source, std::ptrdiff_t step, std::size_t count, float scale,
                 std::uint8_t *target, float &worst) noexcept {
  constexpr std::size_t size = dtype == Stored::fp32 ? 4 : 2;
  bool fine = true;
  for (std::size_t i = 0; i < count; ++i) {
    const float value = read_as_float(source + static_cast<std::ptrdiff_t>(i) * step, stored) * scale;
    if (write_as(target + i * size, dtype, value) != std::isfinite(value)) {
      fine = false;
      worst = std::max(worst, std::fabs(value));
    }
  }
  return fine;
}

using ConvertRow = bool (*)(const std::uint8_t *, std::ptrdiff_t, std::size_t, float, std::uint8_t *, float &);

template <Stored stored>
ConvertRow converter_to(Stored dtype) noexcept {
  if (dtype == Stored::fp32) return &convert_row<stored, Stored::fp32>;
  return dtype == Stored::fp16 ? &convert_row<stored, Stored::fp16> : &convert_row<stored, Stored::bf16>;
}

ConvertRow converter(Stored stored, Stored dtype) noexcept {
  if (stored == Stored::fp32) return converter_to<Stored::fp32>(dtype);
  return stored == Stored::fp16 ? converter_to<Stored::fp16>(dtype) : converter_to<Stored::bf16>(dtype);
}

void copy_row(const std::uint8_t *source, std::ptrdiff_t step, std::size_t count, std::size_t size,
              std::uint8_t *target) noexcept {
  if (step == static_cast<std::ptrdiff_t>(size)) {
    std::memcpy(target, source, count * size);
    return;
  }
  for (std::size_t i = 0; i < count; ++i)
    std::memcpy(target + i * size, source + static_cast<std::ptrdiff_t>(i) * step, size);
}

}  // namespace

void convert_weight(const Weight &weight, const std::uint8_t *source, std::uint64_t source_size,
                    std::size_t chunk, const PutWeights &put) {
  const auto extent = static_cast<std::uint64_t>(weight.extent()), position = static_cast<std::uint64_t>(weight.position);
  const unsigned long long stop = position + extent, size = source_size;
  if (extent > source_size || position > source_size - extent)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED,
         "the engine reads %s up to byte %llu of %s, which has %llu; build it again with `samedge build`",
         shown(weight.name).c_str(), stop,
         weight.file.empty() ? "its constants" : shown(weight.file).c_str(),
         size);
  const std::size_t from = size_of(weight.stored), to = size_of(weight.dtype);
  const bool kept = weight.stored == weight.dtype && weight.scale == 1.0;
  const ConvertRow convert = kept ? nullptr : converter(weight.stored, weight.dtype);
  const auto scale = static_cast<float>(weight.scale);
  const std::size_t rank = weight.shape.size();
  const std::size_t row = rank == 0 ? 1 : static_cast<std::size_t>(weight.shape[rank - 1]);
  const std::ptrdiff_t step =
      rank == 0 ? static_cast<std::ptrdiff_t>(from) : weight.strides[rank - 1] * static_cast<std::ptrdiff_t>(from);
  const std::size_t total = static_cast<std::size_t>(weight.elements());
  // As many elements at a time as a piece has, of a row or of several.
  const std::size_t most = std::max<std::size_t>(chunk / to, 1);
  std::vector<std::uint8_t> piece(std::min(total, most) * to);
  std::vector<std::int64_t> index(rank, 0);  // of the row at hand, the last one in it
  const std::uint8_t *start = source + weight.position;
  std::size_t filled = 0, put_at = 0;
  float worst = 0.0F;
  for (std::size_t done = 0; done < total;) {
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < rank; ++axis) offset += index[axis] * weight.strides[axis];
    const std::uint8_t *at = start + offset * static_cast<std::ptrdiff_t>(from);
    const std::size_t in_row = rank == 0 ? 0 : static_cast<std::size_t>(index[rank - 1]);
    const std::size_t count = std::min(row - in_row, most - filled);
    std::uint8_t *target = piece.data() + filled * to;
    if (kept)
      copy_row(at, step, count, from, target);
    else if (!convert(at, step, count, scale, target, worst))
      fail(SAMEDGE_ERROR_NOT_SUPPORTED,
           "%s holds %.4g, which is too large for %s; build the engine in another precision: samedge build BUNDLE "
           "--target triton --precision fp32", shown(weight.name).c_str(), static_cast<double>(worst),
           name_of(weight.dtype));
    done += count;
    filled += count;
    if (filled == most || done == total) {
      put(put_at, piece.data(), filled * to);
      put_at += filled * to;
      filled = 0;
    }
    if (rank == 0) continue;
    index[rank - 1] += static_cast<std::int64_t>(count);
    for (std::size_t axis = rank; axis-- > 1 && index[axis] == weight.shape[axis];) {
      index[axis] = 0;
      ++index[axis - 1];
    }
  }
}

void check_bundle(const EngineFile &engine, const Bundle &bundle) {
  const auto &listed = bundle.manifest().files;
  for (const auto &[file, digest] : engine.plan.files) {
    const auto found = listed.find(file);
    if (found != listed.end() && found->second.sha256 == digest) continue;
    const std::string name = shown(bundle.name());
    const std::string has = found == listed.end() ? "no such file" : "one with " + found->second.sha256.substr(0, 16);
    fail(SAMEDGE_ERROR_NOT_SUPPORTED,
         "the engine %s was built from another bundle (%s): its weights stand in %s with SHA-256 %.16s..., and %s "
         "has %s; build it for this one: samedge build %s --target triton", shown(engine.name).c_str(),
         shown(engine.plan.bundle).c_str(), shown(file).c_str(), digest.c_str(), name.c_str(), has.c_str(),
         name.c_str());
  }
}

void load_weights(const EngineFile &engine, const Bundle &bundle, const PutWeights &put) {
  // File by file, so that one is in memory at a time.
  std::map<std::string, std::vector<const Weight *>> by_file;
  for (const Weight &weight : engine.plan.weights) by_file[weight.file].push_back(&weight);
  for (const auto &[file, weights] : by_file) {
    const Bytes bytes = file.empty() ? Bytes{} : bundle.read(file);
    const std::uint8_t *source = file.empty() ? engine.constants : bytes.data.get();
    const std::uint64_t size = file.empty() ? static_cast<std::uint64_t>(engine.constants_size) : bytes.size;
    for (const Weight *weight : weights)
      convert_weight(*weight, source, size, kChunk, [&](std::size_t at, const void *piece, std::size_t count) {
        put(static_cast<std::size_t>(weight->offset) + at, piece, count);
      });
  }
}

}  // namespace samedge
