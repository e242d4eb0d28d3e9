#include "prompts/patch.hpp"

#include <algorithm>
#include <cstring>

#include "masks/outlines.hpp"

namespace samedge {

namespace {

// Number of ones among bytes of 0 and 1, of which `value(i)` gives eight at a time.
template <typename Eight>
std::int64_t count_ones(std::size_t eights, const Eight &value) noexcept {
  std::int64_t sum = 0;
  for (std::size_t from = 0; from < eights; from += 255) {  // then a byte of the sum is full
    std::uint64_t bytes = 0;
    const std::size_t to = std::min(eights, from + 255);
    for (std::size_t i = from; i < to; ++i) bytes += value(i);
    const std::uint64_t even = bytes & 0x00FF00FF00FF00FFU, odd = (bytes >> 8U) & 0x00FF00FF00FF00FFU;
    sum += static_cast<std::int64_t>(((even + odd) * 0x0001000100010001U) >> 48U);
  }
  return sum;
}

std::uint64_t eight(const std::uint8_t *at) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Pixels that two rows have in common.
std::int64_t common(const std::uint8_t *one, const std::uint8_t *other, std::size_t length) noexcept {
  const std::size_t eights = length / 8;
  std::int64_t sum =
      count_ones(eights, [=](std::size_t i) { return eight(one + 8 * i) & eight(other + 8 * i); });
  for (std::size_t i = 8 * eights; i < length; ++i) sum += one[i] & other[i];
  return sum;
}

}  // namespace

void Patch::take(const std::uint8_t *mask, int mask_height, int mask_width) {
  std::int32_t box[4];
  std::int64_t count = 0;
  measure(mask, mask_height, mask_width, box, &count);
  const auto wide = static_cast<std::size_t>(box[2] - box[0]);
  const std::size_t size = wide * static_cast<std::size_t>(box[3] - box[1]);
  if (pixels.capacity() < size) pixels.reserve(2 * size);
  pixels.resize(size);
  height = mask_height;
  width = mask_width;
  x0 = box[0];
  y0 = box[1];
  x1 = box[2];
  y1 = box[3];
  area = count;
  std::uint8_t *target = pixels.data();
  for (int y = y0; y < y1; ++y, target += wide) {
    const std::uint8_t *source =
        mask + static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x0);
    for (std::size_t x = 0; x < wide; ++x) target[x] = source[x] != 0 ? 1 : 0;
  }
}

double iou(const Patch &one, const Patch &other) noexcept {
  if (one.height != other.height || one.width != other.width) return 0.0;
  const int x0 = std::max(one.x0, other.x0), x1 = std::min(one.x1, other.x1);
  std::int64_t both = 0;
  if (x0 < x1)
    for (int y = std::max(one.y0, other.y0); y < std::min(one.y1, other.y1); ++y)
      both += common(one.row(y) + (x0 - one.x0), other.row(y) + (x0 - other.x0),
                     static_cast<std::size_t>(x1 - x0));
  const std::int64_t either = one.area + other.area - both;
  return static_cast<double>(both) / static_cast<double>(std::max<std::int64_t>(either, 1));
}

Place centre(const Patch &mask) noexcept {
  std::int64_t sum_x = 0, sum_y = 0;  // whole numbers: no order of the sum can change them
  for (int y = mask.y0; y < mask.y1; ++y) {
    const std::uint8_t *row = mask.row(y);
    std::int32_t count = 0, sum = 0;
    for (int x = 0; x < mask.columns(); ++x) {
      count += row[x];
      sum += row[x] * x;
    }
    sum_x += sum + std::int64_t{count} * mask.x0;
    sum_y += std::int64_t{count} * y;
  }
  const auto area = static_cast<double>(mask.area);
  return {static_cast<double>(sum_x) / area, static_cast<double>(sum_y) / area};
}

double border_share(const Patch &mask, const Area &area) noexcept {
  // The part of the mask that lies in the area, in px of the patch.
  const int x0 = std::max(mask.x0, area.x0) - mask.x0, x1 = std::min(mask.x1, area.x1) - mask.x0;
  const int y0 = std::max(mask.y0, area.y0), y1 = std::min(mask.y1, area.y1);
  if (x0 >= x1 || y0 >= y1) return 0.0;
  // The area's outermost px; it ends at the frame.
  const int left = area.x0 - mask.x0, right = std::min(area.x1, mask.width) - 1 - mask.x0;
  const int top = area.y0, bottom = std::min(area.y1, mask.height) - 1;
  std::int64_t total = 0, edge = 0;
  for (int y = y0; y < y1; ++y) {
    const std::uint8_t *row = mask.row(y);
    std::int32_t all = 0, outline = 0;
    for (int x = x0; x < x1; ++x) all += row[x];
    if (y == y0 || y == y1 - 1) {  // the row beside it is empty, in the mask or for the area's end
      outline = all;
    } else {
      const std::uint8_t *above = mask.row(y - 1), *below = mask.row(y + 1);
      outline = row[x0] + (x1 - 1 > x0 ? row[x1 - 1] : 0);
      for (int x = x0 + 1; x < x1 - 1; ++x) {
        const int inside = above[x - 1] & above[x] & above[x + 1] & row[x - 1] & row[x + 1] & below[x - 1] &
                           below[x] & below[x + 1];
        outline += row[x] & ~inside;
      }
    }
    total += outline;
    if (y == top || y == bottom) {
      edge += all;
    } else {
      if (x0 == left) edge += row[x0];
      if (x1 - 1 == right && !(x0 == left && left == right)) edge += row[right];
    }
  }
  return total == 0 ? 0.0 : static_cast<double>(edge) / static_cast<double>(total);
}

}  // namespace samedge
