#include "geometry/encoder_inputs.hpp"

#include <cstring>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr float kGreySteps = 32768.0F;  // OpenCV's 8-bit RGB to grey has 15 fractional bits
constexpr float kRgbToGrey[3] = {9798.0F, 19235.0F, 3735.0F};
constexpr float kLevels16 = 257.0F;  // steps of a 16-bit grey level in one of 8 bits

// [channels, family.channels]; [2, family.channels] for 16 bits, whose two bytes count as channels.
std::vector<float> colour_matrix(const Family &family, int channels, int depth) {
  const auto colours = static_cast<std::size_t>(family.channels);
  if (channels != 1 && channels != 3)
    fail(SAMEDGE_ERROR_FRAME, "a frame has 1 (grey) or 3 (RGB) channels, not %d", channels);
  if (depth != 8) {
    if (depth != 16) fail(SAMEDGE_ERROR_FRAME, "a grey level has 8 or 16 bits, not %d", depth);
    if (channels != 1)
      fail(SAMEDGE_ERROR_FRAME, "16-bit frames are grey; this one has %d channels: convert it", channels);
    if (family.rounded())
      fail(SAMEDGE_ERROR_FRAME, "%s was trained on 8-bit frames and rounds to them; window the 16-bit frame to "
           "0..255 as you would for display, then convert it to 8 bits", family.title.c_str());
    std::vector<float> bytes(2 * colours, 1.0F);
    for (std::size_t i = colours; i < bytes.size(); ++i) bytes[i] = 256.0F;
    return bytes;
  }
  std::vector<float> matrix(static_cast<std::size_t>(channels) * colours, 1.0F);
  if (channels == family.channels) {
    for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = i / colours == i % colours ? 1.0F : 0.0F;
  } else if (channels == 3) {
    for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = kRgbToGrey[i / colours] / kGreySteps;
  }
  return matrix;
}

template <typename T>
Tensor view(std::vector<T> &values, Element element, const Shape &shape) noexcept {
  return Tensor{values.data(), element, shape, Memory::host};
}

}  // namespace

Tensor EncoderInputs::input(const char *name) noexcept {
  const auto is = [&](const char *other) { return std::strcmp(name, other) == 0; };
  const auto side = static_cast<std::int64_t>(valid_rows.size());
  if (is("frame")) return view(frame, Element::u8, frame_shape);
  if (is("colour")) return view(colour, Element::f32, colour_shape);
  if (is("rows")) return view(rows, Element::f32, rows_shape);
  if (is("cols")) return view(cols, Element::f32, cols_shape);
  if (is("rows_first")) return Tensor{&rows_first, Element::u8, {1}, Memory::host};
  if (is("valid_rows")) return view(valid_rows, Element::f32, {side});
  if (is("valid_cols")) return view(valid_cols, Element::f32, {side});
  return Tensor{};
}

EncoderInputs encoder_inputs(const Family &family, const FrameGeometry &geometry, int channels, int depth) {
  EncoderInputs inputs;
  inputs.colour = colour_matrix(family, channels, depth);
  const std::int64_t colours = family.channels;
  const std::int64_t bytes = static_cast<std::int64_t>(inputs.colour.size()) / colours;
  inputs.colour_shape = {bytes, colours};
  inputs.transposed = geometry.rows_first;
  inputs.rows_first = geometry.rows_first ? 1 : 0;
  inputs.rows = geometry.rows_first ? geometry.cols : geometry.rows;
  inputs.cols = geometry.rows_first ? geometry.rows : geometry.cols;
  if (depth == 16)
    for (float &value : inputs.cols) value /= kLevels16;
  const std::int64_t height = geometry.rows_first ? geometry.width : geometry.height;
  const std::int64_t width = geometry.rows_first ? geometry.height : geometry.width;
  inputs.rows_shape = {geometry.planes, geometry.input_size, height};
  inputs.cols_shape = {geometry.planes, geometry.input_size, width};
  if (family.slices > 1)
    inputs.frame_shape = {family.slices, height, width, bytes};
  else
    inputs.frame_shape = {height, width, bytes};
  inputs.frame.assign(inputs.frame_shape.elements(), 0);
  inputs.valid_rows = geometry.valid_rows;
  inputs.valid_cols = geometry.valid_cols;
  return inputs;
}

}  // namespace samedge
