// An engine on a device: weights and kernels, shared by the sessions of a model.
// samedge/runtime/triton/engine.py.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.hpp"
#include "runtime/gpu/engine.hpp"
#include "runtime/triton/engine_file.hpp"

namespace samedge {

// Why no engine runs on this GPU; nothing if one can.
std::optional<std::string> too_old(const GpuInfo &gpu);

class TritonModel : public LoadedModel, public std::enable_shared_from_this<TritonModel> {
 public:
  // file: read and checked. encoder, decoder: inputs and outputs of the graphs, from the manifest.
  // Throws Failure(NOT_SUPPORTED): the engine is for other GPUs or of another bundle, or the driver is too old.
  // Failure(BUNDLE): a file with weights was changed. Failure(DEVICE): out of memory, or the device failed.
  TritonModel(EngineFile file, const Bundle &bundle, std::shared_ptr<const Device> device, GraphIO encoder,
              GraphIO decoder);
  ~TritonModel() override;
  TritonModel(const TritonModel &) = delete;
  TritonModel &operator=(const TritonModel &) = delete;

  std::unique_ptr<Engines> open() override;
  std::string device_name() const override { return device_->info().name; }

 private:
  void load(const EngineFile &file, const Bundle &bundle);
  void unload() noexcept;
  std::unique_ptr<GpuEngine> engine(bool encoder, const std::shared_ptr<DeviceQueue> &queue,
                                    const std::shared_ptr<Scratch> &arena) const;

  std::shared_ptr<const Device> device_;
  GraphIO encoder_, decoder_;
  SizePool sizes_;
  Target target_;
  std::vector<CuHandle> modules_, functions_;
  DeviceMemory weights_;
};

}  // namespace samedge
