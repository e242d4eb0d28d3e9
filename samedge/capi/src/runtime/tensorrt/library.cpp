#include "runtime/tensorrt/library.hpp"

#include <dlfcn.h>

#include <atomic>
#include <cstring>

#include "base/failure.hpp"
#include "base/log.hpp"

namespace samedge {

namespace {

constexpr std::size_t kKept = 3;                    // problems
constexpr int kLeastMajor = 10, kLeastMinor = 3;    // the oldest version that has every call made here
static_assert(NV_TENSORRT_MAJOR > kLeastMajor || (NV_TENSORRT_MAJOR == kLeastMajor && NV_TENSORRT_MINOR >= kLeastMinor),
              "samedge needs the headers of TensorRT 10.3 (JetPack 6.1) or newer");

template <typename Function>
Function symbol(void *library, const char *name) {
  void *found = ::dlsym(library, name);
  if (found == nullptr)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "TensorRT's library has no %s; install TensorRT %d anew", name, NV_TENSORRT_MAJOR);
  Function function = nullptr;
  std::memcpy(&function, &found, sizeof found);
  return function;
}

TensorRtLibrary opened() {
  const std::string name = text("libnvinfer.so.%d", NV_TENSORRT_MAJOR);
  void *const library = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);  // for ever: it has threads of its own
  if (library == nullptr)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED,
         "TensorRT %d is not installed (%s cannot be opened); install it (JetPack: sudo apt install tensorrt), or use "
         "another backend", NV_TENSORRT_MAJOR, name.c_str());
  TensorRtLibrary found;
  found.create_runtime = symbol<decltype(found.create_runtime)>(library, "createInferRuntime_INTERNAL");
  const int version = symbol<decltype(&getInferLibVersion)>(library, "getInferLibVersion")();
  found.major = version / 10000;
  found.minor = version / 100 % 100;
  found.version = text("%d.%d.%d", found.major, found.minor, version % 100);
  if (found.major != NV_TENSORRT_MAJOR || (found.major == kLeastMajor && found.minor < kLeastMinor))
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "TensorRT %s is here, and %d.%d or a newer %d is needed", found.version.c_str(),
         NV_TENSORRT_MAJOR, kLeastMajor == NV_TENSORRT_MAJOR ? kLeastMinor : 0, NV_TENSORRT_MAJOR);
  return found;
}

}  // namespace

void TensorRtLog::log(Severity severity, const char *message) noexcept {
  if (severity > Severity::kWARNING || message == nullptr) return;
  samedge::log(severity == Severity::kWARNING ? SAMEDGE_LOG_WARNING : SAMEDGE_LOG_ERROR, "TensorRT: %.400s", message);
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    problems_.push_back(shown(message, 300));
    if (problems_.size() > kKept) problems_.pop_front();
  } catch (...) {  // no memory for a message: the failure itself is told
    return;
  }
}

std::string TensorRtLog::said() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string words;
  for (const std::string &problem : problems_) words += (words.empty() ? "" : "; ") + problem;
  return words.empty() ? "it gives no reason" : words;
}

const TensorRtLibrary &TensorRtLibrary::get() {
  static std::atomic<const TensorRtLibrary *> found{nullptr};
  static std::mutex mutex;
  if (const TensorRtLibrary *known = found.load(std::memory_order_acquire)) return *known;
  const std::lock_guard<std::mutex> lock(mutex);
  if (found.load(std::memory_order_relaxed) == nullptr) {
    static const TensorRtLibrary library = opened();  // tried again if it throws
    found.store(&library, std::memory_order_release);
  }
  return *found.load(std::memory_order_relaxed);
}

std::optional<std::string> TensorRtLibrary::missing() {
  try {
    static_cast<void>(get());
    return {};
  } catch (const Failure &failure) {
    return failure.message();
  }
}

void fail_tensorrt(const std::string &what, const TensorRtLog &log) {
  fail(SAMEDGE_ERROR_DEVICE, "TensorRT %s %s: %s", TensorRtLibrary::get().version.c_str(), what.c_str(),
       log.said().c_str());
}

}  // namespace samedge
