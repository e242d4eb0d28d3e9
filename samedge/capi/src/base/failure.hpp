// Failures inside the library: thrown as `Failure`, turned into a status at the boundary (api/guard.hpp).
#pragma once

#include <cstdarg>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "base/tensor.hpp"
#include "samedge.h"

namespace samedge {

// What came, what was expected, what to do; and the status that the caller gets.
class Failure : public std::exception {
 public:
  Failure(samedge_status status, std::string message)
      : status_(status), message_(std::move(message)) {}

  samedge_status status() const noexcept { return status_; }
  const std::string &message() const noexcept { return message_; }
  const char *what() const noexcept override { return message_.c_str(); }

 private:
  samedge_status status_;
  std::string message_;
};

// printf into a string. Numbers that a user gave are printed with %g.
[[gnu::format(printf, 1, 2)]] std::string text(const char *format, ...);

// "[1, 2, 3]".
std::string text(const Shape &shape);

// Throw a Failure with a printf message.
[[noreturn, gnu::format(printf, 2, 3)]] void fail(samedge_status status, const char *format, ...);

// A string of a foreign file for a message: control characters and invalid UTF-8 replaced, at most
// `most` bytes.
std::string shown(const std::string &foreign, std::size_t most = 120);

}  // namespace samedge
