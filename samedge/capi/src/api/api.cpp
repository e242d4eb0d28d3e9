// The functions of samedge.h, but for tracking, versions and the self-test.
#include <algorithm>
#include <string>

#include "api/objects.hpp"
#include "base/log.hpp"

namespace samedge {

namespace {

// The last message of a thread, and room for it when there is no memory.
thread_local std::string last_error;  // NOLINT(cert-err58-cpp): an empty string does not throw

template <typename T>
std::int32_t flag(T value) noexcept {
  return value ? 1 : 0;
}

// Prompts that may be NULL.
const samedge_prompts *optional_prompts(const samedge_prompts *given, samedge_prompts &copy) {
  if (given == nullptr) return nullptr;
  copy = taken(given, "samedge_prompts");
  return &copy;
}

}  // namespace

samedge_status remember(samedge_status status, const char *message) noexcept {
  try {
    last_error = message;
  } catch (...) {
    last_error.clear();  // the status alone has to do
  }
  return status;
}

Handles<Model> &models() {
  static auto *handles = new Handles<Model>(1, "model");  // lives to the end: threads may outlive main
  return *handles;
}

Handles<SharedSession> &sessions() {
  static auto *handles = new Handles<SharedSession>(2, "session");
  return *handles;
}

}  // namespace samedge

using namespace samedge;  // NOLINT(google-build-using-namespace): the C functions stand outside of it

const char *samedge_last_error(void) { return last_error.c_str(); }

samedge_status samedge_set_log_callback(samedge_log_callback callback, void *user) {
  return guarded([&] { set_log(callback, user); });
}

samedge_status samedge_model_options_default(samedge_model_options *options, size_t struct_size) {
  return guarded([&] { set_default(options, struct_size, "samedge_model_options"); });
}

samedge_status samedge_model_open(const char *path, const samedge_model_options *options,
                                  samedge_model **model) {
  return guarded([&] {
    required(model, "model") = nullptr;
    required(path, "path");
    samedge_model_options chosen{};
    if (options != nullptr) chosen = taken(options, "samedge_model_options");
    *model = static_cast<samedge_model *>(models().add(Model::open(path, chosen)));
  });
}

samedge_status samedge_model_close(samedge_model *model) {
  return guarded([&] {
    if (model != nullptr) models().remove(model);
  });
}

samedge_status samedge_model_get_info(samedge_model *model, samedge_model_info *info) {
  return guarded([&] {
    const std::shared_ptr<Model> found = models().get(model);
    samedge_model_info filled = taken(info, "samedge_model_info");
    const Family &family = found->family();
    const Shape &embedding = found->embedding_shape();
    filled.backend = found->backend().number();
    filled.precision = static_cast<std::int32_t>(found->options().precision);
    filled.threads = found->options().threads;
    filled.input_size = found->manifest().variant.input_size;
    filled.low_res = found->manifest().variant.low_res;
    filled.embedding_size = static_cast<std::int32_t>(embedding.elements() / static_cast<std::size_t>(family.slices));
    filled.slices = family.slices;
    filled.whole_volume = flag(family.whole_volume);
    filled.takes = (family.takes_points ? SAMEDGE_TAKES_POINTS : 0) |
                   (family.takes_boxes ? SAMEDGE_TAKES_BOXES : 0) |
                   (family.takes_masks ? SAMEDGE_TAKES_MASKS : 0);
    filled.takes_grey16 = flag(!family.rounded());
    filled.classes = static_cast<std::int32_t>(family.classes.size());
    filled.single_masks = std::max(filled.classes, 1);
    filled.multi_masks = static_cast<std::int32_t>(family.multi_masks.size());
    filled.exclusive = flag(family.exclusive);
    filled.family = family.name.c_str();
    filled.title = found->manifest().title.c_str();
    filled.device = found->device().c_str();
    filled.why = found->why().c_str();
    filled.notes = found->notes().c_str();
    given_back(info, filled);
  });
}

samedge_status samedge_class_name(samedge_model *model, int32_t index, const char **name) {
  return guarded([&] {
    required(name, "name") = nullptr;
    const std::shared_ptr<Model> found = models().get(model);
    const auto &classes = found->family().classes;
    if (index < 0 || static_cast<std::size_t>(index) >= classes.size())
      fail(SAMEDGE_ERROR_ARGUMENT, "there is no class %d; this model has %zu", index, classes.size());
    *name = classes[static_cast<std::size_t>(index)].c_str();
  });
}

samedge_status samedge_session_create(samedge_model *model, samedge_session **session) {
  return guarded([&] {
    required(session, "session") = nullptr;
    auto made = std::make_shared<SharedSession>(models().get(model));
    *session = static_cast<samedge_session *>(sessions().add(std::move(made)));
  });
}

samedge_status samedge_session_destroy(samedge_session *session) {
  return guarded([&] {
    if (session == nullptr) return;
    const Use idle(sessions().get(session));
    sessions().remove(session);
  });
}

samedge_status samedge_set_frame(samedge_session *session, const samedge_frame *frame) {
  return guarded([&] {
    computing(session, [&](Session &used) { used.set_frame(taken(frame, "samedge_frame")); });
  });
}

samedge_status samedge_predict(samedge_session *session, const samedge_prompts *prompts,
                               samedge_result *result) {
  return guarded([&] {
    computing(session, [&](Session &used) {
      samedge_prompts copy;
      const samedge_prompts *asked = optional_prompts(prompts, copy);
      into(result, [&](samedge_result &filled) { used.predict(asked, filled); });
    });
  });
}

samedge_status samedge_segment(samedge_session *session, const samedge_frame *frame,
                               const samedge_prompts *prompts, samedge_result *result) {
  return guarded([&] {
    computing(session, [&](Session &used) {
      const samedge_frame pixels = taken(frame, "samedge_frame");
      samedge_prompts copy;
      const samedge_prompts *asked = optional_prompts(prompts, copy);
      into(result, [&](samedge_result &filled) { used.segment(pixels, asked, filled); });
    });
  });
}

samedge_status samedge_get_embedding(samedge_session *session, float *embedding, size_t capacity) {
  return guarded([&] {
    const Use used(sessions().get(session));
    required(embedding, "embedding");
    used->embedding(embedding, capacity);
  });
}

samedge_status samedge_get_contours(samedge_session *session, int32_t index, samedge_contours *contours) {
  return guarded([&] {
    const Use used(sessions().get(session));
    samedge_contours filled = taken(contours, "samedge_contours");
    const Answer &answer = used->answer();
    if (index < 0 || static_cast<std::size_t>(index) >= answer.masks.size())
      fail(SAMEDGE_ERROR_ARGUMENT, "there is no mask %d; the answer has %zu", index, answer.masks.size());
    Outliner &outliner = used->outliner();
    outliner.trace(answer.masks[static_cast<std::size_t>(index)].mask, answer.height, answer.width);
    const auto &points = outliner.points();
    const auto &outlines = outliner.outlines();
    filled.point_count = static_cast<std::int32_t>(points.size() / 2);
    filled.contour_count = static_cast<std::int32_t>(outlines.size());
    given_back(contours, filled);
    if ((filled.points != nullptr && filled.points_capacity < points.size()) ||
        (filled.starts != nullptr && filled.starts_capacity < outlines.size()) ||
        (filled.holes != nullptr && filled.holes_capacity < outlines.size()))
      fail(SAMEDGE_ERROR_BUFFER, "mask %d has %zu outlines of %zu points together: a buffer is too small", index,
           outlines.size(), points.size() / 2);
    if (filled.points != nullptr) std::copy(points.begin(), points.end(), filled.points);
    for (std::size_t i = 0; i < outlines.size(); ++i) {
      if (filled.starts != nullptr) filled.starts[i] = outlines[i].start;
      if (filled.holes != nullptr) filled.holes[i] = outlines[i].hole ? 1 : 0;
    }
  });
}

samedge_status samedge_get_timing(samedge_session *session, samedge_timing *timing) {
  return guarded([&] {
    const Use used(sessions().get(session));
    samedge_timing filled = used->timing();
    static_cast<void>(taken(timing, "samedge_timing"));
    given_back(timing, filled);
  });
}

samedge_status samedge_get_notes(samedge_session *session, const char **notes) {
  return guarded([&] {
    required(notes, "notes") = "";
    const Use used(sessions().get(session));
    *notes = used->notes();
  });
}
