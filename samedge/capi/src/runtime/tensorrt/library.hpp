// TensorRT's library, opened at run time: samedge/runtime/tensorrt/library.py.
//
// Its header is all that is needed to build. Work is queued on streams of the CUDA driver, which are the CUDA
// runtime's as well (cudaStream_t is CUstream): so memory, streams and CUDA graphs are those of runtime/gpu,
// as in Python, and the CUDA runtime is not needed by name.
#pragma once

#include <NvInfer.h>

#include <deque>
#include <mutex>
#include <optional>
#include <string>

namespace samedge {

// Keeps what an error message may need of what TensorRT says. Called from any of its threads.
class TensorRtLog : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char *message) noexcept override;
  // The last problems, or that there is none.
  std::string said() const;

 private:
  mutable std::mutex mutex_;
  std::deque<std::string> problems_;
};

struct TensorRtLibrary {
  decltype(&createInferRuntime_INTERNAL) create_runtime = nullptr;
  std::string version;  // "10.3.0"
  int major = 0, minor = 0;

  // Throws Failure(NOT_SUPPORTED): not installed, too old, or of another major version than the header.
  static const TensorRtLibrary &get();
  // Why it cannot be used, with the remedy; nothing if it can.
  static std::optional<std::string> missing();
};

// Throws Failure(DEVICE): `what` failed, with what the library had to say about it.
[[noreturn]] void fail_tensorrt(const std::string &what, const TensorRtLog &log);

}  // namespace samedge
