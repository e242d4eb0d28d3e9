#include "frames/pixels.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "base/failure.hpp"
#include "geometry/frame_geometry.hpp"

namespace samedge {

namespace {

constexpr std::int64_t kMostStride = std::int64_t{1} << 31;        // bytes; a row has 16384 at most
constexpr std::int64_t kMostSliceStride = std::int64_t{1} << 44;   // bytes; kMostStride * kMaxSide twice
constexpr int kMostSlices = 16384;
constexpr int kTile = 32;  // px, side of the squares in which a frame is transposed

// Bytes of a pixel (of NV12's first plane), 0 for an unknown format.
int pixel_bytes(int format) noexcept {
  switch (format) {
    case SAMEDGE_GREY8:
    case SAMEDGE_NV12: return 1;
    case SAMEDGE_GREY16: return 2;
    case SAMEDGE_RGB8:
    case SAMEDGE_BGR8: return 3;
    case SAMEDGE_RGBA8:
    case SAMEDGE_BGRA8: return 4;
    default: return 0;
  }
}

// A stride of rows of `row` bytes.
std::int64_t checked_stride(std::int64_t stride, std::int64_t row, const char *name) {
  if (stride == 0) return row;
  if (stride < 0)
    fail(SAMEDGE_ERROR_FRAME, "%s is %lld; rows go down, so it is positive: turn a frame that is stored from the "
         "bottom up round first", name, static_cast<long long>(stride));
  if (stride < row)
    fail(SAMEDGE_ERROR_FRAME, "%s is %lld bytes; a row has %lld: give the distance from one row to the next in "
         "bytes, or 0 if there are no gaps", name, static_cast<long long>(stride), static_cast<long long>(row));
  if (stride > kMostStride)
    fail(SAMEDGE_ERROR_FRAME, "%s is %lld bytes, more than any frame has; a row has %lld", name,
         static_cast<long long>(stride), static_cast<long long>(row));
  return stride;
}

void check_format(const samedge_frame &frame, const Family &family) {
  if (pixel_bytes(frame.format) == 0)
    fail(SAMEDGE_ERROR_FRAME, "format is %d; expected SAMEDGE_GREY8, _GREY16, _RGB8, _BGR8, _RGBA8, _BGRA8 or _NV12",
         frame.format);
  if (frame.memory != SAMEDGE_HOST && frame.memory != SAMEDGE_CUDA)
    fail(SAMEDGE_ERROR_FRAME, "memory is %d; expected SAMEDGE_HOST or SAMEDGE_CUDA", frame.memory);
  if (frame.memory == SAMEDGE_CUDA && frame.format != SAMEDGE_GREY8 && frame.format != SAMEDGE_GREY16 &&
      frame.format != SAMEDGE_RGB8)
    fail(SAMEDGE_ERROR_FRAME, "format is %d; frames in a GPU's memory are SAMEDGE_GREY8, _GREY16 or _RGB8: convert "
         "it there, or copy it to the host", frame.format);
  if (frame.format == SAMEDGE_GREY16 && family.rounded())
    fail(SAMEDGE_ERROR_FRAME, "%s was trained on 8-bit frames and rounds to them; window the 16-bit frame to 0..255 "
         "as you would for display, and give it as SAMEDGE_GREY8", family.title.c_str());
  if (frame.format == SAMEDGE_NV12 && (frame.width % 2 != 0 || frame.height % 2 != 0))
    fail(SAMEDGE_ERROR_FRAME, "an NV12 frame has even sides, as each 2 x 2 px share their colour; this one has %d x "
         "%d px", frame.width, frame.height);
}

// A row of pixels of `bytes` bytes each -> RGB; `red` and `blue` are the places of these two.
template <int bytes, int red, int blue>
void colour_row(const std::uint8_t *from, std::uint8_t *to, std::int64_t width, std::int64_t step) noexcept {
  for (std::int64_t x = 0; x < width; ++x) {
    to[0] = from[red];
    to[1] = from[1];
    to[2] = from[blue];
    from += bytes;
    to += step;
  }
}

template <int bytes>
void plain_row(const std::uint8_t *from, std::uint8_t *to, std::int64_t width, std::int64_t step) noexcept {
  for (std::int64_t x = 0; x < width; ++x) {
    for (int i = 0; i < bytes; ++i) to[i] = from[i];
    from += bytes;
    to += step;
  }
}

void grey16_row(const std::uint8_t *from, std::uint8_t *to, std::int64_t width, std::int64_t step) noexcept {
  for (std::int64_t x = 0; x < width; ++x) {
    std::uint16_t level = 0;
    std::memcpy(&level, from, sizeof level);
    to[0] = static_cast<std::uint8_t>(level & 0xFFU);
    to[1] = static_cast<std::uint8_t>(level >> 8U);
    from += 2;
    to += step;
  }
}

// ITU-R BT.601 in limited range with 20 fractional bits: 1.164, 1.596, 0.813, 0.391 and 2.018, as OpenCV's
// COLOR_YUV2RGB_NV12 has them.
constexpr int kShift = 20, kHalf = 1 << (kShift - 1);
constexpr int kLuma = 1220542, kRedV = 1673527, kGreenV = -852492, kGreenU = -409993, kBlueU = 2116026;
constexpr int kLowest = -320, kHighest = 575;  // whole levels before they are cut off to 0..255

// What is added up for a pixel: 3 kB, so that there are neither products nor branches per pixel.
struct Video {
  std::array<int, 256> luma{}, red_v{}, green_v{}, green_u{}, blue_u{};
  std::array<std::uint8_t, kHighest - kLowest + 1> cut{};

  constexpr Video() {
    for (int i = 0; i < 256; ++i) {
      const auto at = static_cast<std::size_t>(i);
      luma[at] = (i > 16 ? i - 16 : 0) * kLuma;
      red_v[at] = kHalf + kRedV * (i - 128);
      green_v[at] = kHalf + kGreenV * (i - 128);
      green_u[at] = kGreenU * (i - 128);
      blue_u[at] = kHalf + kBlueU * (i - 128);
    }
    for (int i = kLowest; i <= kHighest; ++i)
      cut[static_cast<std::size_t>(i - kLowest)] = static_cast<std::uint8_t>(i < 0 ? 0 : i > 255 ? 255 : i);
  }

  std::uint8_t level(int sum) const noexcept {
    // An arithmetic shift, as every compiler here does it: rounds down below 0 as well.
    return cut[static_cast<std::size_t>((sum >> kShift) - kLowest)];
  }
};

constexpr Video kVideo;

void video_row(const std::uint8_t *luma, const std::uint8_t *chroma, std::uint8_t *to, std::int64_t width,
               std::int64_t step) noexcept {
  for (std::int64_t x = 0; x < width; x += 2) {
    const int red = kVideo.red_v[chroma[1]], blue = kVideo.blue_u[chroma[0]];
    const int green = kVideo.green_v[chroma[1]] + kVideo.green_u[chroma[0]];
    for (int i = 0; i < 2; ++i) {
      const int y = kVideo.luma[luma[i]];
      to[0] = kVideo.level(y + red);
      to[1] = kVideo.level(y + green);
      to[2] = kVideo.level(y + blue);
      to += step;
    }
    luma += 2;
    chroma += 2;
  }
}

// `width` pixels of row y from x on -> target, `step` bytes apart.
void copy_run(const PixelView &view, const std::uint8_t *slice, std::int64_t y, std::int64_t x,
              std::int64_t width, std::uint8_t *to, std::int64_t step) noexcept {
  const std::uint8_t *from = slice + y * view.stride + x * pixel_bytes(view.format);
  switch (view.format) {
    case SAMEDGE_GREY8: plain_row<1>(from, to, width, step); break;
    case SAMEDGE_GREY16: grey16_row(from, to, width, step); break;
    case SAMEDGE_RGB8: plain_row<3>(from, to, width, step); break;
    case SAMEDGE_BGR8: colour_row<3, 2, 0>(from, to, width, step); break;
    case SAMEDGE_RGBA8: colour_row<4, 0, 2>(from, to, width, step); break;
    case SAMEDGE_BGRA8: colour_row<4, 2, 0>(from, to, width, step); break;
    default: video_row(from, view.chroma + y / 2 * view.chroma_stride + x, to, width, step); break;
  }
}

bool little_endian() noexcept {
  const std::uint16_t one = 1;
  std::uint8_t first = 0;
  std::memcpy(&first, &one, 1);
  return first == 1;
}

}  // namespace

PixelView checked_frame(const samedge_frame &frame, const Family &family) {
  check_side(frame.height, "height");
  check_side(frame.width, "width");
  check_format(frame, family);
  if (frame.pixels == nullptr) fail(SAMEDGE_ERROR_FRAME, "the frame's pixels are NULL; give the first one's address");
  PixelView view;
  view.pixels = static_cast<const std::uint8_t *>(frame.pixels);
  view.format = frame.format;
  view.memory = frame.memory;
  view.width = frame.width;
  view.height = frame.height;
  view.channels = frame.format == SAMEDGE_GREY8 || frame.format == SAMEDGE_GREY16 ? 1 : 3;
  view.depth = frame.format == SAMEDGE_GREY16 ? 16 : 8;
  const std::int64_t row = std::int64_t{frame.width} * pixel_bytes(frame.format);
  view.stride = checked_stride(frame.stride, row, "stride");
  const std::int64_t plane = view.stride * frame.height;
  if (frame.slices < 0 || frame.slices > kMostSlices)
    fail(SAMEDGE_ERROR_FRAME, "slices is %d; expected 0 or 1 for an image, or up to %d for a volume", frame.slices,
         kMostSlices);
  view.slices = std::max(frame.slices, 1);
  if (frame.format == SAMEDGE_NV12) {
    if (view.slices > 1)
      fail(SAMEDGE_ERROR_FRAME, "NV12 is a format of video, and this frame has %d slices; convert the volume to "
           "SAMEDGE_RGB8 or SAMEDGE_GREY8", view.slices);
    view.chroma_stride = checked_stride(frame.chroma_stride == 0 ? view.stride : frame.chroma_stride, row,
                                        "chroma_stride");
    view.chroma = frame.chroma == nullptr ? view.pixels + plane : static_cast<const std::uint8_t *>(frame.chroma);
  }
  view.slice_stride = frame.slice_stride == 0 ? plane : frame.slice_stride;
  if (view.slices > 1 && (view.slice_stride < plane - view.stride + row || view.slice_stride > kMostSliceStride))
    fail(SAMEDGE_ERROR_FRAME, "slice_stride is %lld bytes; a slice has %lld: give the distance from one slice to the "
         "next in bytes, or 0 if there are no gaps", static_cast<long long>(view.slice_stride),
         static_cast<long long>(plane));
  return view;
}

void copy_pixels(const PixelView &view, bool transposed, std::uint8_t *target) noexcept {
  const std::int64_t width = view.width, height = view.height;
  const std::int64_t pixel = std::int64_t{view.channels} * (view.depth / 8);
  const bool same = view.format == SAMEDGE_GREY8 || view.format == SAMEDGE_RGB8 ||
                    (view.format == SAMEDGE_GREY16 && little_endian());
  for (int i = 0; i < view.slices; ++i) {
    const std::uint8_t *slice = view.pixels + i * view.slice_stride;
    std::uint8_t *to = target + i * width * height * pixel;
    if (transposed) {
      for (std::int64_t top = 0; top < height; top += kTile)
        for (std::int64_t left = 0; left < width; left += kTile) {
          const std::int64_t bottom = std::min(top + kTile, height), run = std::min<std::int64_t>(kTile, width - left);
          for (std::int64_t y = top; y < bottom; ++y)
            copy_run(view, slice, y, left, run, to + (left * height + y) * pixel, height * pixel);
        }
    } else if (same && view.stride == width * pixel) {
      std::memcpy(to, slice, static_cast<std::size_t>(width * height * pixel));
    } else if (same) {
      for (std::int64_t y = 0; y < height; ++y)
        std::memcpy(to + y * width * pixel, slice + y * view.stride, static_cast<std::size_t>(width * pixel));
    } else {
      for (std::int64_t y = 0; y < height; ++y) copy_run(view, slice, y, 0, width, to + y * width * pixel, pixel);
    }
  }
}

}  // namespace samedge
