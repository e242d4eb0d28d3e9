// Whether the mask of a moving object may be believed: samedge/prompts/gate.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "prompts/interior_point.hpp"
#include "prompts/patch.hpp"
#include "samedge.h"

namespace samedge {

// See samedge_tracker_options; every value is there.
struct GateSettings {
  // Throws Failure(ARGUMENT): a value that cannot be.
  explicit GateSettings(const samedge_tracker_options &given);

  double score, score_drop, score_spread, area_jump, overlap, steady, found_s, border;
  int min_area;
  double hold_s, fresh_s, steady_s;
};

enum class Verdict { good = SAMEDGE_GOOD, doubtful = SAMEDGE_DOUBTFUL, lost = SAMEDGE_LOST };

// What is asked about one object.
struct Question {
  std::vector<double> points;        // [P][2]: x, y in px
  std::vector<std::int32_t> labels;  // [P]
  bool has_box = false;
  double box[4] = {};
  bool has_logits = false;
  std::vector<float> logits;         // [L][L]
};

// Masks that several places of an object's memory share.
using SharedMask = std::shared_ptr<Patch>;

// What an object is like: means over its good masks.
class Usual {
 public:
  explicit Usual(double steady_s) noexcept;

  void add(const SharedMask &mask, double score, double time_s) noexcept;

  double score() const noexcept { return score_; }
  double spread() const noexcept;
  // A good mask from before the last `steady_s` or so, of about the usual area; null before the first.
  const SharedMask &home() const noexcept { return home_; }
  // Between an area and the usual one, 1 or more; 1 before the first.
  double factor(std::int64_t area) const noexcept;

 private:
  double steady_s_;
  double score_ = 0.0;
  double variance_;
  double log_area_ = 0.0;
  std::int64_t count_ = 0;
  double time_s_ = 0.0;
  SharedMask home_, newer_;
  double newer_s_ = 0.0;
};

// One object that is followed; see `samedge.prompts.gate.GatedTracker`.
//
// A frame is taken in in two steps, so that nothing can fail half-way: `look` keeps the mask and may run out of
// memory, `update` judges it.
class GatedTracker {
 public:
  // use_logits: floats of a mask prompt where the family takes them, else 0.
  GatedTracker(Question question, const GateSettings &settings, std::size_t use_logits);
  GatedTracker(GatedTracker &&) = default;
  GatedTracker(const GatedTracker &) = delete;
  GatedTracker &operator=(const GatedTracker &) = delete;

  const Question &ask() const noexcept { return next_; }

  // room: px that masks should have room for from the first.
  void look(const std::uint8_t *mask, int height, int width, std::size_t room, InteriorPoint &inside);

  // Judge the mask of `look`. area: what the network saw.
  Verdict update(double score, const float *logits, double time_s, const Area &area,
                 InteriorPoint &inside) noexcept;

  // Another scene has come: where the object was says nothing any more of where it is.
  void lose(const char *reason, InteriorPoint &inside) noexcept;

  // Of the last verdict; "" after a good one.
  const char *reason() const noexcept { return reason_; }

 private:
  bool doubt(double score, double time_s, const Area &area) noexcept;
  void take(double score, const float *logits, double time_s, InteriorPoint &inside) noexcept;
  bool is_steady(double time_s) noexcept;
  void give_up(InteriorPoint &inside) noexcept;
  Verdict search(double score, const float *logits, double time_s, InteriorPoint &inside) noexcept;
  void look_elsewhere(InteriorPoint &inside) noexcept;
  void ask_at(Pixel point, const float *logits) noexcept;
  [[gnu::format(printf, 2, 3)]] void say(const char *format, ...) noexcept;

  Question first_, next_;
  GateSettings settings_;
  std::size_t use_logits_;
  Usual usual_;
  std::vector<SharedMask> masks_;  // all that there are: those that nothing else holds are free
  SharedMask now_;                 // of `look`
  SharedMask last_;                // good
  double good_s_ = 0.0, doubt_s_ = 0.0;
  bool lost_ = false, doubtful_ = false;
  SharedMask candidate_;           // good after a doubtful one, to be seen again
  double candidate_s_ = 0.0;
  bool seen_ = false;              // a lost object, at one place: since when, and where first
  double seen_s_ = 0.0;
  Place seen_at_;
  std::size_t tries_ = 0;
  char reason_[128] = {};
};

}  // namespace samedge
