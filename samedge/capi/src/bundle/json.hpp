// JSON of a foreign file, read with its limits: samedge/files/numbers.py and the checks of
// samedge/bundle/sealing.py.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "bundle/limits.hpp"

namespace samedge {

struct JsonLimits {
  std::size_t values = kManifestValues;
  std::size_t depth = kManifestDepth;
};

// Throws Failure(BUNDLE) that begins with `name`: no JSON (RFC 8259, and nothing beyond it), a key that
// stands twice in one object, a number that is not finite, or more values or levels than are read. An
// integer beyond 18 digits, of which no reader here has a use, comes as 1e300 or -1e300.
nlohmann::json parsed_json(std::string_view text, const char *name, const JsonLimits &limits = {});

}  // namespace samedge
