// Names of the files inside a bundle: none of them leads out of its folder. samedge/bundle/names.py.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace samedge {

inline constexpr const char kManifestFile[] = "manifest.json";
inline constexpr const char kEnginesFolder[] = "engines";
inline constexpr const char kSelfTestFolder[] = "selftest/";
inline constexpr const char kSelfTestEnding[] = ".npz";

// The parts of a name between its slashes, empty ones as well.
std::vector<std::string> parts_of(const std::string &name);

// Whether `name` is relative and of up to four parts of ASCII letters, digits and ._+- that begin with a
// letter or digit.
bool is_safe_name(const std::string &name);

bool begins_with(std::string_view text, std::string_view with) noexcept;
bool ends_with(std::string_view text, std::string_view with) noexcept;

// `text` with small ASCII letters.
std::string lower(std::string text);

}  // namespace samedge
