// Frames and prompts in, masks out: samedge/runtime/session.py.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/recent.hpp"
#include "frames/pixels.hpp"
#include "geometry/encoder_inputs.hpp"
#include "geometry/frame_geometry.hpp"
#include "masks/outlines.hpp"
#include "prompts/assemble.hpp"
#include "runtime/backend.hpp"
#include "runtime/model.hpp"

namespace samedge {

// What the engines need for frames of one size, format and crop. Allocated once.
struct FrameBuffers {
  FrameGeometry geometry;
  EncoderInputs inputs;
  Bindings bindings;  // of the encoder
  std::size_t frame_binding = 0;
  std::uint64_t constant = 0;

  std::size_t bytes() const noexcept;
};

// Inputs and outputs of the decoder for one number of objects, tokens and masks. Allocated once.
struct DecoderBuffers {
  int objects = 0;
  int masks_per_object = 0;
  std::vector<float> coords;
  std::vector<std::int32_t> labels;
  std::vector<float> mask_input;
  std::vector<float> has_mask;
  std::vector<std::int64_t> mask_index;
  std::vector<std::uint8_t> masks;      // [n, K, H, W]
  std::vector<float> scores;            // [n, K]
  std::vector<float> low_res;           // [n, K, L, L]
  std::vector<std::uint8_t> class_map;  // [n, H, W] or empty
  Bindings inputs, outputs;

  std::size_t bytes() const noexcept;
};

// One mask of an answer, in the caller's order.
struct AnswerMask {
  const std::uint8_t *mask = nullptr;  // [H, W]
  const float *low_res = nullptr;      // [L, L]
  float score = 0.0F;
  std::int32_t object = 0;
  std::int32_t structure = 0;          // class index, 0 without classes
};

// The last answer, where the engines wrote it: valid until the next call that computes.
struct Answer {
  bool there = false;
  int width = 0;
  int height = 0;
  int low_res = 0;
  std::vector<AnswerMask> masks;
  const std::uint8_t *class_map = nullptr;  // [H, W] or nullptr
  std::vector<std::shared_ptr<DecoderBuffers>> kept;
};

// Not thread-safe: the boundary (api/) sees to it that one thread at a time is here.
class Session {
 public:
  explicit Session(std::shared_ptr<Model> model);

  const Model &model() const noexcept { return *model_; }

  // There is no answer any more.
  void forget() noexcept;

  // See samedge.h. Throw Failure; after that there is no answer, and after a frame that failed no frame.
  void set_frame(const samedge_frame &frame);
  void predict(const samedge_prompts *prompts, samedge_result &result);
  void segment(const samedge_frame &frame, const samedge_prompts *prompts, samedge_result &result);
  void segment_slices(const samedge_frame &frame, const samedge_prompts *const *prompts,
                      samedge_result *const *results);

  // Compute an answer without writing it anywhere; `answer` has it.
  void compute(const samedge_frame &frame, const samedge_prompts *prompts);
  // Several questions about one frame whose answers are one: `begin` encodes it, after checking that `result`
  // can take a mask for each of `objects`; each `ask` adds masks, `blank` an empty one; `put_in_order`
  // makes them the answer, which `finish` writes. objects: [N], what the prompts' objects are called in the answer.
  const FrameGeometry &begin(const samedge_frame &frame, std::size_t objects, samedge_result &result);
  void ask(const samedge_prompts &prompts, const std::int32_t *objects);
  void blank(std::int32_t object);
  void put_in_order() noexcept;
  void finish(samedge_result &result);
  // What the whole call took, in ms.
  void took(double total) noexcept { timing_.total = total; }
  // Write the last answer to a caller's buffers, which were checked by `check_room`.
  void write(samedge_result &result);
  // Throws Failure(BUFFER) if a result cannot take K masks of this size; fills in what is needed.
  void check_room(samedge_result &result, std::size_t count, int height, int width) const;

  void embedding(float *target, std::size_t capacity);
  const Answer &answer() const;  // throws Failure(STATE) if there is none
  Outliner &outliner() noexcept { return outliner_; }
  const samedge_timing &timing() const noexcept { return timing_; }
  // A line each; lives until the next call.
  const char *notes();

 private:
  struct FrameKey {
    int height, width, channels, depth;
    Crop crop;
    bool operator==(const FrameKey &o) const noexcept {
      return height == o.height && width == o.width && channels == o.channels && depth == o.depth &&
             crop == o.crop;
    }
  };
  struct DecoderKey {
    int objects, length, masks;
    bool multimask;
    int height, width;
    int question;  // of several about one frame, whose answers are needed side by side
    bool operator==(const DecoderKey &o) const noexcept {
      return objects == o.objects && length == o.length && masks == o.masks && multimask == o.multimask &&
             height == o.height && width == o.width && question == o.question;
    }
  };

  void encode(const samedge_frame &frame, int first_slice);
  void decode(const samedge_prompts *prompts, samedge_result *result, int slice);
  std::shared_ptr<FrameBuffers> frame_buffers(const PixelView &view, const Crop &crop);
  std::shared_ptr<DecoderBuffers> decoder_buffers(const DecoderKey &key, int tokens, int low_res);
  void no_answer() noexcept;
  void add_masks(const samedge_prompts *prompts, const std::int32_t *objects, int slice);
  void run_decoder(const PromptGroup &group, bool multimask, const std::int32_t *objects, int slice);
  void check_finite(const float *values, std::size_t count, const char *name) const;
  std::size_t masks_per_object(const samedge_prompts *prompts) const;

  std::shared_ptr<Model> model_;
  std::unique_ptr<Engines> engines_;
  Tensor embedding_;
  Recent<FrameKey, FrameBuffers> frames_;
  Recent<DecoderKey, DecoderBuffers> decoders_;
  std::shared_ptr<FrameBuffers> frame_;
  PromptAssembler assembler_;
  Answer answer_;
  int questions_ = 0;                // about the frame, so far
  std::vector<std::uint8_t> blank_;  // the mask and the logits of objects that were not asked about
  std::vector<float> blank_logits_;
  Outliner outliner_;
  Bindings encoder_outputs_;
  std::string looks_, notes_;
  samedge_timing timing_{};
};

}  // namespace samedge
