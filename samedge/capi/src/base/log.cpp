#include "base/log.hpp"

#include <cstdarg>
#include <cstdio>
#include <mutex>

namespace samedge {

namespace {

struct Target {
  samedge_log_callback callback;
  void *user;
};

std::mutex mutex;
Target target{nullptr, nullptr};

}  // namespace

void set_log(samedge_log_callback callback, void *user) noexcept {
  const std::lock_guard<std::mutex> lock(mutex);
  target = Target{callback, user};
}

void log(int level, const char *format, ...) noexcept {
  Target now{};
  {
    const std::lock_guard<std::mutex> lock(mutex);
    now = target;
  }
  if (now.callback == nullptr) return;
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  for (char *at = line; *at != '\0'; ++at)
    if (*at == '\n' || *at == '\r') *at = ' ';
  now.callback(level, line, now.user);
}

}  // namespace samedge
