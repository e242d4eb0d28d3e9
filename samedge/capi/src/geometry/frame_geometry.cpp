#include "geometry/frame_geometry.hpp"

#include <algorithm>
#include <cmath>

#include "base/failure.hpp"
#include "geometry/area.hpp"
#include "geometry/filters.hpp"

namespace samedge {

namespace {

// One axis of a frame: start..stop of its `side` samples are seen.
struct Span {
  int start, stop, side;

  int length() const noexcept { return stop - start; }
};

std::size_t area(int a, int b) noexcept { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

// Whether Pillow (13.0 and later) starts with the vertical pass.
bool vertical_pass_first(int height, int width, int valid_height, int valid_width) noexcept {
  const int saved = height - valid_height;
  return saved > 0 && saved > 2 * (width - valid_width);
}

// Sizes of the part of the network input that is image.
void valid_size(const Family &family, int height, int width, int size, FrameGeometry &geometry) {
  geometry.valid_height = geometry.valid_width = size;
  if (!family.longest_side) return;
  const double scale = size * 1.0 / std::max(height, width);  // segment_anything: ResizeLongestSide
  geometry.valid_height = static_cast<int>(height * scale + 0.5);
  geometry.valid_width = static_cast<int>(width * scale + 0.5);
  if (geometry.valid_height < 1 || geometry.valid_width < 1)
    fail(SAMEDGE_ERROR_FRAME, "%d x %d px is too long and narrow for a %d px network: its short side would "
         "vanish; give a crop that is closer to a square", width, height, size);
}

Matrix filter(Interpolation interpolation, int out, int size) {
  switch (interpolation) {
    case Interpolation::cubic: return cubic_matrix(out, size);
    case Interpolation::zoom: return zoom_matrix(out, size);
    default: return antialias_matrix(out, size);
  }
}

std::vector<float> no_planes(const Family &family, int size, const Span &span) {
  return std::vector<float>(area(family.rounded() ? 2 : 1, size) * static_cast<std::size_t>(span.side), 0.0F);
}

// [planes, S, side]: samples of an axis onto the first of S samples.
std::vector<float> resize_planes(const Family &family, int valid, int via, int size, const Span &span) {
  std::vector<float> result = no_planes(family, size, span);
  const Planes planes{result.data(), size, span.side, span.start};
  if (family.interpolation == Interpolation::pil)
    write_pil(valid, span.length(), planes);
  else if (family.interpolation == Interpolation::cubic)
    write_split(cubic_matrix(valid, span.length()), planes);
  else if (family.via != 0)
    write_plain(spline_product(filter(family.interpolation, valid, via),
                               filter(family.interpolation, via, span.length())), planes);
  else
    write_plain(filter(family.interpolation, valid, span.length()), planes);
  return result;
}

// [side, L]: the first `valid` rows of enlarged logits -> the seen part of a frame's axis.
std::vector<float> mask_matrix(Matrix enlarged, int valid, bool nearest, const Span &span) {
  enlarged.cut(valid);
  const Matrix seen = nearest ? nearest_rows(enlarged, span.length()) : interpolated(enlarged, span.length());
  std::vector<float> result(area(span.side, enlarged.size()), 0.0F);
  write_plain(seen, Planes{result.data() + area(span.start, seen.size()), span.side, seen.size(), 0});
  return result;
}

std::vector<float> ones(int count, int size) {
  std::vector<float> result(static_cast<std::size_t>(size), 0.0F);
  std::fill(result.begin(), result.begin() + count, 1.0F);
  return result;
}

}  // namespace

float FrameGeometry::network_x(double x) const noexcept {
  return static_cast<float>((x - crop.x0) * (double(valid_width) / (crop.x1 - crop.x0)));
}

float FrameGeometry::network_y(double y) const noexcept {
  return static_cast<float>((y - crop.y0) * (double(valid_height) / (crop.y1 - crop.y0)));
}

Corner FrameGeometry::network_corner(double x, double y) const noexcept {
  if (!whole_boxes) return {network_x(x), network_y(y)};
  const double scale = double(input_size) / std::max(crop.x1 - crop.x0, crop.y1 - crop.y0);
  return {static_cast<float>(std::trunc((x - crop.x0) * scale)),
          static_cast<float>(std::trunc((y - crop.y0) * scale))};
}

void check_side(int side, const char *name) {
  if (side < kMinSide || side > kMaxSide)
    fail(SAMEDGE_ERROR_FRAME, "frame %s is %d px; frames from %d x %d to %d x %d px are supported: %s it first",
         name, side, kMinSide, kMinSide, kMaxSide, kMaxSide, side < kMinSide ? "enlarge" : "shrink or cut");
}

Crop checked_crop(const int crop[4], int height, int width) {
  check_side(height, "height");
  check_side(width, "width");
  const int x0 = crop[0], y0 = crop[1], x1 = crop[2], y1 = crop[3];
  if (x0 == 0 && y0 == 0 && x1 == 0 && y1 == 0) return Crop{0, 0, width, height};
  if (!(0 <= x0 && x0 < x1 && x1 <= width && 0 <= y0 && y0 < y1 && y1 <= height))
    fail(SAMEDGE_ERROR_FRAME, "the crop x %d..%d, y %d..%d is empty or not inside the frame of %d x %d px", x0, x1,
         y0, y1, width, height);
  if (x1 - x0 < kMinSide || y1 - y0 < kMinSide)
    fail(SAMEDGE_ERROR_FRAME, "the crop is %d x %d px; at least %d x %d px are needed", x1 - x0, y1 - y0, kMinSide,
         kMinSide);
  return Crop{x0, y0, x1, y1};
}

FrameGeometry frame_geometry(const Family &family, int height, int width, const Crop &crop, int input_size,
                             int low_res) {
  const bool exact = family.interpolation == Interpolation::pil || family.interpolation == Interpolation::area;
  if (!exact && (family.padded() || (family.via != 0 && family.rounded())))
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "family '%s' wants a resize rule that this version of samedge does not have; "
         "use a newer one", shown(family.name).c_str());
  if (exact && family.via != 0)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "family '%s' wants a detour in its resize that this version of samedge does "
         "not have; use a newer one", shown(family.name).c_str());
  const int size = input_size;
  const Span rows{crop.y0, crop.y1, height}, cols{crop.x0, crop.x1, width};
  FrameGeometry geometry;
  geometry.height = height;
  geometry.width = width;
  geometry.crop = crop;
  geometry.planes = family.rounded() ? 2 : 1;
  geometry.input_size = size;
  geometry.low_res = low_res;
  geometry.whole_boxes = family.whole_boxes;
  valid_size(family, rows.length(), cols.length(), size, geometry);
  const int valid_height = geometry.valid_height, valid_width = geometry.valid_width;
  // Two squares that keep their ratio to the network input.
  const int square = static_cast<int>(std::int64_t{family.upscale_size} * size / family.input_size);
  const int via = std::max(static_cast<int>(std::int64_t{family.via} * size / family.input_size), 1);
  geometry.rows_first = family.interpolation == Interpolation::pil &&
                        vertical_pass_first(rows.length(), cols.length(), valid_height, valid_width);
  if (family.interpolation == Interpolation::area) {
    geometry.rows = no_planes(family, size, rows);
    geometry.cols = no_planes(family, size, cols);
    write_area({rows.length(), cols.length()}, {valid_height, valid_width},
               {geometry.rows.data(), size, rows.side, rows.start},
               {geometry.cols.data(), size, cols.side, cols.start});
  } else {
    geometry.rows = resize_planes(family, valid_height, via, size, rows);
    geometry.cols = resize_planes(family, valid_width, via, size, cols);
  }
  geometry.valid_rows = ones(valid_height, size);
  geometry.valid_cols = ones(valid_width, size);
  const Matrix enlarged = bilinear_matrix(square, low_res);
  const auto share = [&](int valid) { return static_cast<int>(std::int64_t{valid} * square / size); };
  geometry.mask_rows = mask_matrix(enlarged, share(valid_height), family.nearest, rows);
  geometry.mask_cols = mask_matrix(enlarged, share(valid_width), family.nearest, cols);
  return geometry;
}

}  // namespace samedge
