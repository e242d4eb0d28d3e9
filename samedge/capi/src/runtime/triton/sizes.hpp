// Sizes of a plan: numbers, or sums, products and rounded-up quotients of numbers and of sizes that are
// known when it runs ("height", "objects"). samedge/runtime/triton/sizes.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace samedge {

// A node of an expression; its parts stand in the plan's `SizePool`.
struct Size {
  enum class Kind : std::uint8_t { number, name, sum, product, quotient };
  Kind kind = Kind::number;
  std::int64_t value = 0;     // the number, or which name it is
  std::uint32_t a = 0, b = 0;  // places of the parts
};

// What the named sizes are; one for each name of the pool, 0 where it is not known.
using SizeValues = std::vector<std::int64_t>;

struct SizePool {
  std::vector<std::string> names;
  std::vector<Size> parts;

  // Which name this is; a new one is added.
  std::int64_t name(const std::string &text);
  // The number that `size` is. Values are within the limits of a plan that was checked.
  std::int64_t evaluate(const Size &size, const SizeValues &values) const noexcept;
  // Whether two sizes are the same expression.
  bool same(const Size &one, const Size &other) const noexcept;
};

}  // namespace samedge
