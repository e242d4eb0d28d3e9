// The boundary: exceptions become a status, structs of every age are read and written safely.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>

#include "base/failure.hpp"
#include "samedge.h"

namespace samedge {

// Remember what samedge_last_error says in this thread; gives `status` back.
samedge_status remember(samedge_status status, const char *message) noexcept;

// Run the body of a function of samedge.h.
template <typename Work>
samedge_status guarded(Work &&work) noexcept {
  try {
    work();
    return SAMEDGE_OK;
  } catch (const Failure &failure) {
    return remember(failure.status(), failure.what());
  } catch (const std::bad_alloc &) {
    return remember(SAMEDGE_ERROR_MEMORY, "out of memory; use smaller frames or fewer sessions");
  } catch (const std::exception &error) {
    return remember(SAMEDGE_ERROR_INTERNAL, error.what());
  } catch (...) {
    return remember(SAMEDGE_ERROR_INTERNAL, "an unknown exception");
  }
}

// Throws Failure(ARGUMENT) for a null pointer.
template <typename T>
T &required(T *pointer, const char *name) {
  if (pointer == nullptr) fail(SAMEDGE_ERROR_ARGUMENT, "%s is NULL", name);
  return *pointer;
}

// Sizes of structs as they were in ABI 1.0: smaller ones never were.
template <typename S>
constexpr std::uint32_t kFirstSize = sizeof(S);

constexpr std::uint32_t kLargestStruct = 1U << 16U;

// A copy of a caller's struct, with zeros for the fields that its header did not have.
// Throws Failure(ARGUMENT): null, or a struct_size that no version had. Failure(ABI): it asks, by fields
// that are not zero, for what this library does not know.
template <typename S>
S taken(const S *given, const char *name) {
  required(given, name);
  const std::uint32_t size = given->struct_size;
  if (size < kFirstSize<S> || size > kLargestStruct)
    fail(SAMEDGE_ERROR_ARGUMENT, "%s has struct_size %u; expected sizeof(%s), %zu", name, size, name, sizeof(S));
  const auto *bytes = reinterpret_cast<const unsigned char *>(given);
  if (size > sizeof(S) && !std::all_of(bytes + sizeof(S), bytes + size, [](unsigned char b) { return b == 0; }))
    fail(SAMEDGE_ERROR_ABI, "%s was filled in by a program for a newer samedge (struct_size %u, here %zu); "
         "update the library", name, size, sizeof(S));
  S copy{};
  std::memcpy(&copy, given, std::min<std::size_t>(size, sizeof(S)));
  return copy;
}

// Write back as much of a struct as the caller's has.
template <typename S>
void given_back(S *target, const S &value) noexcept {
  const std::uint32_t size = target->struct_size;
  std::memcpy(target, &value, std::min<std::size_t>(size, sizeof(S)));
  target->struct_size = size;
}

// Compute into a caller's result: what is needed is told also where it fails.
template <typename Work>
void into(samedge_result *given, Work &&work) {
  samedge_result result = taken(given, "samedge_result");
  try {
    work(result);
  } catch (...) {
    given_back(given, result);
    throw;
  }
  given_back(given, result);
}

// A struct with its defaults, in memory of `size` bytes.
template <typename S>
void set_default(S *target, std::size_t size, const char *name) {
  required(target, name);
  if (size < kFirstSize<S> || size > kLargestStruct)
    fail(SAMEDGE_ERROR_ARGUMENT, "%s has %zu bytes; expected sizeof(%s), %zu", name, size, name, sizeof(S));
  std::memset(static_cast<void *>(target), 0, size);
  target->struct_size = static_cast<std::uint32_t>(size);
}

}  // namespace samedge
