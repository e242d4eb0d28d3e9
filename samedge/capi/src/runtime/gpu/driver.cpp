#include "runtime/gpu/driver.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>

#include "base/failure.hpp"

namespace samedge {

namespace {

// Values of the driver's ABI.
constexpr int kOutOfMemory = 2;
constexpr int kNoDevice = 100;
constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76, kSharedPerBlock = 97;  // CUdevice_attribute
constexpr unsigned int kNonBlocking = 1;                                           // CUstream_flags
constexpr unsigned int kNoTiming = 2;                                              // CUevent_flags
constexpr unsigned int kDeviceMemory = 2;                                          // CUmemorytype
constexpr int kThreadLocal = 1;                                                    // CUstreamCaptureMode
// CU_STREAM_LEGACY: the default stream of programs that do not ask for one per thread.
const CuHandle kDefaultStream = reinterpret_cast<CuHandle>(std::uintptr_t{1});

constexpr const char *kLibrary = "libcuda.so.1";
constexpr const char *kNoGpu =
    "the NVIDIA driver finds no GPU; use SAMEDGE_BACKEND_OPENVINO, or look at what nvidia-smi says";
constexpr const char *kUpdate = "update the NVIDIA driver";
constexpr const char *kReport = "report this with what `samedge doctor` prints";

struct Remedy {
  const char *name;
  const char *what_to_do;
};
constexpr std::array<Remedy, 9> kRemedies = {{
    {"CUDA_ERROR_OUT_OF_MEMORY", "close other programs on the GPU, or use a smaller model or frame"},
    {"CUDA_ERROR_INVALID_DEVICE", "choose a device that nvidia-smi lists"},
    {"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "the driver was updated: restart the machine"},
    {"CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", kUpdate},
    {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", kUpdate},
    {"CUDA_ERROR_DEVICE_UNAVAILABLE", "another program has the GPU to itself: end it"},
    {"CUDA_ERROR_ILLEGAL_ADDRESS", "start this program again; report it with `samedge doctor`"},
    {"CUDA_ERROR_LAUNCH_FAILED", "start this program again; report it with `samedge doctor`"},
    {"CUDA_ERROR_ECC_UNCORRECTABLE", "the GPU's memory is faulty: restart, then have it looked at"},
}};

std::string remedy(const std::string &name, const char *otherwise) {
  if (name == "CUDA_ERROR_NO_DEVICE") return kNoGpu;
  for (const Remedy &known : kRemedies)
    if (name == known.name) return known.what_to_do;
  return otherwise;
}

class Library {
 public:
  Library() : handle_(::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr)
      fail(SAMEDGE_ERROR_NOT_SUPPORTED,
           "there is no NVIDIA driver here (%s cannot be opened); install it, or use SAMEDGE_BACKEND_OPENVINO",
           kLibrary);
  }
  ~Library() {
    if (handle_ != nullptr) ::dlclose(handle_);
  }
  Library(const Library &) = delete;
  Library &operator=(const Library &) = delete;

  template <typename Function>
  void find(Function *&target, const char *symbol) const {
    void *found = ::dlsym(handle_, symbol);
    if (found == nullptr)
      fail(SAMEDGE_ERROR_NOT_SUPPORTED,
           "the NVIDIA driver here is older than CUDA 11.4 (it has no %s); update it, or use "
           "SAMEDGE_BACKEND_OPENVINO", symbol);
    std::memcpy(static_cast<void *>(&target), &found, sizeof found);
  }
  void keep() noexcept { handle_ = nullptr; }  // for ever: the driver has threads of its own

 private:
  void *handle_;
};

CudaDriver opened() {
  Library library;
  CudaDriver table{};
  library.find(table.init, "cuInit");
  library.find(table.driver_version, "cuDriverGetVersion");
  library.find(table.device_count, "cuDeviceGetCount");
  library.find(table.device_get, "cuDeviceGet");
  library.find(table.device_name, "cuDeviceGetName");
  library.find(table.device_attribute, "cuDeviceGetAttribute");
  library.find(table.primary_retain, "cuDevicePrimaryCtxRetain");
  library.find(table.primary_release, "cuDevicePrimaryCtxRelease_v2");
  library.find(table.push_current, "cuCtxPushCurrent_v2");
  library.find(table.pop_current, "cuCtxPopCurrent_v2");
  library.find(table.mem_info, "cuMemGetInfo_v2");
  library.find(table.mem_alloc, "cuMemAlloc_v2");
  library.find(table.mem_free, "cuMemFree_v2");
  library.find(table.host_alloc, "cuMemHostAlloc");
  library.find(table.host_free, "cuMemFreeHost");
  library.find(table.pointer_attribute, "cuPointerGetAttribute");
  library.find(table.copy_to_device, "cuMemcpyHtoD_v2");
  library.find(table.copy_to_host, "cuMemcpyDtoH_v2");
  library.find(table.copy_to_device_async, "cuMemcpyHtoDAsync_v2");
  library.find(table.copy_to_host_async, "cuMemcpyDtoHAsync_v2");
  library.find(table.copy_2d_async, "cuMemcpy2DAsync_v2");
  library.find(table.stream_create, "cuStreamCreate");
  library.find(table.stream_destroy, "cuStreamDestroy_v2");
  library.find(table.stream_synchronise, "cuStreamSynchronize");
  library.find(table.stream_wait_event, "cuStreamWaitEvent");
  library.find(table.stream_begin_capture, "cuStreamBeginCapture_v2");
  library.find(table.stream_end_capture, "cuStreamEndCapture");
  library.find(table.event_create, "cuEventCreate");
  library.find(table.event_record, "cuEventRecord");
  library.find(table.event_destroy, "cuEventDestroy_v2");
  library.find(table.graph_instantiate, "cuGraphInstantiateWithFlags");
  library.find(table.graph_launch, "cuGraphLaunch");
  library.find(table.graph_destroy, "cuGraphDestroy");
  library.find(table.graph_exec_destroy, "cuGraphExecDestroy");
  library.find(table.module_load, "cuModuleLoadData");
  library.find(table.module_unload, "cuModuleUnload");
  library.find(table.module_function, "cuModuleGetFunction");
  library.find(table.function_attribute, "cuFuncSetAttribute");
  library.find(table.launch, "cuLaunchKernel");
  library.find(table.error_name, "cuGetErrorName");
  library.keep();
  return table;
}

int attribute(const GpuInfo &gpu, int number) {
  int value = 0;
  check_cuda(cuda().device_attribute(&value, number, gpu.handle), "asking the GPU what it is");
  return value;
}

}  // namespace

// What cannot be opened is tried again with the next call.
const CudaDriver &cuda_table() {
  static std::atomic<const CudaDriver *> found{nullptr};
  static std::mutex mutex;
  if (const CudaDriver *known = found.load(std::memory_order_acquire)) return *known;
  const std::lock_guard<std::mutex> lock(mutex);
  static CudaDriver memory;
  if (found.load(std::memory_order_relaxed) == nullptr) {
    memory = opened();
    found.store(&memory, std::memory_order_release);
  }
  return memory;
}

const CudaDriver &cuda() {
  const CudaDriver &driver = cuda_table();
  const int result = driver.init(0);  // costs nothing after the first time
  if (result != 0) {
    const std::string name = result_name(result);
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "CUDA does not start (%s); %s", name.c_str(),
         remedy(name, kUpdate).c_str());
  }
  return driver;
}

std::optional<std::string> gpu_problem() {
  try {
    int count = 0;
    const int result = cuda().device_count(&count);
    if (result == kNoDevice || (result == 0 && count == 0)) return kNoGpu;
    check_cuda(result, "counting the GPUs");
    return {};
  } catch (const Failure &failure) {
    return failure.message();
  }
}

std::string driver_version() {
  int version = 0;
  check_cuda(cuda().driver_version(&version), "asking for the driver's version");
  return text("%d.%d", version / 1000, version % 1000 / 10);
}

std::string result_name(int result) {
  const char *name = nullptr;
  if (cuda_table().error_name(result, &name) != 0 || name == nullptr) return text("result %d", result);
  return name;
}

void fail_cuda(int result, const char *what) {
  const std::string name = result_name(result);
  fail(SAMEDGE_ERROR_DEVICE, "%s: CUDA says %s; %s", what, name.c_str(), remedy(name, kReport).c_str());
}

GpuInfo gpu_info(int index) {
  const CudaDriver &driver = cuda();
  int count = 0;
  check_cuda(driver.device_count(&count), "counting the GPUs");
  if (count == 0) fail(SAMEDGE_ERROR_NOT_SUPPORTED, "there is no GPU number %d here; %s", index, kNoGpu);
  if (index < 0 || index >= count)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "there is no GPU number %d here; choose one from 0 to %d", index, count - 1);
  GpuInfo gpu;
  gpu.index = index;
  check_cuda(driver.device_get(&gpu.handle, index), "finding the GPU");
  std::array<char, 256> name{};
  check_cuda(driver.device_name(name.data(), static_cast<int>(name.size()), gpu.handle), "asking the GPU what it is");
  name.back() = 0;
  gpu.name = shown(name.data());
  gpu.compute_capability = 10 * attribute(gpu, kCapabilityMajor) + attribute(gpu, kCapabilityMinor);
  return gpu;
}

Device::Device(int index) : info_(gpu_info(index)) {
  check_cuda(cuda().primary_retain(&context_, info_.handle), "opening the GPU");
}

Device::~Device() {
  if (context_ != nullptr) static_cast<void>(cuda_table().primary_release(info_.handle));
}

int Device::shared_memory() const { return attribute(info_, kSharedPerBlock); }

Current::Current(const Device &device) {
  check_cuda(cuda_table().push_current(device.context_), "using the GPU");
  pushed_ = true;
}

Current::Current(const Device &device, std::nothrow_t) noexcept
    : pushed_(cuda_table().push_current(device.context_) == 0) {}

Current::~Current() {
  CuHandle popped = nullptr;
  if (pushed_) static_cast<void>(cuda_table().pop_current(&popped));
}

DeviceMemory::DeviceMemory(const Device &device, std::size_t size, const std::string &what) {
  const CudaDriver &driver = cuda_table();
  const int result = driver.mem_alloc(&address_, std::max<std::size_t>(size, 1));
  if (result == kOutOfMemory) {
    std::size_t free = 0, total = 0;
    check_cuda(driver.mem_info(&free, &total), "asking for the GPU's free memory");
    fail(SAMEDGE_ERROR_DEVICE,
         "the GPU is out of memory: %s needs %s, free are %s of %s (%s); close other programs on the GPU, or use "
         "a smaller model or frame", what.c_str(), megabytes(size).c_str(), megabytes(free).c_str(),
         megabytes(total).c_str(), device.info().name.c_str());
  }
  check_cuda(result, what.c_str());
  size_ = size;
}

DeviceMemory::~DeviceMemory() {
  if (address_ != 0) static_cast<void>(cuda_table().mem_free(address_));
}

void DeviceMemory::fill(const void *data, std::size_t size, std::size_t offset) const {
  if (size > size_ || offset > size_ - size)
    fail(SAMEDGE_ERROR_INTERNAL, "%zu bytes at %zu do not fit into %zu on the GPU", size, offset, size_);
  check_cuda(cuda_table().copy_to_device(address_ + offset, data, size), "copying to the GPU");
}

PinnedMemory::PinnedMemory(std::size_t size) {
  const std::size_t bytes = std::max<std::size_t>(size, 1);
  const int result = cuda_table().host_alloc(&data_, bytes, 0);
  if (result != 0) {
    data_ = nullptr;
    fail_cuda(result, (megabytes(size) + " of pinned memory").c_str());
  }
  std::memset(data_, 0, bytes);
}

PinnedMemory::~PinnedMemory() {
  if (data_ != nullptr) static_cast<void>(cuda_table().host_free(data_));
}

Stream::Stream() { check_cuda(cuda_table().stream_create(&handle_, kNonBlocking), "making a stream"); }

Stream::~Stream() {
  const CudaDriver &driver = cuda_table();
  if (event_ != nullptr) static_cast<void>(driver.event_destroy(event_));
  if (handle_ != nullptr) static_cast<void>(driver.stream_destroy(handle_));
}

void Stream::upload(DeviceAddress target, const void *pinned, std::size_t size) const {
  check_cuda(cuda_table().copy_to_device_async(target, pinned, size, handle_), "copying to the GPU");
}

void Stream::download(void *pinned, DeviceAddress source, std::size_t size) const {
  check_cuda(cuda_table().copy_to_host_async(pinned, source, size, handle_), "copying from the GPU");
}

void Stream::copy_rows(DeviceAddress target, DeviceAddress source, std::size_t width, std::size_t rows,
                       std::size_t pitch) const {
  CuCopy2D job{};
  job.src_type = job.dst_type = kDeviceMemory;
  job.src_device = source;
  job.src_pitch = pitch;
  job.dst_device = target;
  job.dst_pitch = width;
  job.width = width;
  job.height = rows;
  check_cuda(cuda_table().copy_2d_async(&job, handle_), "copying the frame on the GPU");
}

void Stream::wait_for_default() {
  const CudaDriver &driver = cuda_table();
  if (event_ == nullptr) check_cuda(driver.event_create(&event_, kNoTiming), "making an event");
  check_cuda(driver.event_record(event_, kDefaultStream), "waiting for the frame");
  check_cuda(driver.stream_wait_event(handle_, event_, 0), "waiting for the frame");
}

void Stream::synchronise() const { check_cuda(cuda_table().stream_synchronise(handle_), "the GPU's work"); }

void Stream::settle() const noexcept { static_cast<void>(cuda_table().stream_synchronise(handle_)); }

void CudaGraph::clear() noexcept {
  if (handle_ != nullptr) static_cast<void>(cuda_table().graph_exec_destroy(handle_));
  handle_ = nullptr;
}

void CudaGraph::launch(const Stream &stream) const {
  check_cuda(cuda_table().graph_launch(handle_, stream.handle()), "starting a CUDA graph");
}

void CudaGraph::begin(const Stream &stream) {
  check_cuda(cuda_table().stream_begin_capture(stream.handle(), kThreadLocal), "capturing a graph");
}

void CudaGraph::abandon(const Stream &stream) noexcept {
  CuHandle graph = nullptr;  // ending it is the only way out of a capture
  if (cuda_table().stream_end_capture(stream.handle(), &graph) == 0 && graph != nullptr)
    static_cast<void>(cuda_table().graph_destroy(graph));
}

void CudaGraph::finish(const Stream &stream) {
  clear();
  CuHandle graph = nullptr;
  check_cuda(cuda_table().stream_end_capture(stream.handle(), &graph), "capturing a graph");
  const int result = cuda_table().graph_instantiate(&handle_, graph, 0);
  static_cast<void>(cuda_table().graph_destroy(graph));
  if (result != 0) {
    handle_ = nullptr;
    fail_cuda(result, "making a CUDA graph");
  }
}

std::string megabytes(std::size_t size) {
  return size >= 1'000'000 ? text("%.0f MB", static_cast<double>(size) / 1e6) : text("%zu bytes", size);
}

}  // namespace samedge
