// The readers of engine files and records, and the conversion of weights, for tests/capi/test_gpu_files.py.
#include <algorithm>
#include <cstring>
#include <memory>

#include "base/failure.hpp"
#include "internals.hpp"
#include "runtime/engines/record.hpp"
#include "runtime/triton/engine_file.hpp"
#include "runtime/triton/weights.hpp"

namespace {

// The status, and what there is to say about it.
template <typename Work>
int answered(char *message, std::size_t capacity, Work &&work) {
  message[0] = 0;
  try {
    work();
    return SAMEDGE_OK;
  } catch (const samedge::Failure &failure) {
    std::strncpy(message, failure.what(), capacity - 1);
    message[capacity - 1] = 0;
    return failure.status();
  }
}

samedge::Bytes copied(const std::uint8_t *data, std::size_t size) {
  samedge::Bytes bytes{std::unique_ptr<std::uint8_t[]>(new std::uint8_t[size]), size};
  std::memcpy(bytes.data.get(), data, size);
  return bytes;
}

}  // namespace

SAMEDGE_INTERNAL int internal_parse_engine(const std::uint8_t *data, std::size_t size, char *message,
                                           std::size_t capacity) {
  return answered(message, capacity, [&] {
    static_cast<void>(samedge::parse_engine(copied(data, size), "x.engine"));
  });
}

SAMEDGE_INTERNAL int internal_parse_record(const char *data, std::size_t size, char *message, std::size_t capacity) {
  return answered(message, capacity, [&] { static_cast<void>(samedge::parse_record({data, size})); });
}

// target: as long as the weight on the device. chunks: filled with the largest piece.
SAMEDGE_INTERNAL int internal_convert_weight(int stored, int dtype, std::size_t rank, const std::int64_t *shape,
                                             const std::int64_t *strides, std::int64_t position, double scale,
                                             const std::uint8_t *source, std::size_t size, std::size_t chunk,
                                             std::uint8_t *target, std::size_t *largest, char *message,
                                             std::size_t capacity) {
  return answered(message, capacity, [&] {
    samedge::Weight weight;
    weight.name = "w";
    weight.file = "f";
    weight.stored = static_cast<samedge::Stored>(stored);
    weight.dtype = static_cast<samedge::Stored>(dtype);
    weight.shape.assign(shape, shape + rank);
    weight.strides.assign(strides, strides + rank);
    weight.position = position;
    weight.scale = scale;
    *largest = 0;
    const auto exact = copied(source, size);  // so that a sanitizer sees what reaches beyond
    samedge::convert_weight(weight, exact.data.get(), size, chunk,
                            [&](std::size_t at, const void *piece, std::size_t count) {
                              std::memcpy(target + at, piece, count);
                              *largest = std::max(*largest, count);
                            });
  });
}
