#include "runtime/self_test.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/failure.hpp"
#include "bundle/self_test_file.hpp"
#include "runtime/session.hpp"

namespace samedge {

namespace {

// Stands for an error that is NaN or infinite.
constexpr double kBroken = 1e30;
constexpr double kTiny = 1e-30;
// Share of the frame from which on a mask has to keep the Dice limit itself.
constexpr double kSmallMask = 0.01;

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

double known(double value) noexcept { return std::isfinite(value) ? value : kBroken; }

// What a session made of one self-test, in the shapes of the reference.
struct Got {
  std::vector<std::uint8_t> masks;
  std::vector<float> scores;
  std::vector<float> low_res;

  void make_room(const SelfTestFrame &test) {
    masks.assign(test.masks.size(), 0);
    scores.assign(test.scores.size(), std::nanf(""));
    low_res.assign(test.low_res_logits.size(), std::nanf(""));
  }
};

// Place number `at` of `count` equal parts.
samedge_result part_of(Got &got, std::size_t at, std::size_t count) noexcept {
  samedge_result result{};
  result.struct_size = sizeof result;
  result.masks_capacity = got.masks.size() / count;
  result.masks = got.masks.data() + at * result.masks_capacity;
  result.scores_capacity = got.scores.size() / count;
  result.scores = got.scores.data() + at * result.scores_capacity;
  result.low_res_capacity = got.low_res.size() / count;
  result.low_res_logits = got.low_res.data() + at * result.low_res_capacity;
  return result;
}

// The prompts of `count` objects from `first` on.
samedge_prompts prompts_of(const SelfTestFrame &test, int first, int count) noexcept {
  samedge_prompts prompts{};
  prompts.struct_size = sizeof prompts;
  prompts.objects = count;
  prompts.multimask = test.multimask ? 1 : 0;
  const std::ptrdiff_t begin = std::ptrdiff_t{first} * test.points_per_object;
  if (test.points_per_object > 0) {
    prompts.points = test.points.data() + 2 * begin;
    prompts.labels = test.labels.data() + begin;
    prompts.point_count = count * test.points_per_object;
  }
  if (!test.boxes.empty()) prompts.boxes = test.boxes.data() + std::ptrdiff_t{4} * first;
  return prompts;
}

samedge_frame frame_of(const SelfTestFrame &test) noexcept {
  samedge_frame frame{};
  frame.struct_size = sizeof frame;
  frame.format = test.channels == 3 ? SAMEDGE_RGB8 : SAMEDGE_GREY8;
  frame.width = test.width;
  frame.height = test.height;
  frame.pixels = test.frame.data();
  frame.slices = test.slices;
  return frame;
}

[[noreturn]] void does_not_fit(const SelfTestFrame &test, const samedge_result &result) {
  fail(SAMEDGE_ERROR_BUNDLE, "self-test '%s' expects %d masks of %d x %d px, the engine gave %d of %d x %d; export "
       "the bundle again", shown(test.name).c_str(), test.masks_count, test.width, test.height, result.count,
       result.width, result.height);
}

class Runner {
 public:
  explicit Runner(const std::shared_ptr<Model> &model) : session_(model) {}

  // What no session may answer, NaN, comes as nothing but NaN.
  const Got &run(const SelfTestFrame &test) {
    got_.make_room(test);
    try {
      if (test.stack)
        run_stack(test);
      else
        run_image(test);
    } catch (const Failure &failure) {
      encoded_.clear();
      if (failure.status() != SAMEDGE_ERROR_NON_FINITE) throw;
      got_.make_room(test);
    }
    return got_;
  }

 private:
  // A frame that is the one before is not encoded again: that is nearly all of the time.
  void run_image(const SelfTestFrame &test) {
    const bool again = !encoded_.empty() && encoded_ == test.frame && height_ == test.height &&
                       width_ == test.width;
    if (!again) session_.set_frame(frame_of(test));
    encoded_ = test.frame;
    height_ = test.height;
    width_ = test.width;
    const samedge_prompts prompts = prompts_of(test, 0, test.objects);
    const bool asks = session_.model().family().takes_prompts();
    samedge_result result = part_of(got_, 0, 1);
    try {
      session_.predict(asks ? &prompts : nullptr, result);
    } catch (const Failure &failure) {
      if (failure.status() == SAMEDGE_ERROR_BUFFER) does_not_fit(test, result);
      throw;
    }
    check(test, result, test.masks_count);
  }

  // The objects are one for each slice.
  void run_stack(const SelfTestFrame &test) {
    encoded_.clear();
    const auto count = static_cast<std::size_t>(test.slices);
    std::vector<samedge_prompts> prompts;
    std::vector<samedge_result> results;
    std::vector<const samedge_prompts *> asked;
    std::vector<samedge_result *> filled;
    for (int slice = 0; slice < test.slices; ++slice) {
      prompts.push_back(prompts_of(test, slice, 1));
      results.push_back(part_of(got_, static_cast<std::size_t>(slice), count));
    }
    for (std::size_t i = 0; i < count; ++i) {
      asked.push_back(&prompts[i]);
      filled.push_back(&results[i]);
    }
    try {
      session_.segment_slices(frame_of(test), asked.data(), filled.data());
    } catch (const Failure &failure) {
      if (failure.status() == SAMEDGE_ERROR_BUFFER) does_not_fit(test, results.front());
      throw;
    }
    for (const samedge_result &result : results) check(test, result, test.masks_count / test.slices);
  }

  static void check(const SelfTestFrame &test, const samedge_result &result, int masks) {
    if (result.count != masks || result.low_res != test.low_res || result.height != test.height ||
        result.width != test.width)
      does_not_fit(test, result);
  }

  Session session_;
  Got got_;
  std::vector<std::uint8_t> encoded_;
  int height_ = 0, width_ = 0;
};

double rms(const std::vector<float> &values) noexcept {
  double sum = 0.0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return known(std::sqrt(sum / static_cast<double>(values.size())));
}

// NaN counts as broken, so that it never passes.
double largest_difference(const std::vector<float> &got, const std::vector<float> &reference) noexcept {
  double largest = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(got[i]) - static_cast<double>(reference[i]));
    if (!std::isfinite(difference)) return kBroken;
    largest = std::max(largest, difference);
  }
  return largest;
}

float mask_value(float logit, const Family &family) noexcept {
  if (!family.probability) return logit;
  const float small = std::exp(-std::fabs(logit));
  return (logit < 0.0F ? small : 1.0F) / (1.0F + small);
}

// How far each px of the reference's masks is from another decision, in logits:
// `decision_distance` of samedge/geometry/mask_values.py. [K][H][W].
std::vector<float> decision_distance(const SelfTestFrame &test, const Model &model) {
  const Family &family = model.family();
  const FrameGeometry geometry = frame_geometry(family, test.height, test.width, {0, 0, test.width, test.height},
                                                model.manifest().variant.input_size, test.low_res);
  const auto side = static_cast<std::size_t>(test.low_res), high = static_cast<std::size_t>(test.height);
  const auto wide = static_cast<std::size_t>(test.width), count = static_cast<std::size_t>(test.masks_count);
  std::vector<float> values(count * high * wide), row(side);
  for (std::size_t k = 0; k < count; ++k)
    for (std::size_t y = 0; y < high; ++y) {
      std::fill(row.begin(), row.end(), 0.0F);
      for (std::size_t l = 0; l < side; ++l) {
        const float weight = geometry.mask_rows[y * side + l];
        if (weight == 0.0F) continue;
        const float *logits = test.low_res_logits.data() + (k * side + l) * side;
        for (std::size_t x = 0; x < side; ++x) row[x] += weight * mask_value(logits[x], family);
      }
      float *target = values.data() + (k * high + y) * wide;
      for (std::size_t x = 0; x < wide; ++x)
        for (std::size_t l = 0; l < side; ++l) target[x] += geometry.mask_cols[x * side + l] * row[l];
    }
  if (family.exclusive) {  // the gap between the two largest classes, the same for all of them
    const std::size_t pixels = high * wide, classes = family.classes.size();
    for (std::size_t first = 0; first < count; first += classes)
      for (std::size_t i = 0; i < pixels; ++i) {
        float *value = values.data() + first * pixels + i;
        float most = -std::numeric_limits<float>::infinity(), second = most;
        for (std::size_t k = 0; k < classes; ++k) {
          const float one = value[k * pixels];
          second = std::max(second, std::min(most, one));
          most = std::max(most, one);
        }
        for (std::size_t k = 0; k < classes; ++k) value[k * pixels] = most - second;
      }
    return values;
  }
  const auto threshold = static_cast<float>(family.threshold);
  const float slope = family.probability ? static_cast<float>(family.threshold * (1.0 - family.threshold)) : 1.0F;
  for (float &value : values) value = std::fabs(value - threshold) / slope;
  return values;
}

// Of the masks of one frame.
struct MaskErrors {
  double dice = 1.0;
  double dice_margin = kUnlimited;
  double flipped = 0.0;
  std::int64_t flipped_far = 0;
};

MaskErrors compare_masks(const SelfTestFrame &test, const Got &got, const ParityLimit &limit, const Model &model) {
  MaskErrors errors;
  const std::size_t pixels = static_cast<std::size_t>(test.height) * static_cast<std::size_t>(test.width);
  std::int64_t flipped = 0;
  for (std::size_t k = 0; k < static_cast<std::size_t>(test.masks_count); ++k) {
    const std::uint8_t *mask = got.masks.data() + k * pixels, *reference = test.masks.data() + k * pixels;
    std::int64_t marked = 0, wanted = 0, both = 0;
    for (std::size_t i = 0; i < pixels; ++i) {
      marked += mask[i];
      wanted += reference[i];
      both += mask[i] & reference[i];
    }
    flipped += marked + wanted - 2 * both;
    const double dice = marked + wanted == 0
                            ? 1.0
                            : 2.0 * static_cast<double>(both) / static_cast<double>(marked + wanted);
    errors.dice = std::min(errors.dice, dice);
    // An empty reference has no Dice to lose: what is marked there is among the flipped px.
    if (limit.dice == 0.0 || wanted == 0) continue;
    const double share = static_cast<double>(wanted) / static_cast<double>(pixels);
    const double allowed = 1.0 - limit.least_dice(share);
    errors.dice_margin = std::min(errors.dice_margin, allowed / std::max(1.0 - dice, kTiny));
  }
  errors.flipped = static_cast<double>(flipped) / static_cast<double>(got.masks.size());
  if (flipped > 0 && std::isfinite(limit.near_zero)) {
    const std::vector<float> distance = decision_distance(test, model);
    for (std::size_t i = 0; i < distance.size(); ++i)
      if (got.masks[i] != test.masks[i] && static_cast<double>(distance[i]) > limit.near_zero) ++errors.flipped_far;
  }
  return errors;
}

// The precision whose limits count: float32 from weights that are rounded to half is judged as half.
Precision judged_as(const Model &model) {
  const Precision precision = model.options().precision;
  if (precision != Precision::fp32) return precision;
  for (const auto &[name, keys] : model.manifest().graphs)
    if (keys.count("fp32") == 0) return Precision::fp16;
  return precision;
}

SelfTestFrame parsed(const std::pair<std::string, Bytes> &file) {
  return parse_self_test(file.first, file.second.data.get(), file.second.size);
}

}  // namespace

ParityLimit ParityLimit::scaled(double rms) const noexcept {
  const double scale = std::max(1.0, rms);
  return {logits * scale, flipped, near_zero * scale, dice};
}

double ParityLimit::least_dice(double share) const noexcept {
  return std::max(0.0, 1.0 - (1.0 - dice) * std::sqrt(std::max(1.0, kSmallMask / share)));
}

ParityLimit parity_limit(Precision precision) noexcept {
  switch (precision) {
    case Precision::fp32: return {1e-4, 1e-4, 1e-3, 0.0};
    case Precision::fp16: return {0.03, 2e-3, kUnlimited, 0.0};
    case Precision::bf16: return {0.2, 1e-2, kUnlimited, 0.0};
    case Precision::int8: return {0.5, 2e-2, kUnlimited, 0.97};
  }
  return {0.0, 0.0, 0.0, 0.0};
}

samedge_self_test_report self_test(const std::shared_ptr<Model> &model) {
  const auto &files = model->self_tests();
  if (files.empty())
    fail(SAMEDGE_ERROR_BUNDLE, "the bundle has no self-test frames, so nothing can be verified; export it again");
  const ParityLimit limits = parity_limit(judged_as(*model));
  double smallest_rms = kUnlimited;
  for (const auto &file : files) smallest_rms = std::min(smallest_rms, rms(parsed(file).low_res_logits));
  const ParityLimit limit = limits.scaled(smallest_rms);

  samedge_self_test_report report{};
  report.struct_size = sizeof report;
  report.frames = static_cast<std::int32_t>(files.size());
  report.logit_limit = limit.logits;
  report.dice = 1.0;
  report.dice_limit = limit.dice;
  report.flipped_limit = limit.flipped;
  double dice_margin = kUnlimited;
  Runner runner(model);
  for (const auto &file : files) {
    const SelfTestFrame test = parsed(file);
    const Got &got = runner.run(test);
    report.max_logit_error =
        std::max(report.max_logit_error, largest_difference(got.low_res, test.low_res_logits));
    report.score_error = std::max(report.score_error, largest_difference(got.scores, test.scores));
    const MaskErrors masks = compare_masks(test, got, limit, *model);
    report.dice = std::min(report.dice, masks.dice);
    report.flipped = std::max(report.flipped, masks.flipped);
    report.flipped_far += masks.flipped_far;
    dice_margin = std::min(dice_margin, masks.dice_margin);
  }
  report.margin = std::min({limit.logits / std::max(report.max_logit_error, kTiny),
                            limits.logits / std::max(report.score_error, kTiny),
                            limit.flipped / std::max(report.flipped, kTiny), dice_margin});
  return report;
}

void check_passed(const samedge_self_test_report &report, const Model &model) {
  if (report.margin >= 1.0 && report.flipped_far == 0) return;
  fail(SAMEDGE_ERROR_PARITY, "%s in %s does not compute what the float32 reference computed: largest error of a "
       "logit %.3g (limit %.3g), of a score %.3g, flipped px %.3g %% (limit %.3g %%), %lld of them far from the "
       "threshold, least Dice %.4f. Do not use this bundle here; try SAMEDGE_FP32, or build the engines again",
       model.backend().name(), name_of(model.options().precision), report.max_logit_error, report.logit_limit,
       report.score_error, report.flipped * 100, report.flipped_limit * 100,
       static_cast<long long>(report.flipped_far), report.dice);
}

}  // namespace samedge
