// Objects that are followed from frame to frame: the tracked ones of samedge/stream/live/objects.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bundle/family.hpp"
#include "prompts/gate.hpp"
#include "runtime/session.hpp"
#include "samedge.h"

namespace samedge {

class Tracker {
 public:
  // Throws Failure(PROMPT): there is nothing to follow, or a prompt that cannot be. Failure(ARGUMENT): a
  // setting that cannot be. Failure(NOT_SUPPORTED): the model answers no points.
  Tracker(const Model &model, const samedge_prompts &prompts, const samedge_tracker_options &options);

  std::size_t objects() const noexcept { return objects_.size(); }

  // See samedge_track. If it throws, the objects are where they were.
  void track(Session &session, const samedge_frame &frame, double time_s, samedge_result &result,
             std::int32_t *verdicts, std::size_t capacity);

  // See samedge_tracker_lose.
  void lose() noexcept;

  // Throw Failure(ARGUMENT): there is no such object.
  const char *reason(std::int32_t object) const;
  Place point(std::int32_t object) const;

 private:
  struct Object {
    Object(Question question, const GateSettings &settings, std::size_t use_logits)
        : tracker(std::move(question), settings, use_logits) {}

    GatedTracker tracker;
    bool seen = true;      // it lies in the part of the last frame that the network saw
    bool asked = false;    // the same of the frame in hand
  };

  // Objects whose prompts are of one kind, so that one call answers them: samedge.stream.live.objects.Group.
  struct Group {
    bool has_box = false;
    bool has_logits = false;
    std::vector<std::int32_t> numbers;  // of its objects
    std::vector<std::int32_t> counts;   // points of each
    std::vector<double> points, boxes;
    std::vector<std::int32_t> labels;
    std::vector<float> logits;

    void begin(bool box, bool mask) noexcept;
    // Take in a question as it can be asked about `area`. false: its object lies elsewhere.
    bool add(std::int32_t number, const Question &question, const Area &area);
    samedge_prompts prompts() const noexcept;
  };

  void gather(const Area &area);
  const Object &at(std::int32_t object) const;

  std::vector<Object> objects_;
  Group groups_[4];              // box or not, logits or not; in the order in which they first occur
  std::size_t group_count_ = 0;
  InteriorPoint inside_;
  int height_ = 0;               // of the frames, once there was one
  int width_ = 0;
};

}  // namespace samedge
