// Views of memory with a type and a shape. They own nothing and allocate nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace samedge {

enum class Element : std::uint8_t { u8, i32, i64, f16, f32 };

constexpr std::size_t size_of(Element element) noexcept {
  switch (element) {
    case Element::u8: return 1;
    case Element::f16: return 2;
    case Element::i32:
    case Element::f32: return 4;
    case Element::i64: return 8;
  }
  return 0;
}

// Up to eight axes; -1 is a free one, which occurs in specifications only.
struct Shape {
  std::array<std::int64_t, 8> sides{};
  std::size_t rank = 0;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> given) noexcept {
    for (const std::int64_t side : given) sides[rank++] = side;
  }

  std::int64_t operator[](std::size_t axis) const noexcept { return sides[axis]; }
  const std::int64_t *begin() const noexcept { return sides.data(); }
  const std::int64_t *end() const noexcept { return sides.data() + rank; }

  std::size_t elements() const noexcept {
    std::size_t count = 1;
    for (const std::int64_t side : *this) count *= static_cast<std::size_t>(side);
    return count;
  }
  bool operator==(const Shape &other) const noexcept {
    return rank == other.rank && sides == other.sides;
  }
  bool operator!=(const Shape &other) const noexcept { return !(*this == other); }
};

enum class Memory : std::uint8_t { host, cuda };

struct Tensor {
  void *data = nullptr;
  Element element = Element::u8;
  Shape shape;
  Memory memory = Memory::host;

  std::size_t bytes() const noexcept { return shape.elements() * size_of(element); }
};

}  // namespace samedge
