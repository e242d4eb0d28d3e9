// Names, offsets and sizes of everything in samedge.h that a program's binary depends on.
//
// Only ever add lines, with the minor version that brought them. tests/capi/test_abi.py compares with what
// the compiler says, and with the list that is checked in.
#include <cstddef>
#include <cstdint>
#include <string>

#include "api/guard.hpp"
#include "samedge.h"

namespace samedge {

namespace {

struct Entry {
  const char *name;
  std::int64_t offset;  // of a constant: its value
  std::size_t size;     // 0 for a constant
  unsigned since;       // minor version
};

#define FIELD(type, field, since) \
  Entry { #type " " #field, static_cast<std::int64_t>(offsetof(type, field)), sizeof(type::field), since }
#define CONSTANT(name, since) \
  Entry { #name, static_cast<std::int64_t>(name), 0, since }

const Entry kEntries[] = {
    CONSTANT(SAMEDGE_OK, 0),
    CONSTANT(SAMEDGE_ERROR_ARGUMENT, 0),
    CONSTANT(SAMEDGE_ERROR_HANDLE, 0),
    CONSTANT(SAMEDGE_ERROR_BUSY, 0),
    CONSTANT(SAMEDGE_ERROR_STATE, 0),
    CONSTANT(SAMEDGE_ERROR_BUNDLE, 0),
    CONSTANT(SAMEDGE_ERROR_FRAME, 0),
    CONSTANT(SAMEDGE_ERROR_PROMPT, 0),
    CONSTANT(SAMEDGE_ERROR_BUFFER, 0),
    CONSTANT(SAMEDGE_ERROR_NOT_SUPPORTED, 0),
    CONSTANT(SAMEDGE_ERROR_DEVICE, 0),
    CONSTANT(SAMEDGE_ERROR_NON_FINITE, 0),
    CONSTANT(SAMEDGE_ERROR_MEMORY, 0),
    CONSTANT(SAMEDGE_ERROR_PARITY, 0),
    CONSTANT(SAMEDGE_ERROR_ABI, 0),
    CONSTANT(SAMEDGE_ERROR_INTERNAL, 0),
    CONSTANT(SAMEDGE_LOG_DEBUG, 0),
    CONSTANT(SAMEDGE_LOG_INFO, 0),
    CONSTANT(SAMEDGE_LOG_WARNING, 0),
    CONSTANT(SAMEDGE_LOG_ERROR, 0),
    CONSTANT(SAMEDGE_BACKEND_AUTO, 0),
    CONSTANT(SAMEDGE_BACKEND_TENSORRT, 0),
    CONSTANT(SAMEDGE_BACKEND_TRITON, 0),
    CONSTANT(SAMEDGE_BACKEND_OPENVINO, 0),
    CONSTANT(SAMEDGE_PRECISION_AUTO, 0),
    CONSTANT(SAMEDGE_FP32, 0),
    CONSTANT(SAMEDGE_BF16, 0),
    CONSTANT(SAMEDGE_FP16, 0),
    CONSTANT(SAMEDGE_INT8, 0),
    CONSTANT(SAMEDGE_HINT_LATENCY, 0),
    CONSTANT(SAMEDGE_HINT_THROUGHPUT, 0),
    CONSTANT(SAMEDGE_TAKES_POINTS, 0),
    CONSTANT(SAMEDGE_TAKES_BOXES, 0),
    CONSTANT(SAMEDGE_TAKES_MASKS, 0),
    CONSTANT(SAMEDGE_GREY8, 0),
    CONSTANT(SAMEDGE_GREY16, 0),
    CONSTANT(SAMEDGE_RGB8, 0),
    CONSTANT(SAMEDGE_BGR8, 0),
    CONSTANT(SAMEDGE_RGBA8, 0),
    CONSTANT(SAMEDGE_BGRA8, 0),
    CONSTANT(SAMEDGE_NV12, 0),
    CONSTANT(SAMEDGE_HOST, 0),
    CONSTANT(SAMEDGE_CUDA, 0),
    CONSTANT(SAMEDGE_GOOD, 0),
    CONSTANT(SAMEDGE_DOUBTFUL, 0),
    CONSTANT(SAMEDGE_LOST, 0),
    FIELD(samedge_model_options, struct_size, 0),
    FIELD(samedge_model_options, backend, 0),
    FIELD(samedge_model_options, precision, 0),
    FIELD(samedge_model_options, threads, 0),
    FIELD(samedge_model_options, device, 0),
    FIELD(samedge_model_options, hint, 0),
    FIELD(samedge_model_options, engines, 0),
    FIELD(samedge_model_info, struct_size, 0),
    FIELD(samedge_model_info, backend, 0),
    FIELD(samedge_model_info, precision, 0),
    FIELD(samedge_model_info, threads, 0),
    FIELD(samedge_model_info, input_size, 0),
    FIELD(samedge_model_info, low_res, 0),
    FIELD(samedge_model_info, embedding_size, 0),
    FIELD(samedge_model_info, slices, 0),
    FIELD(samedge_model_info, whole_volume, 0),
    FIELD(samedge_model_info, takes, 0),
    FIELD(samedge_model_info, takes_grey16, 0),
    FIELD(samedge_model_info, single_masks, 0),
    FIELD(samedge_model_info, multi_masks, 0),
    FIELD(samedge_model_info, classes, 0),
    FIELD(samedge_model_info, exclusive, 0),
    FIELD(samedge_model_info, family, 0),
    FIELD(samedge_model_info, title, 0),
    FIELD(samedge_model_info, device, 0),
    FIELD(samedge_model_info, why, 0),
    FIELD(samedge_model_info, notes, 0),
    FIELD(samedge_self_test_report, struct_size, 0),
    FIELD(samedge_self_test_report, frames, 0),
    FIELD(samedge_self_test_report, max_logit_error, 0),
    FIELD(samedge_self_test_report, logit_limit, 0),
    FIELD(samedge_self_test_report, dice, 0),
    FIELD(samedge_self_test_report, dice_limit, 0),
    FIELD(samedge_self_test_report, score_error, 0),
    FIELD(samedge_self_test_report, margin, 0),
    FIELD(samedge_self_test_report, flipped, 0),
    FIELD(samedge_self_test_report, flipped_limit, 0),
    FIELD(samedge_self_test_report, flipped_far, 0),
    FIELD(samedge_frame, struct_size, 0),
    FIELD(samedge_frame, format, 0),
    FIELD(samedge_frame, width, 0),
    FIELD(samedge_frame, height, 0),
    FIELD(samedge_frame, pixels, 0),
    FIELD(samedge_frame, stride, 0),
    FIELD(samedge_frame, chroma, 0),
    FIELD(samedge_frame, chroma_stride, 0),
    FIELD(samedge_frame, memory, 0),
    FIELD(samedge_frame, slices, 0),
    FIELD(samedge_frame, slice_stride, 0),
    FIELD(samedge_frame, crop, 0),
    FIELD(samedge_prompts, struct_size, 0),
    FIELD(samedge_prompts, objects, 0),
    FIELD(samedge_prompts, points, 0),
    FIELD(samedge_prompts, labels, 0),
    FIELD(samedge_prompts, point_count, 0),
    FIELD(samedge_prompts, mask_count, 0),
    FIELD(samedge_prompts, points_per_object, 0),
    FIELD(samedge_prompts, boxes, 0),
    FIELD(samedge_prompts, masks, 0),
    FIELD(samedge_prompts, multimask, 0),
    FIELD(samedge_result, struct_size, 0),
    FIELD(samedge_result, count, 0),
    FIELD(samedge_result, width, 0),
    FIELD(samedge_result, height, 0),
    FIELD(samedge_result, low_res, 0),
    FIELD(samedge_result, has_class_map, 0),
    FIELD(samedge_result, mask_value, 0),
    FIELD(samedge_result, masks, 0),
    FIELD(samedge_result, masks_capacity, 0),
    FIELD(samedge_result, mask_stride, 0),
    FIELD(samedge_result, class_map, 0),
    FIELD(samedge_result, class_map_capacity, 0),
    FIELD(samedge_result, scores, 0),
    FIELD(samedge_result, scores_capacity, 0),
    FIELD(samedge_result, object_index, 0),
    FIELD(samedge_result, object_index_capacity, 0),
    FIELD(samedge_result, class_index, 0),
    FIELD(samedge_result, class_index_capacity, 0),
    FIELD(samedge_result, boxes, 0),
    FIELD(samedge_result, boxes_capacity, 0),
    FIELD(samedge_result, areas, 0),
    FIELD(samedge_result, areas_capacity, 0),
    FIELD(samedge_result, low_res_logits, 0),
    FIELD(samedge_result, low_res_capacity, 0),
    FIELD(samedge_contours, struct_size, 0),
    FIELD(samedge_contours, contour_count, 0),
    FIELD(samedge_contours, points, 0),
    FIELD(samedge_contours, points_capacity, 0),
    FIELD(samedge_contours, starts, 0),
    FIELD(samedge_contours, starts_capacity, 0),
    FIELD(samedge_contours, holes, 0),
    FIELD(samedge_contours, holes_capacity, 0),
    FIELD(samedge_contours, point_count, 0),
    FIELD(samedge_timing, struct_size, 0),
    FIELD(samedge_timing, reserved, 0),
    FIELD(samedge_timing, copy_in, 0),
    FIELD(samedge_timing, preprocess, 0),
    FIELD(samedge_timing, encode, 0),
    FIELD(samedge_timing, prompt, 0),
    FIELD(samedge_timing, decode, 0),
    FIELD(samedge_timing, copy_out, 0),
    FIELD(samedge_timing, total, 0),
    FIELD(samedge_tracker_options, struct_size, 0),
    FIELD(samedge_tracker_options, min_area, 0),
    FIELD(samedge_tracker_options, score, 0),
    FIELD(samedge_tracker_options, score_drop, 0),
    FIELD(samedge_tracker_options, score_spread, 0),
    FIELD(samedge_tracker_options, area_jump, 0),
    FIELD(samedge_tracker_options, overlap, 0),
    FIELD(samedge_tracker_options, steady, 0),
    FIELD(samedge_tracker_options, found_s, 0),
    FIELD(samedge_tracker_options, border, 0),
    FIELD(samedge_tracker_options, hold_s, 0),
    FIELD(samedge_tracker_options, fresh_s, 0),
    FIELD(samedge_tracker_options, steady_s, 0),
};

#undef FIELD
#undef CONSTANT

std::string line_of(const Entry &entry) {
  return text("%s %lld %zu %u\n", entry.name, static_cast<long long>(entry.offset), entry.size, entry.since);
}

// FNV-1a, 64 bits.
std::uint64_t hash_of(unsigned minor) {
  std::uint64_t hash = 14695981039346656037U;
  for (const Entry &entry : kEntries) {
    if (entry.since > minor) continue;
    for (const char letter : line_of(entry)) {
      hash ^= static_cast<unsigned char>(letter);
      hash *= 1099511628211U;
    }
  }
  return hash;
}

}  // namespace

}  // namespace samedge

using namespace samedge;  // NOLINT(google-build-using-namespace)

const char *samedge_version(void) { return SAMEDGE_VERSION; }

uint32_t samedge_abi_version(void) {
  return static_cast<uint32_t>(SAMEDGE_ABI_MAJOR) << 16U | static_cast<uint32_t>(SAMEDGE_ABI_MINOR);
}

samedge_status samedge_abi_check(uint32_t major, uint32_t minor) {
  return guarded([&] {
    if (major != SAMEDGE_ABI_MAJOR || minor > SAMEDGE_ABI_MINOR)
      fail(SAMEDGE_ERROR_ABI, "the program was built for ABI %u.%u of samedge, and this library has %d.%d; "
           "install a library of %u.%u or newer with the same first number, or build the program again", major,
           minor, SAMEDGE_ABI_MAJOR, SAMEDGE_ABI_MINOR, major, minor);
  });
}

uint64_t samedge_abi_hash(uint32_t minor) {
  std::uint64_t hash = 0;
  if (minor <= SAMEDGE_ABI_MINOR) guarded([&] { hash = hash_of(minor); });
  return hash;
}

const char *samedge_abi_layout(void) {
  const char *layout = "";
  guarded([&] {
    static const std::string *lines = [] {
      auto *all = new std::string;
      for (const Entry &entry : kEntries) *all += line_of(entry);
      return all;
    }();
    layout = lines->c_str();
  });
  return layout;
}

const char *samedge_status_string(samedge_status status) {
  switch (status) {
    case SAMEDGE_OK: return "SAMEDGE_OK";
    case SAMEDGE_ERROR_ARGUMENT: return "SAMEDGE_ERROR_ARGUMENT";
    case SAMEDGE_ERROR_HANDLE: return "SAMEDGE_ERROR_HANDLE";
    case SAMEDGE_ERROR_BUSY: return "SAMEDGE_ERROR_BUSY";
    case SAMEDGE_ERROR_STATE: return "SAMEDGE_ERROR_STATE";
    case SAMEDGE_ERROR_BUNDLE: return "SAMEDGE_ERROR_BUNDLE";
    case SAMEDGE_ERROR_FRAME: return "SAMEDGE_ERROR_FRAME";
    case SAMEDGE_ERROR_PROMPT: return "SAMEDGE_ERROR_PROMPT";
    case SAMEDGE_ERROR_BUFFER: return "SAMEDGE_ERROR_BUFFER";
    case SAMEDGE_ERROR_NOT_SUPPORTED: return "SAMEDGE_ERROR_NOT_SUPPORTED";
    case SAMEDGE_ERROR_DEVICE: return "SAMEDGE_ERROR_DEVICE";
    case SAMEDGE_ERROR_NON_FINITE: return "SAMEDGE_ERROR_NON_FINITE";
    case SAMEDGE_ERROR_MEMORY: return "SAMEDGE_ERROR_MEMORY";
    case SAMEDGE_ERROR_PARITY: return "SAMEDGE_ERROR_PARITY";
    case SAMEDGE_ERROR_ABI: return "SAMEDGE_ERROR_ABI";
    case SAMEDGE_ERROR_INTERNAL: return "SAMEDGE_ERROR_INTERNAL";
    default: return "unknown status";
  }
}
