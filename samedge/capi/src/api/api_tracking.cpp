// samedge_tracker_* and samedge_track: objects that are followed from frame to frame.
#include <memory>
#include <utility>

#include "api/objects.hpp"
#include "prompts/tracker.hpp"

namespace samedge {

namespace {

// A tracker and the session that it asks, whose calls it shares.
struct SharedTracker {
  SharedTracker(std::shared_ptr<SharedSession> shared, const samedge_prompts &prompts,
                const samedge_tracker_options &options)
      : session(std::move(shared)), tracker(session->session.model(), prompts, options) {}

  std::shared_ptr<SharedSession> session;
  Tracker tracker;
};

Handles<SharedTracker> &trackers() {
  static auto *handles = new Handles<SharedTracker>(3, "tracker");
  return *handles;
}

}  // namespace

}  // namespace samedge

using namespace samedge;  // NOLINT(google-build-using-namespace)

samedge_status samedge_tracker_options_default(samedge_tracker_options *options, size_t struct_size) {
  return guarded([&] { set_default(options, struct_size, "samedge_tracker_options"); });
}

samedge_status samedge_tracker_create(samedge_session *session, const samedge_prompts *prompts,
                                      const samedge_tracker_options *options, samedge_tracker **tracker) {
  return guarded([&] {
    required(tracker, "tracker") = nullptr;
    const std::shared_ptr<SharedSession> shared = sessions().get(session);
    const Use used(shared);
    const samedge_prompts asked = taken(prompts, "samedge_prompts");
    samedge_tracker_options chosen{};
    if (options != nullptr) chosen = taken(options, "samedge_tracker_options");
    auto made = std::make_shared<SharedTracker>(shared, asked, chosen);
    *tracker = static_cast<samedge_tracker *>(trackers().add(std::move(made)));
  });
}

samedge_status samedge_tracker_destroy(samedge_tracker *tracker) {
  return guarded([&] {
    if (tracker == nullptr) return;
    const Use idle(trackers().get(tracker)->session);
    trackers().remove(tracker);
  });
}

samedge_status samedge_track(samedge_tracker *tracker, const samedge_frame *frame, double time_s,
                             samedge_result *result, int32_t *verdicts, size_t verdicts_capacity) {
  return guarded([&] {
    const std::shared_ptr<SharedTracker> shared = trackers().get(tracker);
    const Use session(shared->session);
    try {
      const samedge_frame pixels = taken(frame, "samedge_frame");
      required(verdicts, "verdicts");
      into(result, [&](samedge_result &filled) {
        shared->tracker.track(*session, pixels, time_s, filled, verdicts, verdicts_capacity);
      });
    } catch (...) {
      session->forget();
      throw;
    }
  });
}

samedge_status samedge_tracker_lose(samedge_tracker *tracker) {
  return guarded([&] {
    const std::shared_ptr<SharedTracker> shared = trackers().get(tracker);
    const Use session(shared->session);
    shared->tracker.lose();
  });
}

samedge_status samedge_tracker_reason(samedge_tracker *tracker, int32_t object, const char **reason) {
  return guarded([&] {
    required(reason, "reason") = "";
    const std::shared_ptr<SharedTracker> shared = trackers().get(tracker);
    const Use session(shared->session);
    *reason = shared->tracker.reason(object);
  });
}

samedge_status samedge_tracker_point(samedge_tracker *tracker, int32_t object, double *x, double *y) {
  return guarded([&] {
    required(x, "x");
    required(y, "y");
    const std::shared_ptr<SharedTracker> shared = trackers().get(tracker);
    const Use session(shared->session);
    const Place place = shared->tracker.point(object);
    *x = place.x;
    *y = place.y;
  });
}
