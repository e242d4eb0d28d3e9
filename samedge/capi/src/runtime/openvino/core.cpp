#include "runtime/openvino/core.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <mutex>
#include <new>
#include <openvino/op/matmul.hpp>
#include <vector>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "base/failure.hpp"
#include "runtime/choice.hpp"

namespace samedge {

namespace {

constexpr const char *kCapacity = "ONEDNN_PRIMITIVE_CACHE_CAPACITY";
constexpr const char *kOlderCapacity = "DNNL_PRIMITIVE_CACHE_CAPACITY";
constexpr const char *kKernels = "64";

// Let the oneDNN inside OpenVINO keep few kernels: see shapes.py, which says why. It reads its bound from
// the environment when it makes its first kernel, and never again, so the variable is set while a small
// product is compiled. One that the user has set stands.
void bound_kernels(ov::Core &core) {
  if (std::getenv(kCapacity) != nullptr || std::getenv(kOlderCapacity) != nullptr) return;
  const auto left = std::make_shared<ov::op::v0::Parameter>(ov::element::f32, ov::Shape{8, 8});
  const auto right = std::make_shared<ov::op::v0::Parameter>(ov::element::f32, ov::Shape{8, 8});
  const auto product = std::make_shared<ov::op::v0::MatMul>(left, right, false, false);
  const auto model =
      std::make_shared<ov::Model>(ov::OutputVector{product->output(0)}, ov::ParameterVector{left, right});
  ::setenv(kCapacity, kKernels, 0);
  try {
    static_cast<void>(core.compile_model(model, kCpu, ov::AnyMap{{"INFERENCE_NUM_THREADS", 1}}));
  } catch (...) {
    ::unsetenv(kCapacity);
    throw;
  }
  ::unsetenv(kCapacity);
}

const char *type_of(Precision precision) noexcept {
  switch (precision) {
    case Precision::bf16: return "bf16";
    case Precision::fp16: return "f16";
    default: return "f32";
  }
}

// Of all precisions, for latency or throughput. CPU_SHAPES of shapes.py is in it.
ov::AnyMap engine_config(Precision computes, const LoadOptions &options) {
  return {{"PERFORMANCE_HINT", options.throughput ? "THROUGHPUT" : "LATENCY"},
          {"NUM_STREAMS", options.throughput ? "AUTO" : "1"},
          {"INFERENCE_PRECISION_HINT", type_of(computes)},
          {"INFERENCE_NUM_THREADS", options.threads},
          {"CPU_RUNTIME_CACHE_CAPACITY", "0"}};
}

}  // namespace

ov::Core &openvino_core() {
  // Never destroyed: sessions of other threads may live longer than static objects.
  static ov::Core *core = [] {
    auto made = std::make_unique<ov::Core>();
    bound_kernels(*made);
    return made.release();
  }();
  return *core;
}

std::string openvino_version() {
  const std::string build = ov::get_openvino_version().buildNumber;
  return build.substr(0, build.find('-'));
}

bool is_native(Precision precision) {
  if (precision == Precision::fp32) return true;
  std::string name = name_of(precision);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });
  const auto native =
      openvino_core().get_property(kCpu, "OPTIMIZATION_CAPABILITIES").as<std::vector<std::string>>();
  return std::find(native.begin(), native.end(), name) != native.end();
}

Precision rest_of(const Manifest &manifest, Precision precision) {
  if (precision != Precision::int8) return precision;
  const bool refused = !parity(manifest, "openvino", Precision::bf16).value_or(true);
  return is_native(Precision::bf16) && !refused ? Precision::bf16 : Precision::fp32;
}

ov::CompiledModel compile_part(std::shared_ptr<ov::Model> model, Precision computes,
                               const LoadOptions &options, const char *part) {
  try {
    ov::CompiledModel compiled = openvino_core().compile_model(model, kCpu, engine_config(computes, options));
    model.reset();
    release_memory();
    return compiled;
  } catch (const std::exception &error) {
    openvino_failed(error, SAMEDGE_ERROR_DEVICE, text("compiling the %s part", part).c_str());
  }
}

void openvino_failed(const std::exception &error, samedge_status status, const char *doing) {
  std::string what = error.what();
  std::string lower = what;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  bool memory = dynamic_cast<const std::bad_alloc *>(&error) != nullptr;
  for (const char *word :
       {"bad_alloc", "bad allocation", "out of memory", "cannot allocate", "failed to allocate"})
    memory = memory || lower.find(word) != std::string::npos;
  if (memory)
    fail(SAMEDGE_ERROR_MEMORY,
         "memory ran out while %s. Close other programs, raise the limit, or use a "
         "smaller model, smaller frames or fewer objects at once",
         doing);
  std::replace(what.begin(), what.end(), '\n', ' ');
  fail(status, "OpenVINO %s failed while %s: %s", openvino_version().c_str(), doing,
       shown(what, 400).c_str());
}

void release_memory() noexcept {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace samedge
