// The process's OpenVINO, how graphs are compiled for its CPU, and its exceptions as failures.
// samedge/runtime/openvino/{compile,shapes}.py.
#pragma once

#include <exception>
#include <memory>
#include <openvino/openvino.hpp>
#include <string>

#include "runtime/backend.hpp"

namespace samedge {

// Its only device here.
constexpr const char *kCpu = "CPU";

// One core for the process, made by the first call. Throws what OpenVINO throws.
ov::Core &openvino_core();

// "2026.4.1": of the library, without its build.
std::string openvino_version();

// What an encoder's layers that are not quantised are computed in: fp32, bf16 or fp16.
// `rest_of` of compile.py.
Precision rest_of(const Manifest &manifest, Precision precision);

// What the CPU computes natively: OPTIMIZATION_CAPABILITIES.
bool is_native(Precision precision);

// Compile a part of a graph to compute in fp32, bf16 or fp16. The model is used up: what its constants
// take is given back as soon as OpenVINO has packed them.
// Throws Failure(DEVICE, MEMORY).
ov::CompiledModel compile_part(std::shared_ptr<ov::Model> model, Precision computes,
                               const LoadOptions &options, const char *part);

// Throw what an exception of OpenVINO's comes to: `status`, or MEMORY if memory ran out.
// doing: "compiling the encoder part".
[[noreturn]] void openvino_failed(const std::exception &error, samedge_status status, const char *doing);

// Give freed pages back to the system.
void release_memory() noexcept;

}  // namespace samedge
