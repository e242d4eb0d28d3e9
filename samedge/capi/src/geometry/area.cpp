#include "geometry/area.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr int kMostTaps = 24;      // 4096 x 23 px become 256 x 1 px
constexpr double kAcross = 16.0;   // in fixed point, steps that the sum across is cut off to,
constexpr double kDown = 65536.0;  // and those of the products of the sum down
constexpr float kOne = 2048.0F;    // fixed-point coefficients have 11 bits
constexpr double kNearly = 1e-3;   // OpenCV leaves out what covers less of a sample

// One axis: `size` samples become `out`.
struct Axis {
  int out, size;
  double inverse, scale;
  const Planes &planes;
  const char *name;  // of its extent

  Axis(int out_, int size_, const Planes &planes_, const char *name_) noexcept
      : out(out_), size(size_), inverse(double(out_) / size_), scale(1.0 / inverse), planes(planes_), name(name_) {}

  int factor() const noexcept { return static_cast<int>(std::rint(scale)); }
  bool is_whole() const noexcept {
    return std::abs(scale - factor()) < std::numeric_limits<double>::epsilon();
  }
};

// The most taps of a sample.
int write_blocks(const Axis &axis, double one, float factor) {
  const int taps = axis.factor();
  for (int i = 0; i < axis.out; ++i) {
    const std::ptrdiff_t first = std::ptrdiff_t{i} * taps;
    float *row = axis.planes.row(0, i) + first;
    std::fill(row, row + taps, static_cast<float>(one));
    axis.planes.row(1, i)[first] = factor;
  }
  return taps;
}

int write_cells(const Axis &axis) {
  int most = 0;
  for (int i = 0; i < axis.out; ++i) {
    const double start = i * axis.scale, stop = start + axis.scale;
    const double cell = std::min(axis.scale, axis.size - start);
    const int last = std::min(static_cast<int>(std::floor(stop)), axis.size - 1);
    const int first = std::min(static_cast<int>(std::ceil(start)), last);
    const bool head = first - start > kNearly, tail = stop - last > kNearly;
    float *row = axis.planes.row(0, i);
    if (head) row[first - 1] = static_cast<float>((first - start) / cell);
    std::fill(row + first, row + last, static_cast<float>(1.0 / cell));
    if (tail) row[last] = static_cast<float>(std::min(std::min(stop - last, 1.0), cell) / cell);
    axis.planes.row(1, i)[first - (head ? 1 : 0)] = 1.0F;
    most = std::max(most, last - first + (head ? 1 : 0) + (tail ? 1 : 0));
  }
  return most;
}

// Bilinear interpolation. A sample of the output that lies within one of the axis is that one.
int write_linear(const Axis &axis) {
  for (int i = 0; i < axis.out; ++i) {
    int first = static_cast<int>(std::floor(i * axis.scale));
    auto offset = static_cast<float>((i + 1) - (first + 1) * axis.inverse);
    offset = offset <= 0.0F || first >= axis.size - 1 ? 0.0F : offset - std::floor(offset);
    first = std::min(first, axis.size - 1);
    float *row = axis.planes.row(0, i);
    row[std::min(first + 1, axis.size - 1)] = std::rint(offset * kOne);
    row[first] = std::rint((1.0F - offset) * kOne);
    axis.planes.row(1, i)[first] = 1.0F;
  }
  return 2;
}

}  // namespace

void write_area(const Extent &size, const Extent &out, const Planes &rows, const Planes &cols) {
  const Axis down(out.height, size.height, rows, "high"), across(out.width, size.width, cols, "wide");
  const auto need = [&](const Axis &axis, int taps) {
    if (taps > kMostTaps)
      fail(SAMEDGE_ERROR_FRAME, "%d x %d px cannot be resized to %d x %d px: a pixel of the network would be %d px "
           "%s, and at most %d can be added up; crop the frame or make it smaller first",
           size.width, size.height, out.width, out.height, taps, axis.name, kMostTaps);
  };
  if (std::min(down.scale, across.scale) < 1.0) {
    write_linear(down);
    write_linear(across);
  } else if (down.is_whole() && across.is_whole()) {
    // Four px: (sum + 2) >> 2, which is what fixed point ends with. Others: to even on a tie.
    const bool four = down.factor() == 2 && across.factor() == 2;
    const double mean = four ? 1.0 : 1.0 / (down.factor() * across.factor());
    need(down, write_blocks(down, four ? kDown : 1.0, static_cast<float>(mean)));
    need(across, write_blocks(across, four ? kAcross : 1.0, 1.0F));
  } else {
    need(down, write_cells(down));
    need(across, write_cells(across));
  }
}

}  // namespace samedge
