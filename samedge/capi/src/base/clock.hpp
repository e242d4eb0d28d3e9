// The clock of all times that are reported.
#pragma once

#include <chrono>

namespace samedge {

using Clock = std::chrono::steady_clock;

inline double milliseconds(Clock::time_point from, Clock::time_point to) noexcept {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace samedge
