// Resampling along one axis as matrices: samedge/geometry/filters.py, in the same order of float64
// operations, so that both have the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace samedge {

// [out, size] in float64, row-major.
class Matrix {
 public:
  Matrix(int out, int size)
      : out_(out),
        size_(size),
        values_(static_cast<std::size_t>(out) * static_cast<std::size_t>(size), 0.0) {}

  int out() const noexcept { return out_; }
  int size() const noexcept { return size_; }
  double *row(int i) noexcept { return values_.data() + offset(i); }
  const double *row(int i) const noexcept { return values_.data() + offset(i); }
  // Forget the rows from `out` on.
  void cut(int out) {
    out_ = out;
    values_.resize(offset(out));
  }

 private:
  std::size_t offset(int i) const noexcept {
    return static_cast<std::size_t>(i) * static_cast<std::size_t>(size_);
  }

  int out_, size_;
  std::vector<double> values_;
};

// One axis' coefficients as float32 planes: [planes, side, length], of which rows 0.. and columns
// `start`.. are written; the rest stays as it is.
struct Planes {
  float *values = nullptr;
  int side = 0;
  int length = 0;
  int start = 0;

  float *row(int plane, int i) const noexcept {
    return values +
           (static_cast<std::size_t>(plane) * static_cast<std::size_t>(side) + static_cast<std::size_t>(i)) *
               static_cast<std::size_t>(length) +
           start;
  }
};

// PIL's 8-bit bilinear resize as two exact planes: pil_coefficients and split_planes.
// Throws Failure(FRAME): it shrinks too far to be exact.
void write_pil(int out, int size, const Planes &planes);
// split_cubic: multiples of 2^-15 and the rest.
void write_split(const Matrix &matrix, const Planes &planes);
// One plane.
void write_plain(const Matrix &matrix, const Planes &planes);

Matrix cubic_matrix(int out, int size);      // scikit-image's resize(order=3, anti_aliasing=True)
Matrix zoom_matrix(int out, int size);       // scipy.ndimage.zoom(order=3)
Matrix antialias_matrix(int out, int size);  // torch's bilinear interpolate(antialias=True)
Matrix bilinear_matrix(int out, int size);   // torch's bilinear interpolate
Matrix spline_product(const Matrix &left, const Matrix &right);
Matrix interpolated(const Matrix &rows, int out);      // bilinear_matrix(out, rows.out()) @ rows
Matrix nearest_rows(const Matrix &rows, int out);      // nearest_matrix(out, rows.out()) @ rows

}  // namespace samedge
