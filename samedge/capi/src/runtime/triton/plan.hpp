// A plan: what the GPU is to do, as data. samedge/runtime/triton/plan.py; docs/triton-engine.md describes
// the file that it stands in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/tensor.hpp"
#include "runtime/triton/sizes.hpp"

namespace samedge {

constexpr std::uint32_t kEngineFormat = 1;
constexpr std::int64_t kPlanAlignment = 256;    // of every buffer and weight, in bytes
constexpr std::int64_t kPointerAlignment = 16;  // of every address that a kernel is given
constexpr std::size_t kScratchPointers = 2;     // null, behind a kernel's own parameters
constexpr std::int64_t kLargest = (std::int64_t{1} << 48) - 1;  // of any number: bytes, elements

enum class Stored : std::uint8_t { fp32, fp16, bf16, i8, u8, i32, i64 };
std::size_t size_of(Stored type) noexcept;
const char *name_of(Stored type) noexcept;

// An input or output of a graph: the caller's memory.
struct Port {
  std::string name;
  Element element = Element::u8;
  std::vector<Size> shape;
};

// A constant on the device: values of a file, brought into the order that a kernel reads.
struct Weight {
  std::string name;
  std::string file;  // of the bundle; "": this engine file's constants
  std::int64_t position = 0;
  Stored stored = Stored::fp32;
  std::vector<std::int64_t> shape, strides;  // strides of the source, in elements
  double scale = 1.0;
  Stored dtype = Stored::fp32;
  std::int64_t offset = 0;  // in the memory of the weights

  // Bytes from the first element to the end of the last, where it is stored; the largest number there is
  // where that is too much for one.
  std::int64_t extent() const noexcept;
  std::int64_t elements() const noexcept;
};

struct KernelCode {
  std::string name;
  std::string symbol;
  std::int64_t position = 0, size = 0;  // of its cubin among the file's code
  std::string sha256;
  int threads = 0;
  std::string parameters;  // "p" a pointer, "i" a 32-bit integer
  int shared = 0;          // bytes per block
};

struct Argument {
  enum class Kind : std::uint8_t { arena, weight, port, size, null };
  Kind kind = Kind::null;
  Size value;
  std::size_t port = 0;  // number among a program's inputs and outputs
};

struct Step {
  std::string label;
  std::size_t kernel = 0;
  Size grid[3];
  std::vector<Argument> arguments;
  std::vector<Size> account;  // FLOPs, bytes read and written: for people
};

// The launches of one graph, for sizes up to a limit.
struct Program {
  bool encoder = true;
  std::vector<std::pair<std::int64_t, std::int64_t>> limits;  // name in the pool, the most
  std::vector<Port> inputs, outputs;
  Size arena;
  std::vector<Step> steps;

  const Port &port(std::size_t number) const noexcept {
    return number < inputs.size() ? inputs[number] : outputs[number - inputs.size()];
  }
  std::size_t ports() const noexcept { return inputs.size() + outputs.size(); }
};

// Everything for one kind of GPU.
struct Target {
  int compute_capability = 0;
  std::vector<KernelCode> kernels;
  std::vector<Program> programs;
};

struct EnginePlan {
  std::string bundle;  // name, for people
  std::string precision;
  std::map<std::string, std::string> files;  // SHA-256 of the bundle's files that weights stand in
  std::string constants;                     // SHA-256 of the engine file's constants
  std::vector<Weight> weights;
  std::int64_t weights_size = 0;
  std::vector<Target> targets;
  SizePool sizes;
};

// A plan out of its JSON, each value checked for itself and all of them for each other, against so many
// bytes of constants and code.
// Throws Failure(NOT_SUPPORTED): names the first value that is missing or wrong.
EnginePlan parse_plan(std::string_view json, std::int64_t constants, std::int64_t code);

// Refuse a plan. where: the value stands; got: what it is.
[[noreturn]] void wrong_plan(const std::string &where, const std::string &wanted, const std::string &got);

// The part of `parse_plan` that looks at values together.
void check_plan(const EnginePlan &plan, std::int64_t constants, std::int64_t code);

}  // namespace samedge
