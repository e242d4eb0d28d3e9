// What the engines of every backend on NVIDIA GPUs share: a stream, sets of sizes, frames on the device.
// samedge/runtime/gpu/engine.py and frames.py.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "runtime/backend.hpp"
#include "runtime/gpu/replay.hpp"

namespace samedge {

// The device and the stream that the engines of one session share. One stream: the decoder reads the
// embedding that the encoder has written, in that order.
class DeviceQueue {
 public:
  explicit DeviceQueue(std::shared_ptr<const Device> device);
  ~DeviceQueue();
  DeviceQueue(const DeviceQueue &) = delete;
  DeviceQueue &operator=(const DeviceQueue &) = delete;

  const Device &device() const noexcept { return *device_; }
  Stream &stream() noexcept { return *stream_; }

 private:
  std::shared_ptr<const Device> device_;
  std::unique_ptr<Stream> stream_;
};

// What is to be done for inputs of these sizes. Throws Failure.
using MakeWork = std::function<std::unique_ptr<Work>(const Bindings &inputs)>;

// One graph of a bundle, with its memory on the device.
class GpuEngine : public Engine {
 public:
  // io lives as long as the engine. make_work: goes with the engine, its device current. alignment: of the
  // addresses that its work takes, in bytes.
  GpuEngine(std::shared_ptr<DeviceQueue> queue, const GraphIO &io, std::size_t alignment, MakeWork make_work);
  ~GpuEngine() override;
  GpuEngine(const GpuEngine &) = delete;
  GpuEngine &operator=(const GpuEngine &) = delete;

  RunTimes run(const Bindings &inputs, const Bindings &outputs) override;
  Tensor buffer(const char *name) override;

 private:
  Replay &replay(const Bindings &inputs, const Bindings &outputs);

  std::shared_ptr<DeviceQueue> queue_;
  const GraphIO &io_;
  std::size_t alignment_;
  MakeWork make_work_;
  std::vector<std::unique_ptr<Replay>> replays_;  // used last at the end
  std::vector<DeviceMemory> buffers_;
};

class GpuEngines : public Engines {
 public:
  // model: is kept for as long as the engines.
  GpuEngines(std::shared_ptr<const void> model, std::shared_ptr<DeviceQueue> queue,
             std::unique_ptr<GpuEngine> encoder, std::unique_ptr<GpuEngine> decoder);
  ~GpuEngines() override;
  GpuEngines(const GpuEngines &) = delete;
  GpuEngines &operator=(const GpuEngines &) = delete;

  Engine &encoder() override { return *encoder_; }
  Engine &decoder() override { return *decoder_; }
  bool takes_cuda_frames() const noexcept override { return true; }
  // Waits for the default stream, and until the copy is done: the caller may write to the frame again.
  Tensor cuda_frame(const void *pixels, std::int64_t stride, std::int64_t row_bytes, std::int64_t rows,
                    std::int64_t slices, std::int64_t slice_stride, const Shape &shape) override;
  void to_host(const Tensor &tensor, void *target) override;

 private:
  std::shared_ptr<const void> model_;
  std::shared_ptr<DeviceQueue> queue_;
  std::unique_ptr<GpuEngine> encoder_, decoder_;
  DeviceMemory frame_;
};

}  // namespace samedge
