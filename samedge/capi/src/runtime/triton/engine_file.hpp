// The engine file: a plan, constants and machine code in one. samedge/runtime/triton/engine_file.py.
#pragma once

#include <string>

#include "bundle/bundle.hpp"
#include "runtime/triton/plan.hpp"

namespace samedge {

// An engine file that was read and checked: nothing of it is used before.
struct EngineFile {
  std::string name;  // for messages
  Bytes data;
  EnginePlan plan;
  const std::uint8_t *constants = nullptr;
  std::int64_t constants_size = 0;
  const std::uint8_t *code = nullptr;

  const std::uint8_t *cubin(const KernelCode &kernel) const noexcept { return code + kernel.position; }
};

// Throws Failure(NOT_SUPPORTED): no engine file, of another format, truncated, or changed.
EngineFile parse_engine(Bytes data, const std::string &name);

}  // namespace samedge
