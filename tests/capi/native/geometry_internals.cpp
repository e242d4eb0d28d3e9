// Geometry, pixels, looks, prompts and outlines for the tests in Python (tests/capi/inside.py).
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "base/failure.hpp"
#include "frames/look.hpp"
#include "frames/pixels.hpp"
#include "geometry/encoder_inputs.hpp"
#include "geometry/frame_geometry.hpp"
#include "internals.hpp"
#include "masks/outlines.hpp"
#include "prompts/assemble.hpp"

namespace {

thread_local std::string message;

// A result, or what the failure said: the status, with its words in inside_message.
template <typename Work>
std::int32_t tried(Work &&work) {
  try {
    work();
    return SAMEDGE_OK;
  } catch (const samedge::Failure &failure) {
    message = failure.message();
    return failure.status();
  }
}

// What `tests.capi.inside.Family` has, in its order.
struct PlainFamily {
  std::int32_t input_size, channels, longest_side, interpolation, via, takes, always_pad, upscale_size, nearest,
      slices, whole_boxes;
};

samedge::Family family_of(const PlainFamily &plain) {
  samedge::Family family;
  family.name = family.title = "Test";
  family.input_size = plain.input_size;
  family.channels = plain.channels;
  family.longest_side = plain.longest_side != 0;
  family.interpolation = static_cast<samedge::Interpolation>(plain.interpolation);
  family.via = plain.via;
  family.takes_points = (plain.takes & SAMEDGE_TAKES_POINTS) != 0;
  family.takes_boxes = (plain.takes & SAMEDGE_TAKES_BOXES) != 0;
  family.takes_masks = (plain.takes & SAMEDGE_TAKES_MASKS) != 0;
  family.always_pad = plain.always_pad != 0;
  family.upscale_size = plain.upscale_size;
  family.nearest = plain.nearest != 0;
  family.slices = plain.slices;
  family.whole_boxes = plain.whole_boxes != 0;
  return family;
}

// Everything that a test may ask for, one after the other.
struct Inside {
  samedge::Family family;
  samedge::FrameGeometry geometry;
  samedge::EncoderInputs inputs;
  samedge::PromptAssembler assembler;
  samedge::Outliner outliner;
};

Inside &of(void *handle) { return *static_cast<Inside *>(handle); }

}  // namespace

SAMEDGE_INTERNAL const char *inside_message() { return message.c_str(); }

SAMEDGE_INTERNAL void *inside_new(const PlainFamily *family) {
  auto made = std::make_unique<Inside>();
  made->family = family_of(*family);
  return made.release();
}

SAMEDGE_INTERNAL void inside_free(void *handle) { delete static_cast<Inside *>(handle); }

SAMEDGE_INTERNAL std::int32_t inside_geometry(void *handle, std::int32_t height, std::int32_t width,
                                              const std::int32_t *crop, std::int32_t input_size,
                                              std::int32_t low_res, std::int32_t *facts) {
  return tried([&] {
    Inside &inside = of(handle);
    const samedge::Crop checked = samedge::checked_crop(crop, height, width);
    inside.geometry = samedge::frame_geometry(inside.family, height, width, checked, input_size, low_res);
    facts[0] = inside.geometry.valid_height;
    facts[1] = inside.geometry.valid_width;
    facts[2] = inside.geometry.rows_first ? 1 : 0;
    facts[3] = inside.geometry.planes;
  });
}

SAMEDGE_INTERNAL const float *inside_matrix(void *handle, const char *name, std::size_t *count) {
  const samedge::FrameGeometry &geometry = of(handle).geometry;
  const auto is = [&](const char *other) { return std::strcmp(name, other) == 0; };
  const std::vector<float> &values = is("rows")         ? geometry.rows
                                     : is("cols")       ? geometry.cols
                                     : is("mask_rows")  ? geometry.mask_rows
                                     : is("mask_cols")  ? geometry.mask_cols
                                     : is("valid_rows") ? geometry.valid_rows
                                                        : geometry.valid_cols;
  *count = values.size();
  return values.data();
}

SAMEDGE_INTERNAL std::int32_t inside_inputs(void *handle, std::int32_t channels, std::int32_t depth) {
  return tried([&] {
    Inside &inside = of(handle);
    inside.inputs = samedge::encoder_inputs(inside.family, inside.geometry, channels, depth);
  });
}

SAMEDGE_INTERNAL void *inside_input(void *handle, const char *name, std::int64_t *sides, std::int32_t *rank,
                                    std::int32_t *element) {
  const samedge::Tensor tensor = of(handle).inputs.input(name);
  std::memcpy(sides, tensor.shape.sides.data(), sizeof tensor.shape.sides);
  *rank = static_cast<std::int32_t>(tensor.shape.rank);
  *element = static_cast<std::int32_t>(tensor.element);
  return tensor.data;
}

SAMEDGE_INTERNAL std::int32_t inside_pixels(void *handle, const samedge_frame *frame, std::int32_t transposed,
                                            std::uint8_t *target) {
  return tried([&] {
    const samedge::PixelView view = samedge::checked_frame(*frame, of(handle).family);
    if (target != nullptr) samedge::copy_pixels(view, transposed != 0, target);
  });
}

SAMEDGE_INTERNAL std::int32_t inside_look(void *handle, const double *ranges, const samedge_frame *frame,
                                          const std::uint8_t *pixels, std::int32_t transposed, char *words,
                                          std::size_t capacity) {
  return tried([&] {
    const samedge::PixelView view = samedge::checked_frame(*frame, of(handle).family);
    std::map<std::string, std::pair<double, double>> bounds;
    std::size_t at = 0;
    for (const char *name : {"mean", "spread", "black", "edges", "colour"}) {
      if (ranges[2 * at] <= ranges[2 * at + 1]) bounds[name] = {ranges[2 * at], ranges[2 * at + 1]};
      ++at;
    }
    std::string found;
    samedge::CalibrationLooks(bounds).compare(
        pixels, view, samedge::checked_crop(frame->crop, view.height, view.width), transposed != 0, found);
    std::strncpy(words, found.c_str(), capacity - 1);
    words[capacity - 1] = '\0';
  });
}

SAMEDGE_INTERNAL std::int32_t inside_assemble(void *handle, const samedge_prompts *prompts, std::int32_t *groups) {
  return tried([&] {
    Inside &inside = of(handle);
    inside.assembler.assemble(inside.family, inside.geometry, prompts);
    *groups = static_cast<std::int32_t>(inside.assembler.groups());
  });
}

// Group `index` of the call before with the same prompts, which are read again.
SAMEDGE_INTERNAL std::int32_t inside_group(void *handle, const samedge_prompts *prompts, std::int32_t index,
                                           std::int32_t *counts, const std::int32_t **objects, const float **coords,
                                           const std::int32_t **labels, const float **masks) {
  return tried([&] {
    Inside &inside = of(handle);
    const samedge::PromptGroup &group =
        inside.assembler.assemble(inside.family, inside.geometry, prompts).at(static_cast<std::size_t>(index));
    counts[0] = static_cast<std::int32_t>(group.objects.size());
    counts[1] = group.length;
    counts[2] = group.mask_count;
    *objects = group.objects.data();
    *coords = group.coords.data();
    *labels = group.labels.data();
    *masks = group.masks.data();
  });
}

SAMEDGE_INTERNAL void inside_measure(const std::uint8_t *mask, std::int32_t height, std::int32_t width,
                                     std::int32_t *box, std::int64_t *area) {
  samedge::measure(mask, height, width, box, area);
}

SAMEDGE_INTERNAL std::int32_t inside_trace(void *handle, const std::uint8_t *mask, std::int32_t height,
                                           std::int32_t width, const std::int32_t **points, std::size_t *values) {
  samedge::Outliner &outliner = of(handle).outliner;
  outliner.trace(mask, height, width);
  *points = outliner.points().data();
  *values = outliner.points().size();
  return static_cast<std::int32_t>(outliner.outlines().size());
}

SAMEDGE_INTERNAL std::int32_t inside_outline(void *handle, std::int32_t index, std::int32_t *hole) {
  const samedge::Outliner::Outline &outline = of(handle).outliner.outlines()[static_cast<std::size_t>(index)];
  *hole = outline.hole ? 1 : 0;
  return outline.start;
}
