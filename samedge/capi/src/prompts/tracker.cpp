#include "prompts/tracker.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/failure.hpp"

namespace samedge {

namespace {

// Memory for masks of whole frames is made ready in advance up to here.
constexpr std::size_t kReadyBytes = std::size_t{64} << 20U;
constexpr std::size_t kMasksEach = 5;

constexpr const char *kUnseen = "it was prompted outside of the part of the frame that the network sees";
constexpr const char *kAnother = "the picture is another one";

// Points of each object. Throws Failure(PROMPT): they do not add up.
std::vector<std::int32_t> points_of(const samedge_prompts &given, std::int32_t objects) {
  const auto count = static_cast<std::size_t>(objects);
  if (given.point_count < 0 || given.point_count > kMostPoints)
    fail(SAMEDGE_ERROR_PROMPT, "point_count is %d; expected 0 to %d", given.point_count, kMostPoints);
  if (given.point_count > 0 && given.points == nullptr)
    fail(SAMEDGE_ERROR_PROMPT, "point_count is %d, and points is NULL", given.point_count);
  if (given.points_per_object == nullptr) {
    if (given.point_count % objects != 0)
      fail(SAMEDGE_ERROR_PROMPT, "%d points came for %d objects; say in points_per_object whose they are",
           given.point_count, objects);
    return std::vector<std::int32_t>(count, given.point_count / objects);
  }
  std::vector<std::int32_t> counts(given.points_per_object, given.points_per_object + count);
  std::int64_t sum = 0;
  for (const std::int32_t one : counts) {
    if (one < 0 || one > kMostPointsPerObject)
      fail(SAMEDGE_ERROR_PROMPT, "an object has %d points; expected 0 to %d", one, kMostPointsPerObject);
    sum += one;
  }
  if (sum != given.point_count)
    fail(SAMEDGE_ERROR_PROMPT, "points_per_object adds up to %lld, and point_count is %d",
         static_cast<long long>(sum), given.point_count);
  return counts;
}

void check_finite(const double *values, std::size_t count, const char *name) {
  if (!std::all_of(values, values + count, [](double value) { return std::isfinite(value); }))
    fail(SAMEDGE_ERROR_PROMPT, "%s hold NaN or infinite values; expected px of the frame", name);
}

// What the caller asks about each object. Whether it lies in a frame is seen with the frame.
std::vector<Question> questions_of(const samedge_prompts &given, const Family &family, std::size_t logits) {
  if (given.objects < 0 || given.objects > kMostObjects)
    fail(SAMEDGE_ERROR_PROMPT, "objects is %d; expected 0 to %d", given.objects, kMostObjects);
  const std::int32_t objects = std::max(given.objects, 1);
  if (given.multimask != 0)
    fail(SAMEDGE_ERROR_PROMPT, "an object that is followed has one mask; leave multimask at 0");
  if (given.mask_count != 0 && given.mask_count != 1 && given.mask_count != objects)
    fail(SAMEDGE_ERROR_PROMPT, "mask_count is %d; expected 0, 1 or the %d objects", given.mask_count, objects);
  if (given.mask_count != 0 && given.masks == nullptr)
    fail(SAMEDGE_ERROR_PROMPT, "mask_count is %d, and masks is NULL", given.mask_count);
  if (given.boxes != nullptr && !family.takes_boxes)
    fail(SAMEDGE_ERROR_PROMPT, "%s was not trained with boxes; give each object a point", family.title.c_str());
  if (given.mask_count != 0 && !family.takes_masks)
    fail(SAMEDGE_ERROR_PROMPT, "%s was not trained with masks as prompts; leave mask_count at 0",
         family.title.c_str());
  const std::vector<std::int32_t> counts = points_of(given, objects);
  std::vector<Question> questions(static_cast<std::size_t>(objects));
  const double *points = given.points;
  const std::int32_t *labels = given.labels;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    Question &question = questions[i];
    const auto count = static_cast<std::size_t>(counts[i]);
    if (count > 0) {
      check_finite(points, 2 * count, "points");
      question.points.assign(points, points + 2 * count);
      points += 2 * count;
      question.labels.assign(count, 1);
      if (labels != nullptr) {
        question.labels.assign(labels, labels + count);
        labels += count;
      }
      for (const std::int32_t label : question.labels)
        if (label != 0 && label != 1)
          fail(SAMEDGE_ERROR_PROMPT, "a label is %d; expected 1 (inside the object) or 0 (outside)", label);
    }
    if (given.boxes != nullptr) {
      check_finite(given.boxes + 4 * i, 4, "boxes");
      question.has_box = true;
      std::copy_n(given.boxes + 4 * i, 4, question.box);
    }
    if (given.mask_count != 0) {
      const float *mask = given.masks + (given.mask_count == 1 ? 0 : i) * logits;
      for (std::size_t k = 0; k < logits; ++k)
        if (!(std::fabs(mask[k]) <= kLargestLogit))
          fail(SAMEDGE_ERROR_PROMPT, "masks hold NaN or values beyond %g; expected low-res logits of an earlier "
               "answer", static_cast<double>(kLargestLogit));
      question.has_logits = true;
      question.logits.assign(mask, mask + logits);
    }
  }
  return questions;
}

}  // namespace

Tracker::Tracker(const Model &model, const samedge_prompts &prompts, const samedge_tracker_options &options) {
  const Family &family = model.family();
  if (!family.takes_points || !family.classes.empty() || family.slices > 1)
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s cannot follow an object, for which a model has to take points and give "
         "one mask for them in single frames; call samedge_segment for each frame", family.title.c_str());
  const auto side = static_cast<std::size_t>(model.manifest().variant.low_res);
  const GateSettings settings(options);
  std::vector<Question> questions = questions_of(prompts, family, side * side);
  objects_.reserve(questions.size());
  for (Question &question : questions)
    objects_.emplace_back(std::move(question), settings, family.takes_masks ? side * side : 0);
}

void Tracker::track(Session &session, const samedge_frame &frame, double time_s, samedge_result &result,
                    std::int32_t *verdicts, std::size_t capacity) {
  const auto start = std::chrono::steady_clock::now();
  if (!std::isfinite(time_s))
    fail(SAMEDGE_ERROR_ARGUMENT, "time_s is %g; expected when the frame was taken, in seconds", time_s);
  if (capacity < objects_.size())
    fail(SAMEDGE_ERROR_BUFFER, "verdicts has room for %zu; there are %zu objects", capacity, objects_.size());
  if (height_ != 0 && (frame.height != height_ || frame.width != width_))
    fail(SAMEDGE_ERROR_FRAME, "the frame has %d x %d px, and the objects were followed in frames of %d x %d: no "
         "prompt of before means anything in it; make a new tracker", frame.width, frame.height, width_, height_);
  const FrameGeometry &geometry = session.begin(frame, objects_.size(), result);
  const Area area{geometry.crop.x0, geometry.crop.y0, geometry.crop.x1, geometry.crop.y1};
  const int height = geometry.height, width = geometry.width;
  gather(area);
  for (std::size_t i = 0; i < group_count_; ++i)
    session.ask(groups_[i].prompts(), groups_[i].numbers.data());
  for (std::size_t i = 0; i < objects_.size(); ++i)
    if (!objects_[i].asked) session.blank(static_cast<std::int32_t>(i));
  session.put_in_order();
  const Answer &answer = session.answer();
  const std::size_t pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  const bool ready = objects_.size() * kMasksEach * pixels <= kReadyBytes;
  if (ready) inside_.make_room(height, width);
  for (std::size_t i = 0; i < objects_.size(); ++i)
    if (objects_[i].asked)
      objects_[i].tracker.look(answer.masks[i].mask, height, width, ready ? pixels : 0, inside_);
  session.finish(result);
  // From here on nothing fails.
  height_ = height;
  width_ = width;
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    Object &object = objects_[i];
    const AnswerMask &mask = answer.masks[i];
    object.seen = object.asked;
    const Verdict verdict = object.asked ? object.tracker.update(static_cast<double>(mask.score), mask.low_res,
                                                                 time_s, area, inside_)
                                         : Verdict::lost;
    verdicts[i] = static_cast<std::int32_t>(verdict);
  }
  session.took(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
}

void Tracker::lose() noexcept {
  for (Object &object : objects_) {
    object.tracker.lose(kAnother, inside_);
    object.seen = true;
  }
}

const char *Tracker::reason(std::int32_t object) const {
  const Object &found = at(object);
  return found.seen ? found.tracker.reason() : kUnseen;
}

Place Tracker::point(std::int32_t object) const {
  const Question &question = at(object).tracker.ask();
  for (std::size_t i = 0; i < question.labels.size(); ++i)
    if (question.labels[i] == 1) return {question.points[2 * i], question.points[2 * i + 1]};
  return {(question.box[0] + question.box[2]) / 2, (question.box[1] + question.box[3]) / 2};
}

const Tracker::Object &Tracker::at(std::int32_t object) const {
  if (object < 0 || static_cast<std::size_t>(object) >= objects_.size())
    fail(SAMEDGE_ERROR_ARGUMENT, "there is no object %d; the tracker has %zu, from 0 on", object, objects_.size());
  return objects_[static_cast<std::size_t>(object)];
}

// What to ask of the next frame, by kinds in the order in which they occur.
void Tracker::gather(const Area &area) {
  group_count_ = 0;
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    const Question &question = objects_[i].tracker.ask();
    std::size_t kind = 0;
    while (kind < group_count_ && !(groups_[kind].has_box == question.has_box &&
                                    groups_[kind].has_logits == question.has_logits))
      ++kind;
    if (kind == group_count_) groups_[kind].begin(question.has_box, question.has_logits);
    objects_[i].asked = groups_[kind].add(static_cast<std::int32_t>(i), question, area);
    if (objects_[i].asked && kind == group_count_) ++group_count_;
  }
}

void Tracker::Group::begin(bool box, bool mask) noexcept {
  has_box = box;
  has_logits = mask;
  numbers.clear();
  counts.clear();
  points.clear();
  boxes.clear();
  labels.clear();
  logits.clear();
}

// Points outside of the area that are not the object's are left out, and a box ends there.
bool Tracker::Group::add(std::int32_t number, const Question &question, const Area &area) {
  const double low[2] = {static_cast<double>(area.x0), static_cast<double>(area.y0)};
  const double high[2] = {static_cast<double>(area.x1), static_cast<double>(area.y1)};
  const auto is_inside = [&](std::size_t i) {
    const double x = question.points[2 * i], y = question.points[2 * i + 1];
    return x >= low[0] && x < high[0] && y >= low[1] && y < high[1];
  };
  for (std::size_t i = 0; i < question.labels.size(); ++i)
    if (question.labels[i] == 1 && !is_inside(i)) return false;
  if (question.has_box) {
    const double box[4] = {std::max(question.box[0], low[0]), std::max(question.box[1], low[1]),
                           std::min(question.box[2], high[0]), std::min(question.box[3], high[1])};
    if (!(box[0] < box[2] && box[1] < box[3])) return false;
    boxes.insert(boxes.end(), box, box + 4);
  }
  std::int32_t count = 0;
  for (std::size_t i = 0; i < question.labels.size(); ++i) {
    if (!is_inside(i)) continue;
    points.push_back(question.points[2 * i]);
    points.push_back(question.points[2 * i + 1]);
    labels.push_back(question.labels[i]);
    ++count;
  }
  counts.push_back(count);
  numbers.push_back(number);
  if (has_logits) logits.insert(logits.end(), question.logits.begin(), question.logits.end());
  return true;
}

samedge_prompts Tracker::Group::prompts() const noexcept {
  samedge_prompts asked{};
  asked.struct_size = sizeof asked;
  asked.objects = static_cast<std::int32_t>(numbers.size());
  if (!labels.empty()) {
    asked.points = points.data();
    asked.labels = labels.data();
    asked.point_count = static_cast<std::int32_t>(labels.size());
    asked.points_per_object = counts.data();
  }
  if (has_box) asked.boxes = boxes.data();
  if (has_logits) {
    asked.masks = logits.data();
    asked.mask_count = asked.objects;
  }
  return asked;
}

}  // namespace samedge
