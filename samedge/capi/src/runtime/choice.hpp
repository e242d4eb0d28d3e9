// Which backend and which precision: samedge/runtime/choice.py, precision.py.
#pragma once

#include <string>

#include "runtime/backend.hpp"

namespace samedge {

struct Choice {
  const Backend *backend = nullptr;
  LoadOptions options;  // with the precision that was taken
  std::string why;      // "openvino: asked for; fp32: no faster precision is native here"
};

// backend, precision: SAMEDGE_BACKEND_... and SAMEDGE_FP32 ..., 0 for auto.
// Throws Failure(NOT_SUPPORTED): it was asked for and does not run here, or nothing works; with every
// reason and its remedy. Failure(ARGUMENT): no such constant.
Choice choose(const Bundle &bundle, std::int32_t backend, std::int32_t precision, LoadOptions options);

// The second half of it: a precision for a backend that was taken. `why`: "fastest that ...".
Choice choose_precision(const Bundle &bundle, const Backend &backend, std::int32_t precision,
                        LoadOptions options);

// The key of the manifest's graph that a backend takes for a precision.
// Throws Failure(NOT_SUPPORTED): the bundle has none.
std::string graph_key(const Manifest &manifest, const Backend &backend, Precision precision, Graph graph);

// What the bundle's table says; nothing if it was not tried.
std::optional<bool> parity(const Manifest &manifest, const std::string &backend, Precision precision);

// The physical cores that this process may use, at least 1: samedge/machine/cpu.py.
int physical_cores();

}  // namespace samedge
