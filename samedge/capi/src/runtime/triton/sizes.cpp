#include "runtime/triton/sizes.hpp"

#include <algorithm>

namespace samedge {

std::int64_t SizePool::name(const std::string &text) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found != names.end()) return found - names.begin();
  names.push_back(text);
  return static_cast<std::int64_t>(names.size()) - 1;
}

std::int64_t SizePool::evaluate(const Size &size, const SizeValues &values) const noexcept {
  switch (size.kind) {
    case Size::Kind::number: return size.value;
    case Size::Kind::name: return values[static_cast<std::size_t>(size.value)];
    default: break;
  }
  const std::int64_t a = evaluate(parts[size.a], values), b = evaluate(parts[size.b], values);
  if (size.kind == Size::Kind::sum) return a + b;
  if (size.kind == Size::Kind::product) return a * b;
  return a / b + (a % b != 0 ? 1 : 0);
}

bool SizePool::same(const Size &one, const Size &other) const noexcept {
  if (one.kind != other.kind) return false;
  if (one.kind == Size::Kind::number || one.kind == Size::Kind::name) return one.value == other.value;
  return same(parts[one.a], parts[other.a]) && same(parts[one.b], parts[other.b]);
}

}  // namespace samedge
