#include "runtime/backend.hpp"

#include <cstring>

#include "base/failure.hpp"

namespace samedge {

const char *name_of(Precision precision) noexcept {
  switch (precision) {
    case Precision::fp32: return "fp32";
    case Precision::bf16: return "bf16";
    case Precision::fp16: return "fp16";
    case Precision::int8: return "int8";
  }
  return "";
}

const char *name_of(Graph graph) noexcept { return graph == Graph::encoder ? "encoder" : "decoder"; }

Tensor Engines::cuda_frame(const void *, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                           const Shape &) {
  fail(SAMEDGE_ERROR_NOT_SUPPORTED,
       "the frame lies in a GPU's memory, and this session runs on the CPU; copy it to the host first "
       "(cudaMemcpy2D), or open the bundle with SAMEDGE_BACKEND_TENSORRT or SAMEDGE_BACKEND_TRITON");
}

void Engines::to_host(const Tensor &tensor, void *target) {
  std::memcpy(target, tensor.data, tensor.bytes());
}

std::optional<std::string> Backend::unready(const Bundle &, const LoadOptions &) const { return {}; }

// Of engines that compute what the graph says.
std::vector<std::string> Backend::graphs(Precision precision, Graph graph) const {
  switch (precision) {
    case Precision::fp32: return {"fp32"};
    case Precision::fp16: return {"fp16"};
    case Precision::int8: return {graph == Graph::encoder ? "int8" : "fp16"};
    case Precision::bf16: return {};
  }
  return {};
}

bool Backend::slower_than_float32(Precision) const { return false; }

std::optional<std::string> Backend::doubtful(Precision) const { return {}; }

std::vector<Precision> Backend::ready(const Bundle &bundle, const LoadOptions &options) const {
  if (const std::optional<std::string> reason = unready(bundle, options))
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s", reason->c_str());
  return precisions();
}

std::optional<bool> Backend::proven(const Bundle &, const LoadOptions &) const { return {}; }

const std::vector<const Backend *> &backends() {
  static const std::vector<const Backend *> found = [] {
    std::vector<const Backend *> there;
    for (const Backend *backend : {tensorrt_backend(), triton_backend(), openvino_backend()})
      if (backend != nullptr) there.push_back(backend);
    return there;
  }();
  return found;
}

}  // namespace samedge
