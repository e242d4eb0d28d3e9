// The log, which goes where samedge_set_log_callback said, or nowhere.
#pragma once

#include "samedge.h"

namespace samedge {

void set_log(samedge_log_callback callback, void *user) noexcept;

// Nothing of a frame or a prompt may be in a message. Not for the path of every frame: it allocates.
[[gnu::format(printf, 2, 3)]] void log(int level, const char *format, ...) noexcept;

}  // namespace samedge
