// samedge_self_test: the parity gate of `samedge verify`, on this machine and engine.
#include "api/objects.hpp"
#include "runtime/self_test.hpp"

using namespace samedge;  // NOLINT(google-build-using-namespace)

samedge_status samedge_self_test(samedge_model *model, samedge_self_test_report *report) {
  return guarded([&] {
    const std::shared_ptr<Model> found = models().get(model);
    if (report != nullptr) static_cast<void>(taken(report, "samedge_self_test_report"));
    const samedge_self_test_report filled = self_test(found);
    if (report != nullptr) given_back(report, filled);
    check_passed(filled, *found);
  });
}
