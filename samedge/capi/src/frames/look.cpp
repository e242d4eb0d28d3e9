#include "frames/look.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr double kSide = 128.0;  // px of the sample
constexpr double kBlack = 10.0;  // grey levels up to here count as black

// A statistic, what to call it, and how far beyond the calibration's range is far, at least.
struct Statistic {
  const char *name;
  const char *words;
  double floor;
};

constexpr std::array<Statistic, 5> kStatistics{{{"mean", "brightness", 20.0},
                                                {"spread", "contrast", 15.0},
                                                {"black", "share of black", 0.2},
                                                {"edges", "texture", 0.2},
                                                {"colour", "colour", 10.0}}};

// The crop of a frame, every `by`-th px of it. Rows and columns may be exchanged: no statistic sees that.
class Sample {
 public:
  Sample(const std::uint8_t *pixels, const PixelView &view, const Crop &crop, bool transposed)
      : channels_(view.channels), deep_(view.depth == 16) {
    const std::int64_t width = transposed ? view.height : view.width, pixel = std::int64_t{view.channels} * (view.depth / 8);
    const std::int64_t x0 = transposed ? crop.y0 : crop.x0, y0 = transposed ? crop.x0 : crop.y0;
    const int high = crop.y1 - crop.y0, wide = crop.x1 - crop.x0;
    const int by = std::max(1, static_cast<int>(std::nearbyint(std::max(high, wide) / kSide)));
    rows_ = ((transposed ? wide : high) + by - 1) / by;
    columns_ = ((transposed ? high : wide) + by - 1) / by;
    first_ = pixels + (y0 * width + x0) * pixel;
    row_ = by * width * pixel;
    column_ = by * pixel;
    slice_ = std::int64_t{view.width} * view.height * pixel;
  }

  int rows() const noexcept { return rows_; }
  int columns() const noexcept { return columns_; }

  // Mean over the channels; the difference between the largest and the smallest.
  double grey(int slice, int y, int x) const noexcept {
    const std::uint8_t *at = pixel(slice, y, x);
    if (deep_) return (at[0] + 256 * at[1]) / 257.0;
    return channels_ == 1 ? at[0] : (at[0] + at[1] + at[2]) / 3.0;
  }
  int colour(int slice, int y, int x) const noexcept {
    const std::uint8_t *at = pixel(slice, y, x);
    if (channels_ == 1) return 0;
    return std::max({at[0], at[1], at[2]}) - std::min({at[0], at[1], at[2]});
  }

 private:
  const std::uint8_t *pixel(int slice, int y, int x) const noexcept {
    return first_ + slice * slice_ + y * row_ + x * column_;
  }

  int channels_;
  bool deep_;
  int rows_, columns_;
  const std::uint8_t *first_;
  std::int64_t row_, column_, slice_;
};

// In the order of kStatistics.
std::array<double, 5> look_of(const Sample &sample, int slices) noexcept {
  double sum = 0.0, squares = 0.0, black = 0.0, down = 0.0, right = 0.0, colour = 0.0;
  const int rows = sample.rows(), columns = sample.columns();
  for (int slice = 0; slice < slices; ++slice)
    for (int y = 0; y < rows; ++y)
      for (int x = 0; x < columns; ++x) {
        const double grey = sample.grey(slice, y, x);
        sum += grey;
        squares += grey * grey;
        black += grey <= kBlack ? 1.0 : 0.0;
        colour += sample.colour(slice, y, x);
        if (y + 1 < rows) down += std::abs(sample.grey(slice, y + 1, x) - grey);
        if (x + 1 < columns) right += std::abs(sample.grey(slice, y, x + 1) - grey);
      }
  const double count = double(slices) * rows * columns, mean = sum / count;
  const double downs = double(slices) * (rows - 1) * columns, rights = double(slices) * rows * (columns - 1);
  const double edges = ((downs > 0 ? down / downs : 0.0) + (rights > 0 ? right / rights : 0.0)) / 2;
  return {mean, std::sqrt(std::max(squares / count - mean * mean, 0.0)), black / count,
          edges / std::max(mean, 1.0), colour / count};
}

}  // namespace

CalibrationLooks::CalibrationLooks(const std::map<std::string, std::pair<double, double>> &ranges) {
  for (std::size_t i = 0; i < kStatistics.size(); ++i) {
    const Statistic &statistic = kStatistics[i];
    const auto found = ranges.find(statistic.name);
    if (found == ranges.end())
      fail(SAMEDGE_ERROR_BUNDLE, "the manifest's calibration says nothing of its frames' %s; expected the smallest and "
           "the largest value: export the bundle again", statistic.name);
    const auto [low, high] = found->second;
    const double margin = std::max(statistic.floor, (high - low) / 2);
    bounds_[i] = {low - margin, high + margin};
  }
}

void CalibrationLooks::compare(const std::uint8_t *pixels, const PixelView &view, const Crop &crop,
                               bool transposed, std::string &words) const {
  words.clear();
  const std::array<double, 5> found = look_of(Sample(pixels, view, crop, transposed), view.slices);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto &[low, high] = bounds_[i];
    if (low <= found[i] && found[i] <= high) continue;
    if (!words.empty()) words += ", ";
    words += kStatistics[i].words;
  }
}

}  // namespace samedge
