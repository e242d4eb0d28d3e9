// In place of the backend where it is not built.
#include "runtime/backend.hpp"

namespace samedge {

const Backend *tensorrt_backend() { return nullptr; }

}  // namespace samedge
