// Whatever lies in a folder of engines: the file, sealed with the digests that it should have so that its plan is
// reached, and the record beside it.
#include <cstring>
#include <string>
#include <string_view>

#include "base/failure.hpp"
#include "base/hash.hpp"
#include "runtime/engines/record.hpp"
#include "runtime/triton/engine_file.hpp"
#include "runtime/triton/weights.hpp"

namespace {

constexpr std::size_t kHeader = 256, kDigest = 32, kUnit = 256;

void put(std::uint8_t *at, std::uint64_t value, std::size_t bytes) noexcept {
  for (std::size_t i = 0; i < bytes; ++i) at[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

std::size_t aligned(std::size_t size) noexcept { return (size + kUnit - 1) / kUnit * kUnit; }

samedge::Bytes room(std::size_t size) {
  samedge::Bytes bytes{std::unique_ptr<std::uint8_t[]>(new std::uint8_t[size]()), size};
  return bytes;
}

// A file whose outer parts are right.
samedge::Bytes sealed(const std::uint8_t *data, std::size_t size) {
  const std::size_t constants = size == 0 ? 0 : data[0], code = size == 0 ? 0 : std::size_t{data[size - 1]} * 4;
  samedge::Bytes file = room(kHeader + aligned(size) + aligned(constants) + aligned(code) + kDigest);
  std::uint8_t *bytes = file.data.get();
  std::memcpy(bytes, "samedge\x1a", 8);
  put(bytes + 8, samedge::kEngineFormat, 4);
  put(bytes + 16, size, 8);
  put(bytes + 24, constants, 8);
  put(bytes + 32, code, 8);
  if (size != 0) std::memcpy(bytes + kHeader, data, size);
  const std::string digest = samedge::sha256_hex(bytes, file.size - kDigest);
  for (std::size_t i = 0; i < kDigest; ++i)
    bytes[file.size - kDigest + i] = static_cast<std::uint8_t>(std::stoi(digest.substr(2 * i, 2), nullptr, 16));
  return file;
}

template <typename Work>
void tried(Work &&work) {
  try {
    work();
  } catch (const samedge::Failure &failure) {
    if (failure.message().empty()) __builtin_trap();
  }
}

// The weights of a plan that was accepted are read from a file that is too short, or long enough.
void read_weights(const samedge::EnginePlan &plan, const std::uint8_t *data, std::size_t size) {
  for (const samedge::Weight &weight : plan.weights)
    if (weight.elements() < (1 << 16))
      tried([&] { samedge::convert_weight(weight, data, size, 4096, [](std::size_t, const void *, std::size_t) {}); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  const std::string_view words(reinterpret_cast<const char *>(data), size);
  tried([&] { static_cast<void>(samedge::parse_record(words)); });
  tried([&] { read_weights(samedge::parse_plan(words, 512, 4096), data, size); });
  tried([&] { static_cast<void>(samedge::parse_engine(sealed(data, size), "fuzzed")); });
  samedge::Bytes whole = room(size + 1);
  if (size != 0) std::memcpy(whole.data.get(), data, size);
  whole.size = size;
  tried([&] { static_cast<void>(samedge::parse_engine(std::move(whole), "fuzzed")); });
  return 0;
}
