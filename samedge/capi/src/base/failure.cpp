#include "base/failure.hpp"

#include <cstdio>

namespace samedge {

namespace {

[[gnu::format(printf, 1, 0)]] std::string formatted(const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  std::string result(length > 0 ? static_cast<std::size_t>(length) : 0, '\0');
  if (length > 0) std::vsnprintf(result.data(), result.size() + 1, format, again);
  va_end(again);
  return result;
}

// Length of the UTF-8 sequence at `at`, 0 if there is none.
std::size_t sequence(const std::string &bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(at);
  std::size_t length = 0;
  if (lead < 0x80) length = 1;
  else if (lead >= 0xC2 && lead < 0xE0) length = 2;
  else if (lead >= 0xE0 && lead < 0xF0) length = 3;
  else if (lead >= 0xF0 && lead < 0xF5) length = 4;
  if (length == 0 || at + length > bytes.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
  return length;
}

}  // namespace

std::string text(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string result = formatted(format, arguments);
  va_end(arguments);
  return result;
}

std::string text(const Shape &shape) {
  std::string words = "[";
  for (std::size_t axis = 0; axis < shape.rank; ++axis)
    words += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  return words + "]";
}

void fail(samedge_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string message = formatted(format, arguments);
  va_end(arguments);
  throw Failure(status, std::move(message));
}

std::string shown(const std::string &foreign, std::size_t most) {
  std::string result;
  for (std::size_t at = 0; at < foreign.size();) {
    const std::size_t length = sequence(foreign, at);
    if (result.size() + (length == 0 ? 1 : length) > most) return result + "...";
    const auto lead = static_cast<unsigned char>(foreign[at]);
    if (length == 0 || lead < 0x20 || lead == 0x7F) {
      result += '?';
      ++at;
    } else {
      result.append(foreign, at, length);
      at += length;
    }
  }
  return result;
}

}  // namespace samedge
