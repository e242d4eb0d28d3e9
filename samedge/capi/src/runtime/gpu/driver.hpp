// CUDA for the engines: samedge/runtime/gpu/driver.py. One device, streams, memory, events and graphs.
//
// The driver's library is opened at run time: nothing of CUDA is needed to build, and a library that was
// built with this runs on machines without a GPU. Every call is checked, every failure says what was asked
// for and what to do. The host program's own CUDA context is left alone: ours is made current for the
// length of a call (`Current`). What owns memory on a device frees it with that device current.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace samedge {

using DeviceAddress = unsigned long long;  // CUdeviceptr
using CuHandle = void *;                   // of a context, module, function, stream, event or graph

// CUDA_MEMCPY2D of the driver's ABI.
struct CuCopy2D {
  std::size_t src_x, src_y;
  unsigned int src_type;
  const void *src_host;
  DeviceAddress src_device;
  CuHandle src_array;
  std::size_t src_pitch;
  std::size_t dst_x, dst_y;
  unsigned int dst_type;
  void *dst_host;
  DeviceAddress dst_device;
  CuHandle dst_array;
  std::size_t dst_pitch;
  std::size_t width, height;
};

// The driver's functions, as far as they are used. The table names each as libcuda exports it.
struct CudaDriver {
  int (*init)(unsigned int);
  int (*driver_version)(int *);
  int (*device_count)(int *);
  int (*device_get)(int *, int);
  int (*device_name)(char *, int, int);
  int (*device_attribute)(int *, int, int);
  int (*primary_retain)(CuHandle *, int);
  int (*primary_release)(int);
  int (*push_current)(CuHandle);
  int (*pop_current)(CuHandle *);
  int (*mem_info)(std::size_t *, std::size_t *);
  int (*mem_alloc)(DeviceAddress *, std::size_t);
  int (*mem_free)(DeviceAddress);
  int (*host_alloc)(void **, std::size_t, unsigned int);
  int (*host_free)(void *);
  int (*pointer_attribute)(void *, int, DeviceAddress);
  int (*copy_to_device)(DeviceAddress, const void *, std::size_t);
  int (*copy_to_host)(void *, DeviceAddress, std::size_t);
  int (*copy_to_device_async)(DeviceAddress, const void *, std::size_t, CuHandle);
  int (*copy_to_host_async)(void *, DeviceAddress, std::size_t, CuHandle);
  int (*copy_2d_async)(const CuCopy2D *, CuHandle);
  int (*stream_create)(CuHandle *, unsigned int);
  int (*stream_destroy)(CuHandle);
  int (*stream_synchronise)(CuHandle);
  int (*stream_wait_event)(CuHandle, CuHandle, unsigned int);
  int (*stream_begin_capture)(CuHandle, int);
  int (*stream_end_capture)(CuHandle, CuHandle *);
  int (*event_create)(CuHandle *, unsigned int);
  int (*event_record)(CuHandle, CuHandle);
  int (*event_destroy)(CuHandle);
  int (*graph_instantiate)(CuHandle *, CuHandle, unsigned long long);
  int (*graph_launch)(CuHandle, CuHandle);
  int (*graph_destroy)(CuHandle);
  int (*graph_exec_destroy)(CuHandle);
  int (*module_load)(CuHandle *, const void *);
  int (*module_unload)(CuHandle);
  int (*module_function)(CuHandle *, CuHandle, const char *);
  int (*function_attribute)(CuHandle, int, int);
  int (*launch)(CuHandle, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,
                unsigned int, CuHandle, void **, void **);
  int (*error_name)(int, const char **);
};

// The driver, opened and initialised. Throws Failure(NOT_SUPPORTED): no driver, no GPU, or too old.
const CudaDriver &cuda();

// The same for what has a device already.
const CudaDriver &cuda_table();

// Why no GPU can be used here, with the remedy; nothing if one can.
std::optional<std::string> gpu_problem();

// The CUDA version that the driver is for: "12.4".
std::string driver_version();

// The driver's name of a result, "CUDA_ERROR_OUT_OF_MEMORY".
std::string result_name(int result);

// Throws Failure(DEVICE) for a result that is not success. what: the call was for.
[[noreturn]] void fail_cuda(int result, const char *what);
inline void check_cuda(int result, const char *what) {
  if (result != 0) fail_cuda(result, what);
}

// What is known of a GPU without opening it.
struct GpuInfo {
  int index = 0;
  int handle = 0;
  std::string name;
  int compute_capability = 0;  // 86 for 8.6
};

// Throws Failure(NOT_SUPPORTED): there is no such GPU, or no driver.
GpuInfo gpu_info(int index);

// A GPU that is open: its primary context is shared with every other library in this process.
class Device {
 public:
  explicit Device(int index);
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  const GpuInfo &info() const noexcept { return info_; }
  // Most bytes of shared memory that a block can have.
  int shared_memory() const;

 private:
  friend class Current;
  GpuInfo info_;
  CuHandle context_ = nullptr;
};

// Makes a device the one of the calling thread, for as long as this lives.
class Current {
 public:
  explicit Current(const Device &device);
  // For destructors: what cannot be done is left out.
  Current(const Device &device, std::nothrow_t) noexcept;
  ~Current();
  Current(const Current &) = delete;
  Current &operator=(const Current &) = delete;

 private:
  bool pushed_ = false;
};

// A block of device memory. The device has to be current wherever it is made, filled and freed.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Throws Failure(DEVICE): out of memory; with the sizes. what: it is for.
  DeviceMemory(const Device &device, std::size_t size, const std::string &what);
  DeviceMemory(DeviceMemory &&other) noexcept { swap(other); }
  DeviceMemory &operator=(DeviceMemory &&other) noexcept {
    DeviceMemory moved(std::move(other));
    swap(moved);
    return *this;
  }
  ~DeviceMemory();

  DeviceAddress address() const noexcept { return address_; }
  std::size_t size() const noexcept { return size_; }
  // Copy to a byte of the block, and wait for it.
  void fill(const void *data, std::size_t size, std::size_t offset = 0) const;

 private:
  void swap(DeviceMemory &other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
  }

  DeviceAddress address_ = 0;
  std::size_t size_ = 0;
};

// Page-locked host memory, which the GPU can copy while the CPU does not wait. Zeros at first.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(std::size_t size);
  PinnedMemory(PinnedMemory &&other) noexcept { std::swap(data_, other.data_); }
  PinnedMemory &operator=(PinnedMemory &&other) noexcept {
    PinnedMemory moved(std::move(other));
    std::swap(data_, moved.data_);
    return *this;
  }
  ~PinnedMemory();

  void *data() const noexcept { return data_; }

 private:
  void *data_ = nullptr;
};

// A queue of work on the current device.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream &) = delete;
  Stream &operator=(const Stream &) = delete;

  CuHandle handle() const noexcept { return handle_; }
  void upload(DeviceAddress target, const void *pinned, std::size_t size) const;
  void download(void *pinned, DeviceAddress source, std::size_t size) const;
  // `rows` rows of `width` bytes, which lie `pitch` bytes apart in the source.
  void copy_rows(DeviceAddress target, DeviceAddress source, std::size_t width, std::size_t rows,
                 std::size_t pitch) const;
  // Let what comes next wait for all that is queued in the default stream now.
  void wait_for_default();
  // Wait until all that is queued is done; a failure of any of it comes out here.
  void synchronise() const;
  // The same where nothing can be done about a failure any more.
  void settle() const noexcept;

 private:
  CuHandle handle_ = nullptr;
  CuHandle event_ = nullptr;
};

// Work that was captured from a stream, to be started in one call.
class CudaGraph {
 public:
  CudaGraph() = default;
  ~CudaGraph() { clear(); }
  CudaGraph(const CudaGraph &) = delete;
  CudaGraph &operator=(const CudaGraph &) = delete;

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  void clear() noexcept;
  void launch(const Stream &stream) const;

  // Record what `queue` queues instead of running it.
  // Throws Failure(DEVICE): something of it cannot be captured; nothing stays behind.
  template <typename Queue>
  void capture(const Stream &stream, Queue &&queue) {
    begin(stream);
    try {
      queue();
    } catch (...) {
      abandon(stream);
      throw;
    }
    finish(stream);
  }

 private:
  static void begin(const Stream &stream);
  static void abandon(const Stream &stream) noexcept;
  void finish(const Stream &stream);

  CuHandle handle_ = nullptr;
};

// "12 MB", for messages.
std::string megabytes(std::size_t size);

}  // namespace samedge
