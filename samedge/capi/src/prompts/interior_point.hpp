// The innermost px of a mask: `interior_point` of samedge/prompts/tracking.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "prompts/patch.hpp"

namespace samedge {

struct Pixel {
  int x = 0;
  int y = 0;
};

// Keeps its memory from mask to mask.
class InteriorPoint {
 public:
  // Room for masks with a box of so many px. Throws std::bad_alloc.
  void make_room(int rows, int columns);

  // The px of the largest component that is farthest from the component's border, to which the frame's
  // edge belongs. Components are connected over corners; of equal ones, and of equally deep px, the first
  // in reading order is taken. mask: not empty, and there is room for it.
  Pixel find(const Patch &mask) noexcept;

 private:
  // Px of a row that follow one another: [from, to).
  struct Run {
    std::int32_t row, from, to;
    std::int32_t parent;  // the first of its component that is known, or one on the way there
  };

  std::int32_t root(std::int32_t run) noexcept;
  void join(std::int32_t one, std::int32_t other) noexcept;
  void label(const Patch &mask) noexcept;
  void keep_largest() noexcept;
  void measure_columns(int rows, int columns) noexcept;
  std::int32_t deepest(const std::int32_t *heights, int length, std::int32_t *place) noexcept;

  std::vector<Run> runs_;
  std::vector<std::int64_t> areas_;     // of the components, at their first runs
  std::vector<std::int32_t> heights_;   // [rows][columns]: px to the border straight up or down
  std::vector<std::int32_t> lowest_, from_, squares_;  // of the parabolas of a row
};

}  // namespace samedge
