#include "prompts/assemble.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr std::int32_t kNotAPoint = -1, kBackground = 0, kForeground = 1, kBoxFirst = 2, kBoxSecond = 3;

// "points, box, mask"
std::string kinds(const Family &family) {
  std::string names;
  const auto add = [&](bool takes, const char *name) {
    if (!takes) return;
    if (!names.empty()) names += ", ";
    names += name;
  };
  add(family.takes_points, "points");
  add(family.takes_boxes, "box");
  add(family.takes_masks, "mask");
  return names.empty() ? "none, and finds its objects by itself" : names;
}

// A list of prompts: `count` entries at `pointer`. Throws if there is a count without a list.
bool given(const void *pointer, std::int32_t count, const char *list, const char *number) {
  if (count < 0) fail(SAMEDGE_ERROR_PROMPT, "%s is %d; expected how many %s there are", number, count, list);
  if (pointer == nullptr && count > 0)
    fail(SAMEDGE_ERROR_PROMPT, "%s is NULL, but %s is %d; give both or neither", list, number, count);
  return pointer != nullptr && count > 0;
}

// What of a call's prompts is there.
struct Given {
  bool points, boxes, masks;
  int objects;

  Given(const samedge_prompts &prompts, const Family &family)
      : points(given(prompts.points, prompts.point_count, "points", "point_count")),
        boxes(prompts.boxes != nullptr),
        masks(given(prompts.masks, prompts.mask_count, "masks", "mask_count")),
        objects(object_count(&prompts)) {
    if (prompts.points == nullptr && (prompts.labels != nullptr || prompts.points_per_object != nullptr))
      fail(SAMEDGE_ERROR_PROMPT, "%s came without points; give points, x and y of each, with them",
           prompts.labels != nullptr ? "labels" : "points_per_object");
    if (prompts.masks != nullptr && prompts.mask_count == 0)
      fail(SAMEDGE_ERROR_PROMPT, "masks came with mask_count 0; expected 1 (for all objects) or %d", objects);
    check_taken(family, points, family.takes_points, "points");
    check_taken(family, boxes, family.takes_boxes, "box");
    check_taken(family, masks, family.takes_masks, "mask");
    if (family.takes_prompts() && !points && !boxes && !masks)
      fail(SAMEDGE_ERROR_PROMPT, "no prompt was given; %s takes: %s", family.title.c_str(), kinds(family).c_str());
    if (!family.takes_prompts() && objects != 1)
      fail(SAMEDGE_ERROR_PROMPT, "objects is %d; %s takes no prompts and finds its objects by itself: leave it at 0",
           objects, family.title.c_str());
  }

 private:
  static void check_taken(const Family &family, bool there, bool takes, const char *name) {
    if (there && !takes)
      fail(SAMEDGE_ERROR_PROMPT, "%s was not trained with a %s prompt; it takes: %s", family.title.c_str(), name,
           kinds(family).c_str());
  }
};

// Points lie on pixels of the frame (and crop); box corners may also lie on its far edge.
void check_inside(double x, double y, const FrameGeometry &geometry, bool corner) {
  const char *what = corner ? "box corner" : "point";
  if (!std::isfinite(x) || !std::isfinite(y))
    fail(SAMEDGE_ERROR_PROMPT, "a %s has a coordinate that is NaN or infinite; coordinates are x, y in px of the frame",
         what);
  const Crop &crop = geometry.crop;
  const bool beyond = corner ? x > crop.x1 || y > crop.y1 : x >= crop.x1 || y >= crop.y1;
  if (!beyond && x >= crop.x0 && y >= crop.y0) return;
  const bool whole = crop == Crop{0, 0, geometry.width, geometry.height};
  const char *to = corner ? "to" : "to below";
  fail(SAMEDGE_ERROR_PROMPT, "the %s (%g, %g) is outside the %s: x goes from %d %s %d, y from %d %s %d; coordinates "
       "are x, y in px of the frame", what, x, y, whole ? "frame" : "crop", crop.x0, to, crop.x1, crop.y0, to, crop.y1);
}

void check_points(const samedge_prompts &prompts, const FrameGeometry &geometry) {
  for (std::ptrdiff_t i = 0; i < prompts.point_count; ++i) {
    check_inside(prompts.points[2 * i], prompts.points[2 * i + 1], geometry, false);
    if (prompts.labels == nullptr) continue;
    const std::int32_t label = prompts.labels[i];
    if (label != kBackground && label != kForeground)
      fail(SAMEDGE_ERROR_PROMPT, "the label %d came; a label is 1 (inside the object) or 0 (outside)", label);
  }
}

void check_boxes(const double *boxes, int count, const FrameGeometry &geometry) {
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    const double *box = boxes + 4 * i;
    check_inside(box[0], box[1], geometry, true);
    check_inside(box[2], box[3], geometry, true);
    if (box[0] >= box[2] || box[1] >= box[3])
      fail(SAMEDGE_ERROR_PROMPT, "the box %g, %g, %g, %g is empty or turned round; expected x0 < x1 and y0 < y1",
           box[0], box[1], box[2], box[3]);
  }
}

void check_masks(const samedge_prompts &prompts, const Given &there, int low_res) {
  const int count = prompts.mask_count;
  // A single mask serves all objects, which something else has to tell apart.
  const bool shared = count == 1 && (there.points || there.boxes);
  if (count != there.objects && !shared)
    fail(SAMEDGE_ERROR_PROMPT, "the prompts disagree on the number of objects: objects is %d, mask_count %d; give "
         "every object one mask, or one with points or boxes for all", there.objects, count);
  const auto values = static_cast<std::size_t>(count) * static_cast<std::size_t>(low_res) *
                      static_cast<std::size_t>(low_res);
  bool fine = true;  // without a branch in the loop, so that it is vectorised; NaN fails both
  for (std::size_t i = 0; i < values; ++i)
    fine &= (prompts.masks[i] >= -kLargestLogit) & (prompts.masks[i] <= kLargestLogit);
  if (!fine)
    fail(SAMEDGE_ERROR_PROMPT, "the mask prompt has values that are NaN, or beyond %g, where no logits are: a mask "
         "prompt is low_res_logits of an earlier answer, not its masks", double{kLargestLogit});
}

}  // namespace

int object_count(const samedge_prompts *prompts) {
  if (prompts == nullptr) return 1;
  if (prompts->objects < 0 || prompts->objects > kMostObjects)
    fail(SAMEDGE_ERROR_PROMPT, "objects is %d; expected 0 or 1 for one object, or up to %d", prompts->objects,
         kMostObjects);
  return std::max(prompts->objects, 1);
}

void PromptAssembler::measure(const samedge_prompts &prompts, int objects, bool points, bool boxes) {
  lengths_.assign(static_cast<std::size_t>(objects), 0);
  firsts_.assign(static_cast<std::size_t>(objects), 0);
  if (!points) return;
  const int count = prompts.point_count;
  if (count > kMostPoints)
    fail(SAMEDGE_ERROR_PROMPT, "the prompt has %d points; at most %d are read", count, kMostPoints);
  if (prompts.points_per_object == nullptr && count % objects != 0)
    fail(SAMEDGE_ERROR_PROMPT, "%d points came for %d objects; say in points_per_object how many each has", count,
         objects);
  std::int64_t sum = 0;
  for (int i = 0; i < objects; ++i) {
    const int length = prompts.points_per_object == nullptr ? count / objects : prompts.points_per_object[i];
    if (length < 0 || length > kMostPointsPerObject)
      fail(SAMEDGE_ERROR_PROMPT, "object %d has %d points; expected 0 to %d", i, length, kMostPointsPerObject);
    if (length == 0 && !boxes)
      fail(SAMEDGE_ERROR_PROMPT, "object %d has no point; give each object at least one", i);
    lengths_[static_cast<std::size_t>(i)] = length;
    firsts_[static_cast<std::size_t>(i)] = static_cast<int>(sum);
    sum += length;  // 1024 times 1024 at most
  }
  if (sum != count)
    fail(SAMEDGE_ERROR_PROMPT, "points_per_object adds up to %lld, but point_count is %d; they have to agree",
         static_cast<long long>(sum), count);
}

PromptGroup &PromptAssembler::next_group() {
  if (used_ == groups_.size()) groups_.emplace_back();
  PromptGroup &group = groups_[used_++];
  group.objects.clear();
  group.coords.clear();
  group.labels.clear();
  group.masks.clear();
  group.length = group.mask_count = 0;
  return group;
}

void PromptAssembler::add(PromptGroup &group, const samedge_prompts &prompts, int object, bool pad,
                          const FrameGeometry &geometry) const {
  const auto token = [&](float x, float y, std::int32_t label) {
    group.coords.push_back(x);
    group.coords.push_back(y);
    group.labels.push_back(label);
  };
  const auto corner = [&](const double *at, std::int32_t label) {
    const Corner place = geometry.network_corner(at[0], at[1]);
    token(place.x, place.y, label);
  };
  const auto at = static_cast<std::size_t>(object);
  for (int i = firsts_[at]; i < firsts_[at] + lengths_[at]; ++i) {
    const double *point = prompts.points + 2 * static_cast<std::ptrdiff_t>(i);
    token(geometry.network_x(point[0]), geometry.network_y(point[1]),
          prompts.labels == nullptr ? kForeground : prompts.labels[i]);
  }
  if (pad) token(0.0F, 0.0F, kNotAPoint);
  if (prompts.boxes != nullptr) {
    const double *box = prompts.boxes + 4 * static_cast<std::ptrdiff_t>(object);
    corner(box, kBoxFirst);
    corner(box + 2, kBoxSecond);
  }
  group.objects.push_back(object);
}

const std::vector<PromptGroup> &PromptAssembler::assemble(const Family &family, const FrameGeometry &geometry,
                                                          const samedge_prompts *given_prompts) {
  used_ = 0;
  const samedge_prompts none{};
  const samedge_prompts &prompts = given_prompts == nullptr ? none : *given_prompts;
  const Given there(prompts, family);
  if (!family.takes_prompts()) {
    next_group().objects.push_back(0);
    return groups_;
  }
  measure(prompts, there.objects, there.points, there.boxes);
  if (there.points) check_points(prompts, geometry);
  if (there.boxes) check_boxes(prompts.boxes, there.objects, geometry);
  if (there.masks) check_masks(prompts, there, geometry.low_res);
  order_.resize(lengths_.size());
  for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<int>(i);
  const auto length = [&](int object) { return lengths_[static_cast<std::size_t>(object)]; };
  std::sort(order_.begin(), order_.end(),
            [&](int a, int b) { return length(a) != length(b) ? length(a) < length(b) : a < b; });
  const auto mask_size = static_cast<std::size_t>(geometry.low_res) * static_cast<std::size_t>(geometry.low_res);
  PromptGroup *group = nullptr;
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const int object = order_[i], points = length(object);
    const bool pad = family.always_pad || (!there.boxes && points > 0);
    if (group == nullptr || points != length(order_[i - 1])) {
      group = &next_group();
      group->length = points + (pad ? 1 : 0) + (there.boxes ? 2 : 0);
      if (there.masks && prompts.mask_count == 1) {
        group->masks.assign(prompts.masks, prompts.masks + mask_size);
        group->mask_count = 1;
      }
    }
    add(*group, prompts, object, pad, geometry);
    if (there.masks && prompts.mask_count > 1) {
      const float *mask = prompts.masks + static_cast<std::size_t>(object) * mask_size;
      group->masks.insert(group->masks.end(), mask, mask + mask_size);
      ++group->mask_count;
    }
  }
  return groups_;
}

}  // namespace samedge
