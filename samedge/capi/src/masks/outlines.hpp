// Boxes, areas and outlines of masks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "samedge.h"

namespace samedge {

// Box x0, y0, x1, y1 around the px that are not 0 (x1, y1 exclusive; all 0 for none), and their number.
void measure(const std::uint8_t *mask, int height, int width, std::int32_t box[4],
             std::int64_t *area) noexcept;

// Outlines as OpenCV's findContours (RETR_CCOMP, CHAIN_APPROX_NONE) gives them: the same points in the same
// direction. An outer one begins with its topmost px, of these the leftmost; that of a hole with the px left
// of the hole's topmost, leftmost px. Outlines come in the order of these px, row by row. Keeps its memory.
class Outliner {
 public:
  struct Outline {
    std::int32_t start = 0;  // number of its first point
    bool hole = false;
  };

  void trace(const std::uint8_t *mask, int height, int width);

  const std::vector<std::int32_t> &points() const noexcept { return points_; }  // x, y
  const std::vector<Outline> &outlines() const noexcept { return outlines_; }

 private:
  void follow(std::int8_t *start, const std::ptrdiff_t steps[8], std::int32_t x, std::int32_t y, bool hole);

  std::vector<std::int32_t> points_;
  std::vector<Outline> outlines_;
  std::vector<std::int8_t> marks_;  // the mask with a px of nothing around it
};

}  // namespace samedge
