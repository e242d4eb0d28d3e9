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

// Outlines as OpenCV's findContours (RETR_CCOMP, CHAIN_APPROX_NONE) gives them. Keeps its memory.
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
  std::vector<std::int32_t> points_;
  std::vector<Outline> outlines_;
  std::vector<std::int32_t> labels_;
};

}  // namespace samedge
