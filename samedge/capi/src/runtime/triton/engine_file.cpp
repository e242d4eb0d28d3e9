#include "runtime/triton/engine_file.hpp"

#include <cstring>

#include "base/failure.hpp"
#include "base/hash.hpp"

namespace samedge {

namespace {

constexpr char kMagic[8] = {'s', 'a', 'm', 'e', 'd', 'g', 'e', 0x1A};
constexpr std::size_t kHeader = 256;
constexpr std::size_t kDigest = 32;
constexpr std::uint64_t kMostPlan = 16'000'000;  // bytes; samedge/files/limits.py

// Unsigned little-endian numbers of the header.
std::uint64_t number_at(const std::uint8_t *data, std::size_t position, std::size_t bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i-- > 0;) value = value << 8U | data[position + i];
  return value;
}

[[noreturn]] void refuse(const std::string &name, const std::string &why) {
  fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s %s; build it again with `samedge build`", shown(name).c_str(), why.c_str());
}

std::uint64_t aligned(std::uint64_t size) noexcept {
  const auto unit = static_cast<std::uint64_t>(kPlanAlignment);
  return (size + unit - 1) / unit * unit;
}

std::string in_hexadecimal(const std::uint8_t *digest) {
  std::string words;
  for (std::size_t i = 0; i < kDigest; ++i) words += text("%02x", static_cast<unsigned int>(digest[i]));
  return words;
}

}  // namespace

EngineFile parse_engine(Bytes data, const std::string &name) {
  const std::uint8_t *bytes = data.data.get();
  if (data.size < sizeof kMagic || std::memcmp(bytes, kMagic, sizeof kMagic) != 0)
    refuse(name, "is no engine of samedge's own (it begins otherwise)");
  if (data.size < kHeader)
    refuse(name, text("is truncated: it has %zu bytes, its header %zu", data.size, kHeader));
  const std::uint64_t format = number_at(bytes, 8, 4);
  if (format != kEngineFormat)
    refuse(name, text("has format %llu, written by another version of samedge; this one (%s) reads format %u",
                      static_cast<unsigned long long>(format), samedge_version(), kEngineFormat));
  std::uint64_t sizes[3], expected = kHeader + kDigest;
  for (std::size_t i = 0; i < 3; ++i) {
    sizes[i] = number_at(bytes, 16 + 8 * i, 8);
    if (sizes[i] > static_cast<std::uint64_t>(kLargest)) refuse(name, "is truncated: its header says more than any file has");
    expected += aligned(sizes[i]);
  }
  if (data.size != expected)
    refuse(name, text("%s: it has %zu bytes, its header says %llu",
                      data.size < expected ? "is truncated" : "is longer than it says", data.size,
                      static_cast<unsigned long long>(expected)));
  if (sizes[0] > kMostPlan)
    refuse(name, text("has a plan of %llu bytes; at most 16 MB are read", static_cast<unsigned long long>(sizes[0])));
  if (sha256_hex(bytes, data.size - kDigest) != in_hexadecimal(bytes + data.size - kDigest))
    refuse(name, "was changed or damaged: its SHA-256 is not the one that it ends with");

  EngineFile file;
  file.name = name;
  file.constants = bytes + kHeader + aligned(sizes[0]);
  file.constants_size = static_cast<std::int64_t>(sizes[1]);
  file.code = file.constants + aligned(sizes[1]);
  file.plan = parse_plan({reinterpret_cast<const char *>(bytes) + kHeader, static_cast<std::size_t>(sizes[0])},
                         file.constants_size, static_cast<std::int64_t>(sizes[2]));
  if (sha256_hex(file.constants, static_cast<std::size_t>(sizes[1])) != file.plan.constants)
    refuse(name, "was changed or damaged: its constants do not have the hash in its plan");
  for (const Target &target : file.plan.targets)
    for (const KernelCode &kernel : target.kernels)
      if (sha256_hex(file.cubin(kernel), static_cast<std::size_t>(kernel.size)) != kernel.sha256)
        wrong_plan("sm_" + std::to_string(target.compute_capability) + "." + shown(kernel.name),
                   "the SHA-256 of its code", kernel.sha256);
  file.data = std::move(data);
  return file;
}

}  // namespace samedge
