// What the encoder graph takes for frames of one size: samedge/geometry/network_input.py.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.hpp"
#include "bundle/family.hpp"
#include "geometry/frame_geometry.hpp"

namespace samedge {

// All inputs that an encoder may have. `frame` is transposed where the vertical pass comes first, and
// holds two bytes for each grey level of 16 bits.
struct EncoderInputs {
  std::vector<std::uint8_t> frame;
  Shape frame_shape;  // [H, W, C] or [slices, H, W, C]; transposed: [W, H, C]
  bool transposed = false;
  std::vector<float> colour;
  Shape colour_shape;
  std::vector<float> rows, cols;  // the geometry's, swapped where transposed, scaled for 16 bits
  Shape rows_shape, cols_shape;
  std::uint8_t rows_first = 0;
  std::vector<float> valid_rows, valid_cols;

  // The input of this name; a tensor without data if there is none of this name.
  Tensor input(const char *name) noexcept;
};

// channels: 1 or 3. depth: 8, or 16 for grey frames of families that do not round.
// Throws Failure(FRAME): the family cannot take such frames.
EncoderInputs encoder_inputs(const Family &family, const FrameGeometry &geometry, int channels,
                             int depth);

}  // namespace samedge
