// Does a frame look like those that INT8 was calibrated with? samedge/runtime/frame_look.py.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "frames/pixels.hpp"
#include "geometry/frame_geometry.hpp"

namespace samedge {

class CalibrationLooks {
 public:
  // Throws Failure(BUNDLE): a statistic is missing.
  explicit CalibrationLooks(const std::map<std::string, std::pair<double, double>> &ranges);

  // The names of the statistics that are far outside, "brightness, contrast"; "" if the frame looks
  // like the others. `pixels`: what copy_pixels wrote, uint8 or uint16 [slices, height, width,
  // channels], not transposed unless told so. Writes into `words`, which keeps its memory.
  void compare(const std::uint8_t *pixels, const PixelView &view, const Crop &crop, bool transposed,
               std::string &words) const;

 private:
  std::array<std::pair<double, double>, 5> bounds_;  // of mean, spread, black, edges and colour
};

}  // namespace samedge
