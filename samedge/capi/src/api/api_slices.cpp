// samedge_segment_slices: an array of pointers to structs of any age.
#include <vector>

#include "api/objects.hpp"

using namespace samedge;  // NOLINT(google-build-using-namespace)

samedge_status samedge_segment_slices(samedge_session *session, const samedge_frame *frame,
                                      const samedge_prompts *const *prompts,
                                      samedge_result *const *results) {
  return guarded([&] {
    computing(session, [&](Session &used) {
      const samedge_frame pixels = taken(frame, "samedge_frame");
      required(results, "results");
      const int depth = pixels.slices > 1 ? pixels.slices : 1;
      if (depth > 16384)
        fail(SAMEDGE_ERROR_FRAME, "the volume has %d slices; at most 16384 are read", depth);
      const auto count = static_cast<std::size_t>(depth);
      std::vector<samedge_prompts> asked(prompts == nullptr ? 0 : count);
      std::vector<samedge_result> filled(count);
      std::vector<const samedge_prompts *> asked_at;
      std::vector<samedge_result *> filled_at;
      for (std::size_t i = 0; i < count; ++i) {
        filled[i] = taken(results[i], "samedge_result");
        filled_at.push_back(&filled[i]);
        if (prompts == nullptr) continue;
        asked[i] = taken(prompts[i], "samedge_prompts");
        asked_at.push_back(&asked[i]);
      }
      const auto give_back = [&] {
        for (std::size_t i = 0; i < count; ++i) given_back(results[i], filled[i]);
      };
      try {
        used.segment_slices(pixels, prompts == nullptr ? nullptr : asked_at.data(), filled_at.data());
      } catch (...) {
        give_back();
        throw;
      }
      give_back();
    });
  });
}
