// What was given in the place of a bundle, and what to do with it: samedge/bundle/mistaken.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace samedge {

// What the file is instead of a bundle, with the way on; "" if it may be a bundle.
// path: as the user gave it. head: its first 512 bytes, or all it has. size: in bytes.
std::string mistaken_for_a_bundle(const std::string &path, std::string_view head, std::uint64_t size);

}  // namespace samedge
