#include "masks/outlines.hpp"

#include <algorithm>
#include <cstring>

namespace samedge {

namespace {

constexpr std::uint64_t kLow = 0x7F7F7F7F7F7F7F7FU, kOnes = 0x0101010101010101U;
constexpr std::uint64_t kEven = 0x00FF00FF00FF00FFU, kPairs = 0x0001000100010001U;
constexpr int kLanes = 8;  // px that are looked at together

std::uint64_t eight(const std::uint8_t *at) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// 1 for each px that is not 0.
std::uint64_t set_lanes(std::uint64_t word) noexcept { return ((((word & kLow) + kLow) | word) >> 7U) & kOnes; }

// Number of px of a row that are not 0.
std::int64_t set_in(const std::uint8_t *row, int width) noexcept {
  std::int64_t count = 0;
  int x = 0;
  while (x + kLanes <= width) {
    std::uint64_t sums = 0;  // a byte for each lane, which holds 255 of them
    const int stop = std::min(width - kLanes, x + 254 * kLanes);
    for (; x <= stop; x += kLanes) sums += set_lanes(eight(row + x));
    const std::uint64_t pairs = (sums & kEven) + ((sums >> 8U) & kEven);
    count += static_cast<std::int64_t>((pairs * kPairs) >> 48U);
  }
  for (; x < width; ++x) count += row[x] != 0 ? 1 : 0;
  return count;
}

// The first px of `from`..`to` that is not 0, or `to`.
int first_in(const std::uint8_t *row, int from, int to) noexcept {
  while (from + kLanes <= to && eight(row + from) == 0) from += kLanes;
  while (from < to && row[from] == 0) ++from;
  return from;
}

// One beyond the last px of `from`..`to` that is not 0, or `from`.
int last_in(const std::uint8_t *row, int from, int to) noexcept {
  while (to - kLanes >= from && eight(row + to - kLanes) == 0) to -= kLanes;
  while (to > from && row[to - 1] == 0) --to;
  return to;
}

// Marks of the padded mask: px of a mask that no border has passed yet, or one has; and whether the px on
// its right was seen to be outside by a border.
constexpr std::int8_t kInside = 1, kPassed = 2, kRightSeen = -2;

// Steps to the eight neighbours, clockwise on the screen from the right.
constexpr int kEast = 0, kWest = 4;
constexpr std::int32_t kStepX[8] = {1, 1, 0, -1, -1, -1, 0, 1};
constexpr std::int32_t kStepY[8] = {0, 1, 1, 1, 0, -1, -1, -1};

}  // namespace

void measure(const std::uint8_t *mask, int height, int width, std::int32_t box[4],
             std::int64_t *area) noexcept {
  int left = width, right = 0, top = height, bottom = 0;
  std::int64_t count = 0;
  for (int y = 0; y < height; ++y) {
    const std::uint8_t *row = mask + static_cast<std::size_t>(y) * static_cast<std::size_t>(width);
    const std::int64_t here = set_in(row, width);
    if (here == 0) continue;
    count += here;
    top = std::min(top, y);
    bottom = y + 1;
    left = first_in(row, 0, left);  // only what is farther out than before
    right = last_in(row, right, width);
  }
  box[0] = count == 0 ? 0 : left;
  box[1] = count == 0 ? 0 : top;
  box[2] = right;
  box[3] = bottom;
  *area = count;
}

// Suzuki and Abe, "Topological structural analysis of digitized binary images by border following" (1985),
// without the hierarchy.
void Outliner::trace(const std::uint8_t *mask, int height, int width) {
  points_.clear();
  outlines_.clear();
  const auto columns = static_cast<std::size_t>(width), row = columns + 2;
  marks_.assign(row * (static_cast<std::size_t>(height) + 2), 0);
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    const std::uint8_t *from = mask + y * columns;
    std::int8_t *to = marks_.data() + (y + 1) * row + 1;
    std::size_t x = 0;
    for (; x + kLanes <= columns; x += kLanes) {
      const std::uint64_t inside = set_lanes(eight(from + x));
      std::memcpy(to + x, &inside, sizeof inside);
    }
    for (; x < columns; ++x) to[x] = from[x] != 0 ? kInside : std::int8_t{0};
  }
  std::ptrdiff_t steps[8];
  for (int i = 0; i < 8; ++i) steps[i] = kStepY[i] * static_cast<std::ptrdiff_t>(row) + kStepX[i];
  for (int y = 0; y < height; ++y) {
    const std::uint8_t *source = mask + static_cast<std::size_t>(y) * columns;
    for (int x = 0; x < width;) {
      x = first_in(source, x, width);
      // Along a run of px: its first one may begin an outer border, its last one that of a hole.
      for (bool first = true; x < width && source[x] != 0; ++x, first = false) {
        std::int8_t *at = marks_.data() + (static_cast<std::size_t>(y) + 1) * row + static_cast<std::size_t>(x) + 1;
        if (first && *at == kInside) follow(at, steps, x, y, false);
        if (at[1] == 0 && *at > 0) follow(at, steps, x, y, true);
      }
    }
  }
}

void Outliner::follow(std::int8_t *start, const std::ptrdiff_t steps[8], std::int32_t x, std::int32_t y, bool hole) {
  outlines_.push_back({static_cast<std::int32_t>(points_.size() / 2), hole});
  const auto keep = [&] {
    points_.push_back(x);
    points_.push_back(y);
  };
  // The last px of the border: the first neighbour, clockwise from the side that is outside.
  const int outside = hole ? kEast : kWest;
  int direction = outside;
  do direction = (direction + 1) % 8;
  while (start[steps[direction]] == 0 && direction != outside);
  if (start[steps[direction]] == 0) {  // a px on its own
    *start = kRightSeen;
    keep();
    return;
  }
  const std::int8_t *last = start + steps[direction];
  for (std::int8_t *at = start;;) {
    // Counter-clockwise from where we came: the next px of the border.
    const int came = direction;
    bool right_seen = false;
    do {
      direction = (direction + 7) % 8;
      if (direction == kEast && at[steps[kEast]] == 0) right_seen = true;
    } while (at[steps[direction]] == 0 && direction != came);
    if (right_seen) *at = kRightSeen;
    else if (*at == kInside) *at = kPassed;
    keep();
    std::int8_t *next = at + steps[direction];
    if (next == start && at == last) return;
    x += kStepX[direction];
    y += kStepY[direction];
    at = next;
    direction = (direction + 4) % 8;
  }
}

}  // namespace samedge
