// A caller's frame -> the encoder's memory: checks, change of format, transposition.
#pragma once

#include <cstdint>

#include "bundle/family.hpp"
#include "samedge.h"

namespace samedge {

// A frame whose description was checked: every stride is filled in.
struct PixelView {
  const std::uint8_t *pixels = nullptr;
  const std::uint8_t *chroma = nullptr;
  std::int64_t stride = 0;
  std::int64_t chroma_stride = 0;
  std::int64_t slice_stride = 0;
  int format = 0;
  int memory = 0;
  int width = 0;
  int height = 0;
  int slices = 1;
  int channels = 1;  // that the encoder gets: 1 or 3
  int depth = 8;     // 8 or 16
};

// Throws Failure(FRAME): null pixels, unknown format or memory, a size that no frame has, a stride
// that is negative or shorter than a row, 16 bits for a family that rounds, NV12 of odd size or with
// slices, a format that a GPU's memory does not take. How many slices a model takes the session says.
PixelView checked_frame(const samedge_frame &frame, const Family &family);

// Copy one frame (all its slices) from host memory to the encoder's, as grey or RGB; 16-bit levels as
// two bytes, the lower one first. transposed: [W, H, C] instead of [H, W, C].
void copy_pixels(const PixelView &view, bool transposed, std::uint8_t *target) noexcept;

}  // namespace samedge
