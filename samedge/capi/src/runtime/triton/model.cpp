#include "runtime/triton/model.hpp"

#include <algorithm>

#include "base/failure.hpp"
#include "runtime/triton/launches.hpp"
#include "runtime/triton/weights.hpp"

namespace samedge {

namespace {

constexpr int kLeastCapability = 80;      // below it Triton emits no tensor-core code
constexpr int kPlainShared = 48 << 10;    // bytes of shared memory that a kernel gets without asking
constexpr int kMostDynamicShared = 8;     // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

// What the driver says of code that it cannot run.
bool is_not_for_it(const std::string &result) {
  return result == "CUDA_ERROR_NO_BINARY_FOR_GPU" || result == "CUDA_ERROR_INVALID_IMAGE" ||
         result == "CUDA_ERROR_INVALID_SOURCE" || result == "CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC";
}

Target target_for(EngineFile &file, const GpuInfo &gpu) {
  std::vector<int> there;
  for (Target &target : file.plan.targets) {
    if (target.compute_capability == gpu.compute_capability) return std::move(target);
    there.push_back(target.compute_capability);
  }
  std::sort(there.begin(), there.end());
  std::string words;
  for (const int number : there) words += (words.empty() ? "sm_" : ", sm_") + std::to_string(number);
  fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the engine %s is for %s, and this GPU (%s) has sm_%d; build one for it: samedge "
       "build BUNDLE --target triton --sm %d", shown(file.name).c_str(), words.c_str(), gpu.name.c_str(),
       gpu.compute_capability, gpu.compute_capability);
}

bool fits(const Port &port, const TensorSpec &spec) {
  if (port.name != spec.name || port.element != spec.element || port.shape.size() != spec.shape.rank) return false;
  for (std::size_t axis = 0; axis < port.shape.size(); ++axis) {
    const bool fixed = port.shape[axis].kind == Size::Kind::number;
    if (fixed ? port.shape[axis].value != spec.shape[axis] : spec.shape[axis] >= 0) return false;
  }
  return true;
}

// Refuse an engine with other inputs and outputs than the bundle's graph.
void check_ports(const std::vector<Port> &ports, const std::vector<TensorSpec> &specs, const char *what,
                 const std::string &name) {
  for (const TensorSpec &spec : specs)
    if (std::none_of(ports.begin(), ports.end(), [&](const Port &port) { return fits(port, spec); }))
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the engine %s has other %s than the bundle (%s); build it again with `samedge "
           "build --force`", shown(name).c_str(), what, shown(spec.name).c_str());
  if (ports.size() != specs.size())
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the engine %s has %zu %s, the bundle %zu; build it again with `samedge build "
         "--force`", shown(name).c_str(), ports.size(), what, specs.size());
}

}  // namespace

std::optional<std::string> too_old(const GpuInfo &gpu) {
  if (gpu.compute_capability >= kLeastCapability) return {};
  return text("this GPU (%s) has sm_%d, and engines of samedge's own are for sm_80 and newer (the compiler makes no "
              "tensor-core code for older ones); use SAMEDGE_BACKEND_TENSORRT or SAMEDGE_BACKEND_OPENVINO",
              gpu.name.c_str(), gpu.compute_capability);
}

TritonModel::TritonModel(EngineFile file, const Bundle &bundle, std::shared_ptr<const Device> device,
                         GraphIO encoder, GraphIO decoder)
    : device_(std::move(device)), encoder_(std::move(encoder)), decoder_(std::move(decoder)),
      target_(target_for(file, device_->info())) {
  check_bundle(file, bundle);
  const Current here(*device_);
  try {
    load(file, bundle);
  } catch (...) {
    unload();
    throw;
  }
  sizes_ = std::move(file.plan.sizes);
}

TritonModel::~TritonModel() {
  const Current here(*device_, std::nothrow);
  unload();
}

void TritonModel::load(const EngineFile &file, const Bundle &bundle) {
  const GpuInfo &gpu = device_->info();
  const int most = device_->shared_memory();
  for (const KernelCode &kernel : target_.kernels)
    if (kernel.shared > most)
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the engine %s needs %d bytes of shared memory for %s, and this GPU (%s) has "
           "%d; build it again: samedge build BUNDLE --target triton --sm %d", shown(file.name).c_str(),
           kernel.shared, shown(kernel.name).c_str(), gpu.name.c_str(), most, gpu.compute_capability);
  for (const Program &program : target_.programs) {
    const GraphIO &io = program.encoder ? encoder_ : decoder_;
    const char *const graph = program.encoder ? "encoder" : "decoder";
    check_ports(program.inputs, io.inputs, text("inputs of the %s", graph).c_str(), file.name);
    check_ports(program.outputs, io.outputs, text("outputs of the %s", graph).c_str(), file.name);
  }
  const CudaDriver &driver = cuda_table();
  modules_.reserve(target_.kernels.size());
  for (const KernelCode &kernel : target_.kernels) {
    const std::string what = "the engine " + shown(file.name) + ", kernel " + shown(kernel.name);
    CuHandle module = nullptr, function = nullptr;
    const int result = driver.module_load(&module, file.cubin(kernel));
    if (result != 0 && is_not_for_it(result_name(result)))
      fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s: the NVIDIA driver, which is for CUDA %s, does not take its code for sm_%d "
           "(%s); update the driver, or build the engine with an older version of the triton package", what.c_str(),
           driver_version().c_str(), gpu.compute_capability, result_name(result).c_str());
    check_cuda(result, what.c_str());
    modules_.push_back(module);
    check_cuda(driver.module_function(&function, module, kernel.symbol.c_str()), what.c_str());
    if (kernel.shared > kPlainShared)
      check_cuda(driver.function_attribute(function, kMostDynamicShared, kernel.shared),
                 text("%d bytes of shared memory for %s", kernel.shared, what.c_str()).c_str());
    functions_.push_back(function);
  }
  weights_ = DeviceMemory(*device_, static_cast<std::size_t>(file.plan.weights_size),
                          "the weights of the engine " + shown(file.name));
  load_weights(file, bundle, [&](std::size_t offset, const void *piece, std::size_t size) {
    weights_.fill(piece, size, offset);
  });
}

void TritonModel::unload() noexcept {
  weights_ = DeviceMemory();
  for (const CuHandle module : modules_) static_cast<void>(cuda_table().module_unload(module));
  modules_.clear();
}

std::unique_ptr<Engines> TritonModel::open() {
  auto queue = std::make_shared<DeviceQueue>(device_);
  auto arena = std::make_shared<Scratch>(device_);
  auto encoder = engine(true, queue, arena), decoder = engine(false, queue, arena);
  arena.reset();  // the last engine frees it
  return std::make_unique<GpuEngines>(shared_from_this(), std::move(queue), std::move(encoder), std::move(decoder));
}

std::unique_ptr<GpuEngine> TritonModel::engine(bool encoder, const std::shared_ptr<DeviceQueue> &queue,
                                               const std::shared_ptr<Scratch> &arena) const {
  std::vector<const Program *> programs;
  for (const Program &program : target_.programs)
    if (program.encoder == encoder) programs.push_back(&program);
  auto work = [this, arena, programs](const Bindings &inputs) -> std::unique_ptr<Work> {
    const SizeValues values = sizes_of(sizes_, programs.front()->inputs, inputs);
    return std::make_unique<Launches>(sizes_, program_for(sizes_, programs, values), target_.kernels, functions_,
                                      weights_.address(), arena, values);
  };
  return std::make_unique<GpuEngine>(queue, encoder ? encoder_ : decoder_,
                                     static_cast<std::size_t>(kPointerAlignment), std::move(work));
}

}  // namespace samedge
