#include "prompts/gate.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <utility>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr double kNeighboursS = 0.07;  // frames that are so far apart differ little
constexpr double kGraceS = 0.1;        // for which an object that is being found again may look otherwise
constexpr double kStill = 0.3;         // of an object's radius: its centre moves by that much when it beats
constexpr double kLike = 1.3;          // factor between areas that are about the same
constexpr double kNarrow = 0.08;       // a score that is less below the usual one is as usual
constexpr double kAtFirst = 0.05;      // deviation of a score before it is known
constexpr double kBefore = 10.0;       // and its weight in masks
constexpr double kPi = 3.141592653589793;

// Masks that an object can hold at once: last, candidate, home, newer, and that of this frame.
constexpr std::size_t kMasks = 5;

// 0 stands for the default.
double chosen(double given, double usual) noexcept { return given == 0.0 ? usual : given; }

void check(bool fine, const char *name, double value, const char *expected) {
  if (!fine)
    fail(SAMEDGE_ERROR_ARGUMENT, "samedge_tracker_options: %s is %g; expected %s, or 0 for the default", name,
         value, expected);
}

}  // namespace

GateSettings::GateSettings(const samedge_tracker_options &given)
    : score(chosen(given.score, 0.5)),
      score_drop(chosen(given.score_drop, 0.2)),
      score_spread(chosen(given.score_spread, 4.0)),
      area_jump(chosen(given.area_jump, 2.4)),
      overlap(chosen(given.overlap, 0.5)),
      steady(chosen(given.steady, 0.7)),
      found_s(chosen(given.found_s, 0.4)),
      border(chosen(given.border, 0.35)),
      min_area(given.min_area == 0 ? 20 : given.min_area),
      hold_s(chosen(given.hold_s, 0.12)),
      fresh_s(chosen(given.fresh_s, 0.5)),
      steady_s(chosen(given.steady_s, 1.0)) {
  const std::pair<const char *, double> shares[] = {{"score", score}, {"score_drop", score_drop},
                                                    {"overlap", overlap}, {"steady", steady},
                                                    {"border", border}};
  for (const auto &[name, value] : shares) check(value >= 0 && value <= 1, name, value, "0 to 1");
  const std::pair<const char *, double> above[] = {{"score_spread", score_spread}, {"hold_s", hold_s},
                                                   {"found_s", found_s}, {"fresh_s", fresh_s},
                                                   {"steady_s", steady_s}};
  for (const auto &[name, value] : above) check(value > 0, name, value, "a number above 0");
  check(area_jump >= 1, "area_jump", area_jump, "1 or more");
  check(min_area >= 1, "min_area", min_area, "1 or more");
}

Usual::Usual(double steady_s) noexcept : steady_s_(steady_s), variance_(kAtFirst * kAtFirst) {}

// A mask after a long time does not make all the others forgotten, and times that go back count as none.
void Usual::add(const SharedMask &mask, double score, double time_s) noexcept {
  const double passed = std::min(std::max(time_s - time_s_, 0.0), steady_s_ / 5);
  ++count_;
  const auto count = static_cast<double>(count_);
  // At first all count alike.
  const double share = std::max(1 / count, 1 - std::exp(-passed / steady_s_));
  const double before = score_;
  score_ += share * (score - before);
  // Of few masks nobody knows: the deviation begins as that of a few who differ.
  const double share_of_square = std::max(1 / (count + kBefore), 1 - std::exp(-passed / steady_s_));
  const double apart = count_ > 1 ? (score - before) * (score - score_) : kAtFirst * kAtFirst;
  variance_ += share_of_square * (apart - variance_);
  log_area_ += share * (std::log(static_cast<double>(mask->area)) - log_area_);
  time_s_ = time_s;
  const double apart_s = time_s - newer_s_;
  if (home_ == nullptr) {
    home_ = newer_ = mask;
    newer_s_ = time_s;
  } else if (!(apart_s >= 0 && apart_s < steady_s_) && factor(mask->area) < kLike) {
    home_ = std::move(newer_);
    newer_ = mask;
    newer_s_ = time_s;
  }
}

double Usual::spread() const noexcept { return std::sqrt(variance_); }

double Usual::factor(std::int64_t area) const noexcept {
  if (count_ == 0) return 1.0;
  return std::exp(std::fabs(std::log(static_cast<double>(area)) - log_area_));
}

GatedTracker::GatedTracker(Question question, const GateSettings &settings, std::size_t use_logits)
    : first_(std::move(question)), settings_(settings), use_logits_(use_logits), usual_(settings.steady_s) {
  const auto inside = std::count(first_.labels.begin(), first_.labels.end(), 1);
  if (!first_.has_box && inside == 0)
    fail(SAMEDGE_ERROR_PROMPT, "tracking needs a point inside the object, or a box around it");
  // One point inside, and those outside of it: from now on no question needs more memory.
  next_.points.reserve(first_.points.size() + 2);
  next_.labels.reserve(first_.labels.size() + 1);
  next_.logits.reserve(std::max(use_logits_, first_.logits.size()));
  next_ = first_;
  masks_.resize(kMasks);
  for (SharedMask &mask : masks_) mask = std::make_shared<Patch>();
}

void GatedTracker::look(const std::uint8_t *mask, int height, int width, std::size_t room,
                        InteriorPoint &inside) {
  now_.reset();
  for (const SharedMask &one : masks_) one->pixels.reserve(room);  // at once, and not when each is first used
  for (const SharedMask &free : masks_) {
    if (free.use_count() > 1) continue;
    free->take(mask, height, width);
    inside.make_room(free->rows(), free->columns());
    now_ = free;
    return;
  }
}

Verdict GatedTracker::update(double score, const float *logits, double time_s, const Area &area,
                             InteriorPoint &inside) noexcept {
  const bool doubted = doubt(score, time_s, area);
  if (lost_) return search(score, logits, time_s, inside);
  if (doubted) {
    candidate_.reset();
  } else if (!doubtful_ || last_ == nullptr || is_steady(time_s)) {
    take(score, logits, time_s, inside);
    return Verdict::good;
  } else {
    say("it was doubtful before");
  }
  if (!doubtful_) {
    doubtful_ = true;
    doubt_s_ = time_s;
  }
  const bool nothing_yet = last_ == nullptr && now_->area >= settings_.min_area;
  // A clock that went back says nothing of how long it has been.
  const double passed = time_s - doubt_s_;
  if (nothing_yet || (passed >= 0 && passed < settings_.hold_s)) return Verdict::doubtful;
  give_up(inside);
  return Verdict::lost;
}

void GatedTracker::lose(const char *reason, InteriorPoint &inside) noexcept {
  say("%s", reason);
  give_up(inside);
}

// Whether a mask may not be believed; `reason` says why.
bool GatedTracker::doubt(double score, double time_s, const Area &area) noexcept {
  reason_[0] = '\0';
  const Patch &mask = *now_;
  if (mask.area < settings_.min_area) {
    say("the mask has %lld px", static_cast<long long>(mask.area));
    return true;
  }
  // What is found again has to be the more alike, for it may be anything.
  const double spread = settings_.score_spread * usual_.spread() * (lost_ ? 0.5 : 1.0);
  const double least = std::max({settings_.score, usual_.score() * (1 - settings_.score_drop),
                                 usual_.score() - std::max(spread, kNarrow)});
  if (!(score >= least)) {
    say("score %.2f below %.2f", std::isnan(score) ? std::fabs(score) : score, least);
    return true;
  }
  const double factor = usual_.factor(mask.area);
  if (factor > settings_.area_jump) {
    say("area %.1f times the usual one, or that part of it", factor);
    return true;
  }
  if (!lost_ && last_ != nullptr && time_s - good_s_ <= settings_.fresh_s) {
    const double overlap = iou(mask, *last_);
    if (overlap < settings_.overlap) {
      say("overlap %.2f with the mask before, below %.2f", overlap, settings_.overlap);
      return true;
    }
  }
  const double share = border_share(mask, area);
  if (share > settings_.border) {
    say("%.0f%% of its outline on the border", share * 100);
    return true;
  }
  return false;
}

// A good mask: ask from here on.
void GatedTracker::take(double score, const float *logits, double time_s, InteriorPoint &inside) noexcept {
  usual_.add(now_, score, time_s);
  last_ = now_;
  good_s_ = time_s;
  lost_ = doubtful_ = false;
  ask_at(inside.find(*now_), logits);
}

// Whether the frame before had about the same mask; else this one is kept for the next. What passes by
// while the probe moves is not.
bool GatedTracker::is_steady(double time_s) noexcept {
  const double passed = time_s - candidate_s_;
  const SharedMask before = std::move(candidate_);
  candidate_ = now_;
  candidate_s_ = time_s;
  const double least =
      passed <= kNeighboursS ? settings_.steady : std::min(settings_.steady, settings_.overlap);
  return before != nullptr && iou(*now_, *before) >= least;
}

void GatedTracker::give_up(InteriorPoint &inside) noexcept {
  lost_ = true;
  candidate_.reset();
  seen_ = false;
  tries_ = 0;
  look_elsewhere(inside);
}

// An answer about a lost object: all for a while have to be like it, where it was.
Verdict GatedTracker::search(double score, const float *logits, double time_s, InteriorPoint &inside) noexcept {
  const Patch &mask = *now_;
  const Patch *home = usual_.home().get();
  if (reason_[0] == '\0' && home != nullptr && iou(mask, *home) < settings_.overlap) say("it lies elsewhere");
  if (reason_[0] != '\0') {
    // A frame or two of an object that is hard to see do not make all begin again.
    const double passed = time_s - candidate_s_;
    if (!seen_ || !(passed >= 0 && passed <= kGraceS)) {
      seen_ = false;
      look_elsewhere(inside);
    }
    return Verdict::lost;
  }
  const Place here = centre(mask);
  const auto is_still = [&] {
    const double radius = std::sqrt(static_cast<double>(mask.area) / kPi);
    return std::hypot(here.x - seen_at_.x, here.y - seen_at_.y) <= kStill * radius;
  };
  if (!seen_ || time_s < seen_s_ || !is_still()) {
    seen_ = true;
    seen_s_ = time_s;
    seen_at_ = here;
  }
  candidate_s_ = time_s;
  if (time_s - seen_s_ >= settings_.found_s) {
    take(score, logits, time_s, inside);
    return Verdict::good;
  }
  say("it may be found again");
  ask_at(inside.find(mask), nullptr);
  return Verdict::lost;
}

// Where to ask for a lost object: where it was last, and where it was before.
void GatedTracker::look_elsewhere(InteriorPoint &inside) noexcept {
  const Patch *places[2];
  std::size_t count = 0;
  if (usual_.home() != nullptr) places[count++] = usual_.home().get();
  if (last_ != nullptr) places[count++] = last_.get();
  if (count == 0) {
    next_ = first_;
    return;
  }
  ask_at(inside.find(*places[tries_ % count]), nullptr);
  ++tries_;
}

// One positive point, and the negative ones that the user gave.
void GatedTracker::ask_at(Pixel point, const float *logits) noexcept {
  next_.points.assign({static_cast<double>(point.x), static_cast<double>(point.y)});
  next_.labels.assign(1, 1);
  for (std::size_t i = 0; i < first_.labels.size(); ++i) {
    if (first_.labels[i] != 0) continue;
    next_.points.push_back(first_.points[2 * i]);
    next_.points.push_back(first_.points[2 * i + 1]);
    next_.labels.push_back(0);
  }
  next_.has_box = false;
  next_.has_logits = use_logits_ != 0 && logits != nullptr;
  if (next_.has_logits) next_.logits.assign(logits, logits + use_logits_);
}

void GatedTracker::say(const char *format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(reason_, sizeof reason_, format, arguments);
  va_end(arguments);
}

}  // namespace samedge
