// OpenCV's area resize as coefficients of both axes: samedge/geometry/area.py, in the same order of
// float64 operations, so that both have the same bits.
#pragma once

#include "geometry/filters.hpp"

namespace samedge {

// (height, width) in px.
struct Extent {
  int height = 0;
  int width = 0;
};

// Writes two planes per axis: the coefficients of each sample's taps, and where its first tap is what
// the finished sum is multiplied by.
// Throws Failure(FRAME): a sample has too many taps.
void write_area(const Extent &size, const Extent &out, const Planes &rows, const Planes &cols);

}  // namespace samedge
