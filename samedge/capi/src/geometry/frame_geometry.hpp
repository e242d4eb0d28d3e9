// Crop, resize, pad and the way back as small matrices: samedge/geometry/frame_geometry.py.
#pragma once

#include <cstddef>
#include <vector>

#include "bundle/family.hpp"

namespace samedge {

constexpr int kMinSide = 16;
constexpr int kMaxSide = 4096;

// x1 and y1 are exclusive.
struct Crop {
  int x0 = 0;
  int y0 = 0;
  int x1 = 0;
  int y1 = 0;

  bool operator==(const Crop &other) const noexcept {
    return x0 == other.x0 && y0 == other.y0 && x1 == other.x1 && y1 == other.y1;
  }
};

// A box corner in px of the network input.
struct Corner {
  float x, y;
};

// See `samedge.geometry.frame_geometry.FrameGeometry`. Matrices are row-major.
struct FrameGeometry {
  int height = 0;
  int width = 0;
  Crop crop;
  int valid_height = 0;
  int valid_width = 0;
  bool rows_first = false;
  int planes = 1;      // P
  int input_size = 0;  // S
  int low_res = 0;     // L
  bool whole_boxes = false;
  std::vector<float> rows;        // [P, S, height]
  std::vector<float> cols;        // [P, S, width]
  std::vector<float> valid_rows;  // [S]
  std::vector<float> valid_cols;  // [S]
  std::vector<float> mask_rows;   // [height, L]
  std::vector<float> mask_cols;   // [width, L]

  // Frame coordinates to network coordinates, in float64.
  float network_x(double x) const noexcept;
  float network_y(double y) const noexcept;
  // The same for a box corner, which may be cut off to whole px.
  Corner network_corner(double x, double y) const noexcept;
};

// Throws Failure(FRAME): no frame has a side of so many px. name: "height" or "width".
void check_side(int side, const char *name);

// A crop inside the frame; all zeros: the whole frame.
// Throws Failure(FRAME): no frame of this size can be served, or it has no such crop.
Crop checked_crop(const int crop[4], int height, int width);

// The geometry of frames of one size; takes a few ms.
// Throws Failure(FRAME): the size cannot be served.
FrameGeometry frame_geometry(const Family &family, int height, int width, const Crop &crop,
                             int input_size, int low_res);

}  // namespace samedge
