#include "prompts/interior_point.hpp"

#include <algorithm>

namespace samedge {

void InteriorPoint::make_room(int rows, int columns) {
  const auto high = static_cast<std::size_t>(rows), wide = static_cast<std::size_t>(columns);
  const std::size_t most = high * ((wide + 1) / 2);
  runs_.reserve(most);
  areas_.reserve(most);
  heights_.reserve(high * wide);
  lowest_.reserve(wide + 2);
  from_.reserve(wide + 2);
  squares_.reserve(wide + 2);
}

Pixel InteriorPoint::find(const Patch &mask) noexcept {
  const int rows = mask.rows(), columns = mask.columns();
  label(mask);
  keep_largest();
  measure_columns(rows, columns);
  std::int32_t best = 0;
  Pixel point{mask.x0, mask.y0};
  for (const Run &run : runs_) {
    const std::int32_t *heights = heights_.data() + std::ptrdiff_t{run.row} * columns;
    const std::int32_t highest = *std::max_element(heights + run.from, heights + run.to);
    const std::int32_t half = (run.to - run.from + 1) / 2;
    // None of its px can be deeper than the deepest so far, and of equal ones that is the first.
    if (highest * highest <= best || half * half <= best) continue;
    std::int32_t place = 0;
    const std::int32_t depth = deepest(heights + run.from, run.to - run.from, &place);
    if (depth <= best) continue;
    best = depth;
    point = {mask.x0 + run.from + place, mask.y0 + run.row};
  }
  return point;
}

std::int32_t InteriorPoint::root(std::int32_t run) noexcept {
  while (runs_[static_cast<std::size_t>(run)].parent != run) {
    Run &here = runs_[static_cast<std::size_t>(run)];
    here.parent = runs_[static_cast<std::size_t>(here.parent)].parent;  // the way is shorter from now on
    run = here.parent;
  }
  return run;
}

void InteriorPoint::join(std::int32_t one, std::int32_t other) noexcept {
  one = root(one);
  other = root(other);
  // Runs are numbered in reading order, so a component goes by its first px.
  runs_[static_cast<std::size_t>(std::max(one, other))].parent = std::min(one, other);
}

// The mask as runs, each with its component.
void InteriorPoint::label(const Patch &mask) noexcept {
  runs_.clear();
  std::size_t above = 0, above_end = 0;  // runs of the row before
  for (int y = 0; y < mask.rows(); ++y) {
    const std::uint8_t *row = mask.row(mask.y0 + y);
    const std::size_t first = runs_.size();
    std::size_t next = above;
    for (int x = 0; x < mask.columns();) {
      if (row[x] == 0) {
        ++x;
        continue;
      }
      const int from = x;
      while (x < mask.columns() && row[x] != 0) ++x;
      const auto number = static_cast<std::int32_t>(runs_.size());
      runs_.push_back({y, from, x, number});
      while (next < above_end && runs_[next].to < from) ++next;  // ends before the corner
      for (std::size_t i = next; i < above_end && runs_[i].from <= x; ++i)
        join(number, static_cast<std::int32_t>(i));
    }
    above = first;
    above_end = runs_.size();
  }
}

// Drop all runs that are not of the largest component.
void InteriorPoint::keep_largest() noexcept {
  areas_.assign(runs_.size(), 0);
  for (std::size_t i = 0; i < runs_.size(); ++i)
    areas_[static_cast<std::size_t>(root(static_cast<std::int32_t>(i)))] += runs_[i].to - runs_[i].from;
  const auto largest =
      static_cast<std::int32_t>(std::max_element(areas_.begin(), areas_.end()) - areas_.begin());  // the first
  // All roots before the first run moves, for the ways to them lead over other runs.
  for (std::size_t i = 0; i < runs_.size(); ++i) areas_[i] = root(static_cast<std::int32_t>(i));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < runs_.size(); ++i)
    if (areas_[i] == largest) runs_[kept++] = runs_[i];
  runs_.resize(kept, Run{});
}

// For each px of the component the distance to the next px above or below that is none of it.
void InteriorPoint::measure_columns(int rows, int columns) noexcept {
  heights_.assign(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns), 0);
  for (const Run &run : runs_) {
    std::int32_t *here = heights_.data() + std::ptrdiff_t{run.row} * columns;
    if (run.row == 0) {
      std::fill(here + run.from, here + run.to, 1);
      continue;
    }
    const std::int32_t *above = here - columns;
    for (int x = run.from; x < run.to; ++x) here[x] = above[x] + 1;
  }
  for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
    std::int32_t *here = heights_.data() + std::ptrdiff_t{run->row} * columns;
    if (run->row == rows - 1) {
      std::fill(here + run->from, here + run->to, 1);
      continue;
    }
    const std::int32_t *below = here + columns;
    for (int x = run->from; x < run->to; ++x) here[x] = std::min(here[x], below[x] + 1);
  }
}

// The largest squared distance to the border in a run, and the first px that has it. The distance is the
// lower envelope of the parabolas over all px of the run and the two beside it, which are border (Meijster,
// Roerdink, Hesselink 2000); what lies beyond those two is farther away.
std::int32_t InteriorPoint::deepest(const std::int32_t *heights, int length, std::int32_t *place) noexcept {
  const std::int32_t count = length + 2;
  squares_.assign(static_cast<std::size_t>(count), 0);
  lowest_.assign(static_cast<std::size_t>(count), 0);
  from_.assign(static_cast<std::size_t>(count), 0);
  std::int32_t *squares = squares_.data(), *lowest = lowest_.data(), *from = from_.data();
  for (int i = 0; i < length; ++i) squares[i + 1] = heights[i] * heights[i];
  const auto at = [squares](std::int32_t x, std::int32_t i) { return (x - i) * (x - i) + squares[i]; };
  std::int32_t last = 0;
  for (std::int32_t u = 1; u < count; ++u) {
    while (last >= 0 && at(from[last], lowest[last]) > at(from[last], u)) --last;
    if (last < 0) {
      last = 0;
      lowest[0] = u;
      from[0] = 0;
      continue;
    }
    const std::int32_t i = lowest[last];
    // From here on the parabola of u is below that of i.
    const std::int32_t cut = 1 + (u * u - i * i + squares[u] - squares[i]) / (2 * (u - i));
    if (cut < count) {
      ++last;
      lowest[last] = u;
      from[last] = cut;
    }
  }
  std::int32_t best = 0;
  for (std::int32_t x = count - 1; x > 0; --x) {
    const std::int32_t square = at(x, lowest[last]);
    if (square >= best) {
      best = square;
      *place = x - 1;
    }
    if (x == from[last]) --last;
  }
  return best;
}

}  // namespace samedge
