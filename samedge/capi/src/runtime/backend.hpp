// What every inference library has to offer; samedge/runtime/backend.py.
//
// A `Backend` is what this machine can do with one library. What it loads of a bundle is a
// `LoadedModel`, shared by sessions; each session opens `Engines` of its own, the encoder and decoder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/tensor.hpp"
#include "bundle/bundle.hpp"
#include "samedge.h"

namespace samedge {

enum class Precision { fp32 = SAMEDGE_FP32, bf16 = SAMEDGE_BF16, fp16 = SAMEDGE_FP16, int8 = SAMEDGE_INT8 };

// "fp32" and so on.
const char *name_of(Precision precision) noexcept;

enum class Graph { encoder, decoder };
const char *name_of(Graph graph) noexcept;

struct LoadOptions {
  Precision precision = Precision::fp32;
  int threads = 1;
  int device = 0;
  bool throughput = false;  // the hint, else latency
  std::string engines;      // folder that alone is taken; "": the bundle's and the user's cache
};

// A tensor of a graph by its name. Engines set nothing up anew while `tensor` is the same as in the run
// before. constant: not 0 for an input whose content is the same whenever this number is: an engine may
// copy it once.
struct Binding {
  const char *name = "";
  Tensor tensor;
  std::uint64_t constant = 0;
};
using Bindings = std::vector<Binding>;

// Milliseconds of one run; what an engine does not do apart is 0.
struct RunTimes {
  double copy_in = 0.0;
  double preprocess = 0.0;
  double compute = 0.0;
  double copy_out = 0.0;
};

// One graph, with scratch memory of its own.
class Engine {
 public:
  virtual ~Engine() = default;

  // Compute `outputs` in place from `inputs`. Those that the graph does not have are passed over.
  // Throws Failure(DEVICE, MEMORY, NOT_SUPPORTED, BUNDLE).
  virtual RunTimes run(const Bindings &inputs, const Bindings &outputs) = 0;

  // Memory for an output of fixed shape, where this engine likes it best; the other engine of the
  // session takes it as well. It belongs to the engine.
  virtual Tensor buffer(const char *name) = 0;
};

class Engines {
 public:
  virtual ~Engines() = default;
  virtual Engine &encoder() = 0;
  virtual Engine &decoder() = 0;
  // Whether a binding of the input `frame` may lie in the GPU's memory.
  virtual bool takes_cuda_frames() const noexcept { return false; }
  // Copy a frame from device memory (`slices` times `rows` rows, `stride` bytes apart) to memory of the engines.
  // Throws Failure(DEVICE, NOT_SUPPORTED).
  virtual Tensor cuda_frame(const void *pixels, std::int64_t stride, std::int64_t row_bytes, std::int64_t rows,
                            std::int64_t slices, std::int64_t slice_stride, const Shape &shape);
  // Copy memory of `Engine::buffer` to the host.
  virtual void to_host(const Tensor &tensor, void *target);
};

// Weights and code, shared by sessions.
class LoadedModel {
 public:
  virtual ~LoadedModel() = default;
  // For one session. Any thread may call it.
  virtual std::unique_ptr<Engines> open() = 0;
  virtual std::string device_name() const = 0;
  // What happened while loading that a user should know.
  virtual std::vector<std::string> notes() const { return {}; }
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char *name() const noexcept = 0;
  virtual std::int32_t number() const noexcept = 0;  // SAMEDGE_BACKEND_...

  // Why it cannot run here, with the remedy; nothing if it can. Cheap after the first call.
  virtual std::optional<std::string> unavailable() const = 0;
  // Why "auto" should leave this bundle to the next backend; nothing if it should not.
  virtual std::optional<std::string> unready(const Bundle &bundle, const LoadOptions &options) const;
  // That this machine computes natively.
  virtual std::vector<Precision> precisions() const = 0;
  // Keys of the manifest's graphs that serve a precision, best first.
  virtual std::vector<std::string> graphs(Precision precision, Graph graph) const;
  virtual bool slower_than_float32(Precision precision) const;
  // Why answers may differ from the parity gate's machine; nothing if they do not.
  virtual std::optional<std::string> doubtful(Precision precision) const;
  // Precisions that the engines in `options.engines` serve here, in the order of `precisions`. Asked only
  // where that folder was named: they are all that a session then runs. By itself: all that are native,
  // unless the backend is unready with these options.
  // Throws Failure(NOT_SUPPORTED): none, or it takes no engines; with what was found and what to do.
  virtual std::vector<Precision> ready(const Bundle &bundle, const LoadOptions &options) const;
  // What a gate said beyond the bundle's own table (beside an engine); nothing if it was not tried.
  virtual std::optional<bool> proven(const Bundle &bundle, const LoadOptions &options) const;

  // Throws Failure(BUNDLE, NOT_SUPPORTED, DEVICE, MEMORY).
  virtual std::shared_ptr<LoadedModel> load(const Bundle &bundle, const LoadOptions &options) const = 0;
};

// The backends of this build, in the order in which "auto" tries them.
const std::vector<const Backend *> &backends();

// Each stands in a file of its own; nullptr where it was not built.
const Backend *tensorrt_backend();
const Backend *triton_backend();
const Backend *openvino_backend();

}  // namespace samedge
