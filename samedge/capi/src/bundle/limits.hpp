// What a file of a bundle may ask for: samedge/files/limits.py. tests/capi/test_limits.py compares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace samedge {

constexpr std::size_t kMB = 1000000;
constexpr std::size_t kManifestBytes = 4 * kMB;
constexpr std::size_t kManifestValues = 200000;
constexpr std::size_t kManifestDepth = 32;
constexpr std::size_t kManifestDigits = 4300;  // of an integer, as Python reads them
constexpr std::int64_t kNetworkSide = 4096;
constexpr std::int64_t kNetworkValues = std::int64_t{1} << 27;
constexpr std::int64_t kLowRes = 1024;
constexpr std::int64_t kChannels = 4096;
constexpr std::size_t kNetworkMasks = 64;
constexpr std::uint64_t kFileBytes = std::uint64_t{1} << 48;
constexpr std::uint64_t kSelfTestBytes = 256 * kMB;  // of all of a bundle, unpacked
constexpr std::uint64_t kBundleTimes = 20;           // that a zipped bundle may grow ...
constexpr std::uint64_t kSmallBytes = 64 * kMB;      // ... beyond this
constexpr std::uint64_t kGraphParts = 1000000;       // numbers, names, nodes
constexpr std::size_t kGraphNameBytes = 500;
constexpr std::size_t kGraphAxes = 8;

}  // namespace samedge
