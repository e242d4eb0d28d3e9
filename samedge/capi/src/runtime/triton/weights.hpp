// The memory of an engine's weights, filled from the files of its bundle: samedge/runtime/triton/weights.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "bundle/bundle.hpp"
#include "runtime/triton/engine_file.hpp"

namespace samedge {

// Refuse a bundle that an engine was not built from. Throws Failure(NOT_SUPPORTED): with what differs.
void check_bundle(const EngineFile &engine, const Bundle &bundle);

// Takes the offset of a piece in the memory of the weights, and the piece.
using PutWeights = std::function<void(std::size_t offset, const void *data, std::size_t size)>;

// Hand over every piece of an engine's weights. What is read of a file are the very bytes that were hashed.
// Throws Failure(BUNDLE): a file was changed. Failure(NOT_SUPPORTED): the plan reads more than a file has, or
// a value is too large for its type.
void load_weights(const EngineFile &engine, const Bundle &bundle, const PutWeights &put);

// The values of a weight as they are to lie on the device, in pieces of about `chunk` bytes; put gets their
// offset from the weight's first byte. Values are widened to float32, multiplied in float32 and rounded to
// the nearest, of two the even one; what keeps its type and has the factor 1 keeps its bits.
void convert_weight(const Weight &weight, const std::uint8_t *source, std::uint64_t source_size,
                    std::size_t chunk, const PutWeights &put);

}  // namespace samedge
