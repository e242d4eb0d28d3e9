// samedge_backend_check: what this library can do here, before a bundle is opened.
#include <optional>
#include <string>

#include "api/guard.hpp"
#include "runtime/backend.hpp"

using namespace samedge;  // NOLINT(google-build-using-namespace): the C functions stand outside of it

samedge_status samedge_backend_check(int32_t backend) {
  return guarded([&] {
    if (backend < SAMEDGE_BACKEND_AUTO || backend > SAMEDGE_BACKEND_OPENVINO)
      fail(SAMEDGE_ERROR_ARGUMENT, "%d is no backend; expected SAMEDGE_BACKEND_AUTO (0) to "
           "SAMEDGE_BACKEND_OPENVINO (3)", backend);
    std::string reasons;
    for (const Backend *one : backends()) {
      if (backend != SAMEDGE_BACKEND_AUTO && one->number() != backend) continue;
      const std::optional<std::string> reason = one->unavailable();
      if (!reason.has_value()) return;
      reasons += std::string(reasons.empty() ? "" : "; ") + one->name() + ": " + *reason;
    }
    if (reasons.empty())
      reasons = "this libsamedge was built without it; build it again with it (docs/embedding.md), or take "
                "SAMEDGE_BACKEND_AUTO";
    fail(SAMEDGE_ERROR_NOT_SUPPORTED, "%s", reasons.c_str());
  });
}
