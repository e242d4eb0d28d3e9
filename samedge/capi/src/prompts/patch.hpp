// The part of a mask that is not empty, with what is asked of masks from frame to frame:
// `iou`, `centre` and `border_share` of samedge/prompts/gate.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace samedge {

// A mask, cut out along its box: the rest of the frame is 0, and need not be gone through again.
struct Patch {
  int height = 0;  // of the whole mask
  int width = 0;
  int x0 = 0;  // the box; x1 and y1 are exclusive, all 0 if the mask is empty
  int y0 = 0;
  int x1 = 0;
  int y1 = 0;
  std::int64_t area = 0;             // px that are not 0
  std::vector<std::uint8_t> pixels;  // [y1 - y0][x1 - x0], 0 or 1

  int columns() const noexcept { return x1 - x0; }
  int rows() const noexcept { return y1 - y0; }
  const std::uint8_t *row(int y) const noexcept {  // of the frame
    return pixels.data() + static_cast<std::size_t>(y - y0) * static_cast<std::size_t>(columns());
  }

  // Keep a mask, uint8 [height, width], 0 or not 0. Throws std::bad_alloc, and is as it was then.
  void take(const std::uint8_t *mask, int mask_height, int mask_width);
};

// x0, y0, x1, y1 in px; x1 and y1 are exclusive.
struct Area {
  int x0 = 0;
  int y0 = 0;
  int x1 = 0;
  int y1 = 0;
};

// Intersection over union; 0 if they are of frames of different size.
double iou(const Patch &one, const Patch &other) noexcept;

struct Place {
  double x = 0.0;
  double y = 0.0;
};

// Centre of gravity of a mask that is not empty, px.
Place centre(const Patch &mask) noexcept;

// Share of a mask's outline that lies on the border of a box: 0 to 1.
double border_share(const Patch &mask, const Area &area) noexcept;

}  // namespace samedge
