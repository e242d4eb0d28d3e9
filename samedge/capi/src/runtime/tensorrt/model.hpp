// Both engines of a bundle in TensorRT, loaded once for all sessions of a model:
// samedge/runtime/tensorrt/engine.py and plan.py.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "bundle/bundle.hpp"
#include "runtime/backend.hpp"
#include "runtime/gpu/engine.hpp"
#include "runtime/tensorrt/library.hpp"

namespace samedge {

// A deserialised engine. Made, used and destroyed with its device current.
class TensorRtEngine {
 public:
  // host_code: the engine brings its own runtime (version compatible engines do). io: the graph's.
  // Throws Failure(DEVICE): the library refuses it. Failure(NOT_SUPPORTED): it has other inputs and outputs.
  TensorRtEngine(const Bytes &data, bool host_code, const GraphIO &io, const std::string &name);

  // A new execution context whose scratch memory the caller provides.
  std::unique_ptr<nvinfer1::IExecutionContext> context();
  // Refuse an input that is smaller or larger than the engine was built for.
  void check_range(const char *name, const Shape &shape) const;
  const TensorRtLog &log() const noexcept { return log_; }

 private:
  void check_tensors(const GraphIO &io, const std::string &name) const;

  TensorRtLog log_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::mutex mutex_;  // of making contexts
};

class TensorRtModel : public LoadedModel, public std::enable_shared_from_this<TensorRtModel> {
 public:
  struct Part {
    Bytes data;
    bool host_code = false;
    GraphIO io;
    std::string name;  // of the file, for messages
  };

  TensorRtModel(std::shared_ptr<const Device> device, Part encoder, Part decoder);
  ~TensorRtModel() override;
  TensorRtModel(const TensorRtModel &) = delete;
  TensorRtModel &operator=(const TensorRtModel &) = delete;

  std::unique_ptr<Engines> open() override;
  std::string device_name() const override { return device_->info().name; }

 private:
  std::unique_ptr<GpuEngine> engine(const std::shared_ptr<DeviceQueue> &queue, TensorRtEngine &engine,
                                    const GraphIO &io) const;

  std::shared_ptr<const Device> device_;
  GraphIO encoder_io_, decoder_io_;
  std::unique_ptr<TensorRtEngine> encoder_, decoder_;
};

}  // namespace samedge
