#include "runtime/gpu/engine.hpp"

#include <algorithm>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr std::size_t kMostSizes = 8;  // sets of sizes that are kept ready
constexpr int kDeviceOrdinal = 9;      // CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL

void *pointer_of(DeviceAddress address) noexcept {
  return reinterpret_cast<void *>(static_cast<std::uintptr_t>(address));
}

DeviceAddress address_of(const void *pointer) noexcept {
  return static_cast<DeviceAddress>(reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace

DeviceQueue::DeviceQueue(std::shared_ptr<const Device> device) : device_(std::move(device)) {
  const Current here(*device_);
  stream_ = std::make_unique<Stream>();
}

DeviceQueue::~DeviceQueue() {
  const Current here(*device_, std::nothrow);
  stream_.reset();
}

GpuEngine::GpuEngine(std::shared_ptr<DeviceQueue> queue, const GraphIO &io, std::size_t alignment,
                     MakeWork make_work)
    : queue_(std::move(queue)), io_(io), alignment_(alignment), make_work_(std::move(make_work)) {
  replays_.reserve(kMostSizes);
}

GpuEngine::~GpuEngine() {
  const Current here(queue_->device(), std::nothrow);
  replays_.clear();
  buffers_.clear();
  make_work_ = nullptr;
}

RunTimes GpuEngine::run(const Bindings &inputs, const Bindings &outputs) {
  const Current here(queue_->device());
  return replay(inputs, outputs).run(queue_->stream(), inputs, outputs);
}

Tensor GpuEngine::buffer(const char *name) {
  const TensorSpec *spec = io_.output(name);
  if (spec == nullptr || std::any_of(spec->shape.begin(), spec->shape.end(), [](std::int64_t s) { return s < 0; }))
    fail(SAMEDGE_ERROR_BUNDLE, "the bundle's graph gives no %s of a fixed size; export the bundle again", name);
  const Tensor view{nullptr, spec->element, spec->shape, Memory::cuda};
  const Current here(queue_->device());
  buffers_.emplace_back(queue_->device(), view.bytes(), std::string("'") + name + "'");
  return {pointer_of(buffers_.back().address()), view.element, view.shape, Memory::cuda};
}

// What runs these sizes, made if it is not there.
Replay &GpuEngine::replay(const Bindings &inputs, const Bindings &outputs) {
  for (std::size_t i = replays_.size(); i-- > 0;) {
    if (!replays_[i]->fits(inputs, outputs)) continue;
    std::rotate(replays_.begin() + static_cast<std::ptrdiff_t>(i),
                replays_.begin() + static_cast<std::ptrdiff_t>(i) + 1, replays_.end());
    return *replays_.back();
  }
  while (replays_.size() >= kMostSizes) replays_.erase(replays_.begin());
  replays_.push_back(
      std::make_unique<Replay>(make_work_(inputs), io_, queue_->device(), alignment_, inputs, outputs));
  return *replays_.back();
}

GpuEngines::GpuEngines(std::shared_ptr<const void> model, std::shared_ptr<DeviceQueue> queue,
                       std::unique_ptr<GpuEngine> encoder, std::unique_ptr<GpuEngine> decoder)
    : model_(std::move(model)), queue_(std::move(queue)), encoder_(std::move(encoder)), decoder_(std::move(decoder)) {}

GpuEngines::~GpuEngines() {
  const Current here(queue_->device(), std::nothrow);
  frame_ = DeviceMemory();
}

Tensor GpuEngines::cuda_frame(const void *pixels, std::int64_t stride, std::int64_t row_bytes, std::int64_t rows,
                              std::int64_t slices, std::int64_t slice_stride, const Shape &shape) {
  const Device &device = queue_->device();
  const Current here(device);
  int index = 0;
  if (cuda_table().pointer_attribute(&index, kDeviceOrdinal, address_of(pixels)) != 0)
    fail(SAMEDGE_ERROR_FRAME, "the frame's pointer is not in a GPU's memory: it was freed, or `memory` should be "
         "SAMEDGE_HOST");
  if (index != device.info().index)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the frame lies on GPU %d, and this session runs on GPU %d; bring it over, or "
         "open the model with device %d", index, device.info().index, index);
  const auto width = static_cast<std::size_t>(row_bytes), count = static_cast<std::size_t>(rows);
  const std::size_t slice = width * count, whole = slice * static_cast<std::size_t>(slices);
  if (whole != shape.elements())
    fail(SAMEDGE_ERROR_INTERNAL, "a frame of %zu bytes for a tensor of %zu", whole, shape.elements());
  if (frame_.size() < whole) {
    frame_ = DeviceMemory();
    frame_ = DeviceMemory(device, whole, "the frame");
  }
  Stream &stream = queue_->stream();
  try {
    stream.wait_for_default();
    for (std::size_t i = 0; i < static_cast<std::size_t>(slices); ++i)
      stream.copy_rows(frame_.address() + i * slice, address_of(pixels) + i * static_cast<std::size_t>(slice_stride),
                       width, count, static_cast<std::size_t>(stride));
  } catch (...) {
    stream.settle();
    throw;
  }
  stream.synchronise();
  return {pointer_of(frame_.address()), Element::u8, shape, Memory::cuda};
}

void GpuEngines::to_host(const Tensor &tensor, void *target) {
  if (tensor.memory == Memory::host) {
    Engines::to_host(tensor, target);
    return;
  }
  const Current here(queue_->device());
  queue_->stream().synchronise();
  check_cuda(cuda_table().copy_to_host(target, address_of(tensor.data), tensor.bytes()), "copying from the GPU");
}

}  // namespace samedge
