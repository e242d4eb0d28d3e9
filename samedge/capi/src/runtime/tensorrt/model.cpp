#include "runtime/tensorrt/model.hpp"

#include <algorithm>
#include <cstring>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr std::size_t kAlignment = 256;  // of every address that TensorRT takes

std::optional<Element> element_of(nvinfer1::DataType type) noexcept {
  switch (type) {
    case nvinfer1::DataType::kUINT8: return Element::u8;
    case nvinfer1::DataType::kINT32: return Element::i32;
    case nvinfer1::DataType::kINT64: return Element::i64;
    case nvinfer1::DataType::kHALF: return Element::f16;
    case nvinfer1::DataType::kFLOAT: return Element::f32;
    default: return {};
  }
}

nvinfer1::Dims dims_of(const Shape &shape) noexcept {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<std::int32_t>(shape.rank);
  for (std::size_t axis = 0; axis < shape.rank; ++axis) dims.d[axis] = shape[axis];
  return dims;
}

// An execution context whose shapes are set.
class ContextWork : public Work {
 public:
  ContextWork(TensorRtEngine &engine, const GraphIO &io, std::shared_ptr<Scratch> scratch, const Bindings &inputs)
      : engine_(engine), scratch_(std::move(scratch)), context_(engine.context()) {
    for (const TensorSpec &spec : io.inputs) {
      const auto binding = std::find_if(inputs.begin(), inputs.end(),
                                        [&](const Binding &input) { return spec.name == input.name; });
      if (binding == inputs.end())
        fail(SAMEDGE_ERROR_INTERNAL, "the input '%s' is missing", shown(spec.name).c_str());
      const Shape &shape = binding->tensor.shape;
      engine_.check_range(spec.name.c_str(), shape);
      if (!context_->setInputShape(spec.name.c_str(), dims_of(shape)))
        fail_tensorrt("refuses " + shown(spec.name) + " " + text(shape), engine_.log());
    }
    if (context_->inferShapes(0, nullptr) != 0) fail_tensorrt("cannot tell the shapes of its outputs", engine_.log());
  }

  Shape shape(const char *name) const override {
    const nvinfer1::Dims dims = context_->getTensorShape(name);
    Shape shape;
    if (dims.nbDims < 0 || dims.nbDims > 8 || std::any_of(dims.d, dims.d + dims.nbDims, [](auto n) { return n < 0; }))
      fail_tensorrt(std::string("cannot tell the shape of '") + name + "'", engine_.log());
    for (std::int32_t axis = 0; axis < dims.nbDims; ++axis) shape.sides[shape.rank++] = dims.d[axis];
    return shape;
  }

  void set_address(const char *name, DeviceAddress address) override {
    if (!context_->setTensorAddress(name, reinterpret_cast<void *>(static_cast<std::uintptr_t>(address))))
      fail_tensorrt(std::string("refuses '") + name + "'", engine_.log());
  }

  // Give the context the scratch memory, which another one may have moved.
  bool take_scratch() override {
    if (version_ == 0) scratch_->reserve(context_->updateDeviceMemorySizeForShapes());
    if (version_ == scratch_->version()) return false;
    context_->setDeviceMemoryV2(reinterpret_cast<void *>(static_cast<std::uintptr_t>(scratch_->address())),
                                static_cast<std::int64_t>(scratch_->size()));
    version_ = scratch_->version();
    return true;
  }

  void queue(const Stream &stream) override {
    if (!context_->enqueueV3(static_cast<cudaStream_t>(stream.handle()))) fail_tensorrt("failed to run", engine_.log());
  }

 private:
  TensorRtEngine &engine_;
  std::shared_ptr<Scratch> scratch_;
  std::uint64_t version_ = 0;  // of the scratch memory that the context has
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

}  // namespace

TensorRtEngine::TensorRtEngine(const Bytes &data, bool host_code, const GraphIO &io, const std::string &name) {
  runtime_.reset(static_cast<nvinfer1::IRuntime *>(TensorRtLibrary::get().create_runtime(
      static_cast<nvinfer1::ILogger *>(&log_), NV_TENSORRT_VERSION)));
  if (runtime_ == nullptr) fail_tensorrt("does not start", log_);
  if (host_code) runtime_->setEngineHostCodeAllowed(true);
  engine_.reset(runtime_->deserializeCudaEngine(data.data.get(), data.size));
  if (engine_ == nullptr) fail_tensorrt("cannot load the engine " + shown(name), log_);
  check_tensors(io, name);
}

// Refuse an engine with other inputs and outputs than the bundle's graph.
void TensorRtEngine::check_tensors(const GraphIO &io, const std::string &name) const {
  const auto refuse = [&](const char *tensor) {
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the engine %s has other inputs and outputs than the bundle ('%s'); build it "
         "again with `samedge build --force`", shown(name).c_str(), shown(tensor == nullptr ? "" : tensor).c_str());
  };
  const std::int32_t count = engine_->getNbIOTensors();
  if (count != static_cast<std::int32_t>(io.inputs.size() + io.outputs.size())) refuse("their number");
  for (std::int32_t i = 0; i < count; ++i) {
    const char *tensor = engine_->getIOTensorName(i);
    if (tensor == nullptr) refuse(tensor);
    const bool input = engine_->getTensorIOMode(tensor) == nvinfer1::TensorIOMode::kINPUT;
    const TensorSpec *spec = input ? io.input(tensor) : io.output(tensor);
    if (spec == nullptr || element_of(engine_->getTensorDataType(tensor)) != spec->element ||
        engine_->getTensorShape(tensor).nbDims != static_cast<std::int32_t>(spec->shape.rank) ||
        engine_->getTensorLocation(tensor) != nvinfer1::TensorLocation::kDEVICE)
      refuse(tensor);
  }
}

std::unique_ptr<nvinfer1::IExecutionContext> TensorRtEngine::context() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<nvinfer1::IExecutionContext> made(
      engine_->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
  if (made == nullptr) fail_tensorrt("cannot run the engine", log_);
  return made;
}

void TensorRtEngine::check_range(const char *name, const Shape &shape) const {
  const nvinfer1::Dims low = engine_->getProfileShape(name, 0, nvinfer1::OptProfileSelector::kMIN);
  const nvinfer1::Dims high = engine_->getProfileShape(name, 0, nvinfer1::OptProfileSelector::kMAX);
  const auto rank = static_cast<std::int32_t>(shape.rank);
  if (low.nbDims != rank || high.nbDims != rank)
    fail(SAMEDGE_ERROR_BUNDLE, "the input '%s' came as %s, expected %d sizes; export the bundle again with this version "
         "of samedge", shown(name).c_str(), text(shape).c_str(), low.nbDims);
  for (std::size_t axis = 0; axis < shape.rank; ++axis)
    if (shape[axis] < low.d[axis] || shape[axis] > high.d[axis])
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the input '%s' has %lld elements on axis %zu; this engine takes %lld to %lld. "
           "Prompt fewer objects or points at a time (samedge_set_frame once, samedge_predict often), build it for "
           "larger frames (samedge build --max-side), or use SAMEDGE_BACKEND_OPENVINO", shown(name).c_str(),
           static_cast<long long>(shape[axis]), axis, static_cast<long long>(low.d[axis]),
           static_cast<long long>(high.d[axis]));
}

TensorRtModel::TensorRtModel(std::shared_ptr<const Device> device, Part encoder, Part decoder)
    : device_(std::move(device)), encoder_io_(std::move(encoder.io)), decoder_io_(std::move(decoder.io)) {
  const Current here(*device_);
  auto first = std::make_unique<TensorRtEngine>(encoder.data, encoder.host_code, encoder_io_, encoder.name);
  encoder.data = Bytes{};  // the engine has a copy of its own
  decoder_ = std::make_unique<TensorRtEngine>(decoder.data, decoder.host_code, decoder_io_, decoder.name);
  encoder_ = std::move(first);
}

TensorRtModel::~TensorRtModel() {
  const Current here(*device_, std::nothrow);
  encoder_.reset();
  decoder_.reset();
}

std::unique_ptr<Engines> TensorRtModel::open() {
  auto queue = std::make_shared<DeviceQueue>(device_);
  auto encoder = engine(queue, *encoder_, encoder_io_), decoder = engine(queue, *decoder_, decoder_io_);
  return std::make_unique<GpuEngines>(shared_from_this(), std::move(queue), std::move(encoder), std::move(decoder));
}

std::unique_ptr<GpuEngine> TensorRtModel::engine(const std::shared_ptr<DeviceQueue> &queue, TensorRtEngine &engine,
                                                 const GraphIO &io) const {
  auto work = [&engine, &io, scratch = std::make_shared<Scratch>(device_)](const Bindings &inputs) -> std::unique_ptr<Work> {
    return std::make_unique<ContextWork>(engine, io, scratch, inputs);
  };
  return std::make_unique<GpuEngine>(queue, io, kAlignment, std::move(work));
}

}  // namespace samedge
