#include "geometry/filters.hpp"

#include <algorithm>
#include <cmath>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr double kPilSteps = 4194304.0;  // 2^22: PIL's 8-bit resize coefficients
constexpr std::int64_t kPlane = 1 << 11;
constexpr float kExactLimit = 16777216.0F;  // 2^24
constexpr double kCubicSteps = 32768.0;     // 2^15
constexpr int kReach = 30;
constexpr double kTruncate = 4.0;
constexpr double kHighSteps = 16777216.0;      // 2^24
constexpr double kLowSteps = 8796093022208.0;  // 2^43

// For each of `out` samples, weights of `taps` others from `first` on: [taps][out], as the loops below
// go over samples.
struct Taps {
  int taps = 0;
  int out = 0;
  std::vector<double> weights;
  std::vector<std::int64_t> first;

  Taps(int taps_, int out_)
      : taps(taps_),
        out(out_),
        weights(static_cast<std::size_t>(taps_) * static_cast<std::size_t>(out_), 0.0),
        first(static_cast<std::size_t>(out_), 0) {}

  double *tap(int t) noexcept {
    return weights.data() + static_cast<std::size_t>(t) * static_cast<std::size_t>(out);
  }
  const double *tap(int t) const noexcept {
    return weights.data() + static_cast<std::size_t>(t) * static_cast<std::size_t>(out);
  }
};

// PIL's triangle filter for one sample: normalised weights of the samples from `first` on.
class Triangle {
 public:
  Triangle(int out, int size) : size_(size), scale_(double(size) / out), support_(std::max(scale_, 1.0)) {}

  void at(int i) {
    const double centre = (i + 0.5) * scale_;
    first_ = std::max(static_cast<std::int64_t>(centre - support_ + 0.5), std::int64_t{0});
    const auto last = std::min(static_cast<std::int64_t>(centre + support_ + 0.5), std::int64_t{size_});
    weights_.resize(static_cast<std::size_t>(last - first_));
    const double inverse = 1.0 / support_;
    double total = 0.0;
    for (std::size_t tap = 0; tap < weights_.size(); ++tap) {  // in PIL's order
      const double offset = (static_cast<double>(static_cast<std::int64_t>(tap) + first_) - centre + 0.5) * inverse;
      weights_[tap] = std::max(1.0 - std::abs(offset), 0.0);
      total += weights_[tap];
    }
    for (double &weight : weights_) weight /= total;
  }

  std::int64_t first() const noexcept { return first_; }
  const std::vector<double> &weights() const noexcept { return weights_; }

 private:
  int size_;
  double scale_, support_;
  std::int64_t first_ = 0;
  std::vector<double> weights_;
};

Taps convolved(const Taps &taps, const std::vector<double> &kernel) {
  const int length = static_cast<int>(kernel.size());
  Taps result(taps.taps + length - 1, taps.out);
  result.first = taps.first;
  for (int shift = 0; shift < length; ++shift) {
    const double weight = kernel[static_cast<std::size_t>(shift)];
    for (int t = 0; t < taps.taps; ++t) {
      const double *from = taps.tap(t);
      double *to = result.tap(shift + t);
      for (int i = 0; i < taps.out; ++i) to[i] += weight * from[i];
    }
  }
  return result;
}

// Interpolation by a cubic spline at positions of an endless axis.
Taps spline(const std::vector<double> &at) {
  const int out = static_cast<int>(at.size());
  Taps taps(4, out);
  for (int i = 0; i < out; ++i) {
    const double position = at[static_cast<std::size_t>(i)];
    const double base = std::floor(position);
    const double f = position - base, g = 1 - f;
    taps.tap(0)[i] = g * g * g / 6;
    taps.tap(1)[i] = 2.0 / 3.0 - f * f * (2 - f) / 2;
    taps.tap(2)[i] = 2.0 / 3.0 - g * g * (1 + f) / 2;
    taps.tap(3)[i] = f * f * f / 6;
    taps.first[static_cast<std::size_t>(i)] = static_cast<std::int64_t>(base) - 1 - kReach;
  }
  const double root = std::sqrt(3.0), pole = root - 2.0;
  std::vector<double> inverse(2 * kReach + 1);
  double power = 1.0;
  for (std::size_t k = 0; k <= kReach; ++k) {
    inverse[kReach + k] = inverse[kReach - k] = root * power;
    power *= pole;
  }
  return convolved(taps, inverse);
}

// For an axis that is mirrored at its end samples.
Matrix folded(const Taps &taps, int size) {
  Matrix matrix(taps.out, size);
  const std::int64_t end = size - 1, period = std::max<std::int64_t>(2 * end, 1);
  for (int t = 0; t < taps.taps; ++t) {
    const double *weights = taps.tap(t);
    for (int i = 0; i < taps.out; ++i) {
      std::int64_t index = (taps.first[static_cast<std::size_t>(i)] + t + end) % period;
      if (index < 0) index += period;
      matrix.row(i)[std::abs(index - end)] += weights[i];
    }
  }
  return matrix;
}

Matrix identity(int size) {
  Matrix matrix(size, size);
  for (int i = 0; i < size; ++i) matrix.row(i)[i] = 1.0;
  return matrix;
}

// exp(-x) for 0 <= x <= 32: the series for x / 256, squared eight times.
double decay(double x) noexcept {
  const double part = x / 256;
  double series = 1.0;
  for (int n = 9; n > 0; --n) series = 1 - part / n * series;
  for (int i = 0; i < 8; ++i) series = series * series;
  return series;
}

// Source positions of scipy.ndimage.zoom: end samples meet end samples.
std::vector<double> zoom_positions(int out, int size) {
  const double step = out > 1 ? double(size - 1) / (out - 1) : 1.0;
  std::vector<double> at(static_cast<std::size_t>(out));
  for (int i = 0; i < out; ++i) at[static_cast<std::size_t>(i)] = i * step;
  return at;
}

void split(const Matrix &matrix, Matrix &high, Matrix &low) {
  for (int i = 0; i < matrix.out(); ++i) {
    const double *from = matrix.row(i);
    double *large = high.row(i), *small = low.row(i);
    for (int k = 0; k < matrix.size(); ++k) {
      if (from[k] == 0.0) continue;  // most of a band matrix
      large[k] = std::rint(from[k] * kHighSteps) / kHighSteps;
      small[k] = std::rint((from[k] - large[k]) * kLowSteps) / kLowSteps;
    }
  }
}

}  // namespace

void write_pil(int out, int size, const Planes &planes) {
  Triangle triangle(out, size);
  float most = 0.0F;
  for (int i = 0; i < out; ++i) {
    triangle.at(i);
    float *high = planes.row(0, i) + triangle.first(), *low = planes.row(1, i) + triangle.first();
    float total = 0.0F, absolute = 0.0F;  // whole numbers: exact
    for (std::size_t tap = 0; tap < triangle.weights().size(); ++tap) {
      const auto fixed = static_cast<std::int64_t>(triangle.weights()[tap] * kPilSteps + 0.5);
      const std::int64_t upper = (fixed + kPlane / 2) / kPlane;
      high[tap] = static_cast<float>(upper);
      low[tap] = static_cast<float>(fixed - upper * kPlane);
      total += low[tap];
      absolute += std::abs(low[tap]);
    }
    most = std::max(most, absolute + std::abs(total));
  }
  if (255 * most / 2 >= kExactLimit)
    fail(SAMEDGE_ERROR_FRAME, "%d px cannot be resized to %d px exactly: that shrinks too far; crop the frame or "
         "make it smaller first", size, out);
}

void write_split(const Matrix &matrix, const Planes &planes) {
  for (int i = 0; i < matrix.out(); ++i) {
    const double *from = matrix.row(i);
    float *high = planes.row(0, i), *low = planes.row(1, i);
    for (int k = 0; k < matrix.size(); ++k) {
      if (from[k] == 0.0) continue;
      const double upper = std::rint(from[k] * kCubicSteps) / kCubicSteps;
      high[k] = static_cast<float>(upper);
      low[k] = static_cast<float>(from[k] - upper);
    }
  }
}

void write_plain(const Matrix &matrix, const Planes &planes) {
  for (int i = 0; i < matrix.out(); ++i) {
    const double *from = matrix.row(i);
    float *to = planes.row(0, i);
    for (int k = 0; k < matrix.size(); ++k) to[k] = static_cast<float>(from[k]);
  }
}

Matrix cubic_matrix(int out, int size) {
  if (out == size) return identity(size);
  const double scale = double(size) / out;
  std::vector<double> at(static_cast<std::size_t>(out));
  for (int i = 0; i < out; ++i) at[static_cast<std::size_t>(i)] = (i + 0.5) * scale - 0.5;
  Taps taps = spline(at);
  const double sigma = std::max(0.0, (scale - 1) / 2);
  if (sigma > 0) {
    const int radius = static_cast<int>(kTruncate * sigma + 0.5);
    std::vector<double> gauss;
    double sum = 0.0;
    for (int step = -radius; step <= radius; ++step) {
      const double k = step;
      gauss.push_back(decay(0.5 / (sigma * sigma) * (k * k)));
      sum += gauss.back();
    }
    for (double &weight : gauss) weight /= sum;
    taps = convolved(taps, gauss);
    for (std::int64_t &first : taps.first) first -= radius;
  }
  return folded(taps, size);
}

Matrix zoom_matrix(int out, int size) {
  if (out == size) return identity(size);
  const std::vector<double> at = zoom_positions(out, size);
  Matrix matrix = folded(spline(at), size);
  for (int i = 0; i < out; ++i)  // beyond the last sample by rounding: outside, as in scipy
    if (at[static_cast<std::size_t>(i)] > size - 1) std::fill(matrix.row(i), matrix.row(i) + size, 0.0);
  return matrix;
}

Matrix antialias_matrix(int out, int size) {
  Matrix matrix(out, size);
  Triangle triangle(out, size);
  for (int i = 0; i < out; ++i) {
    triangle.at(i);
    std::copy(triangle.weights().begin(), triangle.weights().end(), matrix.row(i) + triangle.first());
  }
  return matrix;
}

Matrix bilinear_matrix(int out, int size) { return interpolated(identity(size), out); }

Matrix interpolated(const Matrix &rows, int out) {
  const int size = rows.out();
  const double scale = double(size) / out;
  Matrix result(out, rows.size());
  for (int i = 0; i < out; ++i) {
    const double source = std::max((i + 0.5) * scale - 0.5, 0.0);
    const int left = std::min(static_cast<int>(source), size - 1), right = std::min(left + 1, size - 1);
    const double weight = source - left, other = 1.0 - weight;
    const double *a = rows.row(left), *b = rows.row(right);
    double *to = result.row(i);
    for (int k = 0; k < rows.size(); ++k) to[k] = other * a[k] + weight * b[k];
  }
  return result;
}

Matrix nearest_rows(const Matrix &rows, int out) {
  const int size = rows.out();
  const std::vector<double> at = zoom_positions(out, size);
  Matrix result(out, rows.size());
  for (int i = 0; i < out; ++i) {
    const double position = at[static_cast<std::size_t>(i)];
    if (position > size - 1) continue;
    const double *from = rows.row(std::min(static_cast<int>(std::floor(position + 0.5)), size - 1));
    std::copy(from, from + rows.size(), result.row(i));
  }
  return result;
}

// Sums of products of the parts are exact, whatever their order; see the Python function.
Matrix spline_product(const Matrix &left, const Matrix &right) {
  Matrix left_high(left.out(), left.size()), left_low = left_high;
  Matrix right_high(right.out(), right.size()), right_low = right_high;
  split(left, left_high, left_low);
  split(right, right_high, right_low);
  // Where the rows of `right` are not 0: they are bands.
  std::vector<int> first(static_cast<std::size_t>(right.out())), last(first);
  for (int j = 0; j < right.out(); ++j) {
    const double *row = right.row(j);
    int from = 0, to = right.size();
    while (from < to && row[from] == 0.0) ++from;
    while (to > from && row[to - 1] == 0.0) --to;
    first[static_cast<std::size_t>(j)] = from;
    last[static_cast<std::size_t>(j)] = to;
  }
  Matrix result(left.out(), right.size());
  std::vector<double> mixed(static_cast<std::size_t>(right.size()));
  for (int i = 0; i < left.out(); ++i) {
    double *large = result.row(i);
    std::fill(mixed.begin(), mixed.end(), 0.0);
    for (int j = 0; j < left.size(); ++j) {
      if (left.row(i)[j] == 0.0) continue;
      const double high = left_high.row(i)[j], low = left_low.row(i)[j];
      const double *right_large = right_high.row(j), *right_small = right_low.row(j);
      for (int k = first[static_cast<std::size_t>(j)]; k < last[static_cast<std::size_t>(j)]; ++k) {
        large[k] += high * right_large[k];
        mixed[static_cast<std::size_t>(k)] += high * right_small[k] + low * right_large[k];
      }
    }
    for (int k = 0; k < right.size(); ++k) large[k] += mixed[static_cast<std::size_t>(k)];
  }
  return result;
}

}  // namespace samedge
