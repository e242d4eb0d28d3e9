// Engines of `samedge build --target openvino`: samedge/runtime/openvino/{engine_file,prepared}.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "runtime/engines/store.hpp"
#include "runtime/openvino/graphs.hpp"

namespace samedge {

// Of the engine file, and of the rewrites that are in it (samedge/runtime/openvino/rewrites).
constexpr std::int64_t kOpenVinoFormat = 1;
constexpr std::int64_t kRewrites = 2;

// Where a part's graph and weights lie in an engine file.
struct EnginePart {
  std::size_t graph = 0, graph_size = 0;
  std::size_t weights = 0, weights_size = 0;
};
struct EngineParts {
  EnginePart preprocess, encoder, decoder;
};

// Throws Failure(NOT_SUPPORTED): it is no such file, of another format, or truncated. name: for messages.
EngineParts parse_engine_file(const std::uint8_t *data, std::size_t size, const std::string &name);

// What an engine of a bundle in a precision has to fit. Throws Failure(NOT_SUPPORTED): the bundle lacks a
// graph.
EngineKey openvino_key(const Manifest &manifest, const Backend &backend, Precision precision);

// The models in an engine. Their constants are its memory, which lives as long as they do.
// Throws Failure(NOT_SUPPORTED, MEMORY): it is damaged.
ModelParts prepared_models(StoredEngine engine, Precision computes);

}  // namespace samedge
