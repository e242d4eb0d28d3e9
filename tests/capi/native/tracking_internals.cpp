// What tracking is made of, mask by mask: compared with samedge/prompts in tests/capi/test_gate.py.
#include <algorithm>
#include <cstdint>

#include "internals.hpp"
#include "prompts/gate.hpp"

namespace {

struct Gate {
  samedge::GatedTracker tracker;
  samedge::InteriorPoint inside;
};

samedge::Patch patch_of(const std::uint8_t *mask, int height, int width) {
  samedge::Patch patch;
  patch.take(mask, height, width);
  return patch;
}

}  // namespace

// 0: the mask is empty.
SAMEDGE_INTERNAL int internal_interior_point(const std::uint8_t *mask, int height, int width, std::int32_t *xy) {
  static samedge::InteriorPoint inside;  // its memory is used again, as in a tracker
  const samedge::Patch patch = patch_of(mask, height, width);
  if (patch.area == 0) return 0;
  inside.make_room(patch.rows(), patch.columns());
  const samedge::Pixel point = inside.find(patch);
  xy[0] = point.x;
  xy[1] = point.y;
  return 1;
}

SAMEDGE_INTERNAL double internal_iou(const std::uint8_t *one, const std::uint8_t *other, int height, int width) {
  return samedge::iou(patch_of(one, height, width), patch_of(other, height, width));
}

SAMEDGE_INTERNAL void internal_centre(const std::uint8_t *mask, int height, int width, double *xy) {
  const samedge::Place place = samedge::centre(patch_of(mask, height, width));
  xy[0] = place.x;
  xy[1] = place.y;
}

SAMEDGE_INTERNAL double internal_border_share(const std::uint8_t *mask, int height, int width,
                                              const std::int32_t *area) {
  return samedge::border_share(patch_of(mask, height, width), {area[0], area[1], area[2], area[3]});
}

// logits: floats of a mask prompt, 0 if the family takes none.
SAMEDGE_INTERNAL void *internal_gate(const double *points, const std::int32_t *labels, std::int32_t count,
                                     const double *box, const samedge_tracker_options *options,
                                     std::int32_t logits) {
  samedge::Question question;
  question.points.assign(points, points + 2 * count);
  question.labels.assign(labels, labels + count);
  question.has_box = box != nullptr;
  if (box != nullptr) std::copy(box, box + 4, question.box);
  return new Gate{samedge::GatedTracker(std::move(question), samedge::GateSettings(*options),
                                        static_cast<std::size_t>(logits)),
                  {}};
}

SAMEDGE_INTERNAL void internal_gate_free(void *gate) { delete static_cast<Gate *>(gate); }

SAMEDGE_INTERNAL std::int32_t internal_gate_update(void *gate, const std::uint8_t *mask, int height, int width,
                                                   double score, const float *logits, double time_s,
                                                   const std::int32_t *area) {
  Gate &held = *static_cast<Gate *>(gate);
  held.tracker.look(mask, height, width, 0, held.inside);
  const samedge::Area seen{area[0], area[1], area[2], area[3]};
  return static_cast<std::int32_t>(held.tracker.update(score, logits, time_s, seen, held.inside));
}

SAMEDGE_INTERNAL void internal_gate_lose(void *gate, const char *reason) {
  Gate &held = *static_cast<Gate *>(gate);
  held.tracker.lose(reason, held.inside);
}

SAMEDGE_INTERNAL const char *internal_gate_reason(void *gate) { return static_cast<Gate *>(gate)->tracker.reason(); }

// Number of points. first_logit: -1 if no logits are asked.
SAMEDGE_INTERNAL std::int32_t internal_gate_ask(void *gate, double *points, std::int32_t *labels,
                                                std::int32_t *has_box, float *first_logit) {
  const samedge::Question &question = static_cast<Gate *>(gate)->tracker.ask();
  std::copy(question.points.begin(), question.points.end(), points);
  std::copy(question.labels.begin(), question.labels.end(), labels);
  *has_box = question.has_box ? 1 : 0;
  *first_logit = question.has_logits ? question.logits.front() : -1.0F;
  return static_cast<std::int32_t>(question.labels.size());
}
