// Handles: numbers in the clothes of pointers, checked before anything is touched.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/failure.hpp"

namespace samedge {

static_assert(sizeof(void *) == 8, "handles have 40 bits for their generation");

// Handles of one kind. A handle is `generation << 24 | place << 4 | kind << 1 | 1`: odd, so that it is
// never a pointer that somebody allocated, and dead for good once it was removed. Thread-safe.
template <typename T>
class Handles {
 public:
  Handles(std::uintptr_t kind, const char *what) : kind_(kind), what_(what) {}

  // Throws Failure(MEMORY): a million handles at once.
  void *add(std::shared_ptr<T> value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
      if (slots_.size() >= kMost) fail(SAMEDGE_ERROR_MEMORY, "there are %zu %ss already: free some", kMost, what_);
      free_.reserve(slots_.size() + 1);
      slots_.emplace_back();
      free_.push_back(slots_.size() - 1);
    }
    const std::size_t place = free_.back();
    free_.pop_back();
    slots_[place].value = std::move(value);
    return encoded(place, slots_[place].generation);
  }

  // Throws Failure(HANDLE): null, freed, or something else.
  std::shared_ptr<T> get(const void *handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return slot(handle).value;
  }

  // The value, whose handle is dead from now on. Throws Failure(HANDLE).
  std::shared_ptr<T> remove(const void *handle) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Slot &found = slot(handle);
    std::shared_ptr<T> value = std::move(found.value);
    found.value.reset();
    ++found.generation;
    free_.push_back(place_of(handle));  // has room: see add
    return value;
  }

 private:
  static constexpr std::size_t kMost = 1U << 20U;

  struct Slot {
    std::shared_ptr<T> value;
    std::uintptr_t generation = 1;
  };

  static std::size_t place_of(const void *handle) noexcept {
    return (reinterpret_cast<std::uintptr_t>(handle) >> 4U) & (kMost - 1);
  }

  void *encoded(std::size_t place, std::uintptr_t generation) const noexcept {
    const std::uintptr_t number = (generation << 24U) | (place << 4U) | (kind_ << 1U) | 1U;
    return reinterpret_cast<void *>(number);  // NOLINT(performance-no-int-to-ptr): never followed
  }

  Slot &slot(const void *handle) {
    if (handle == nullptr) fail(SAMEDGE_ERROR_HANDLE, "the %s is NULL", what_);
    const std::size_t place = place_of(handle);
    if (place >= slots_.size() || slots_[place].value == nullptr ||
        encoded(place, slots_[place].generation) != handle)
      fail(SAMEDGE_ERROR_HANDLE, "this is no %s, or one that was freed", what_);
    return slots_[place];
  }

  std::uintptr_t kind_;
  const char *what_;
  std::mutex mutex_;
  std::deque<Slot> slots_;
  std::vector<std::size_t> free_;
};

}  // namespace samedge
