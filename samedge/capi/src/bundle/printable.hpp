// Text that may go to terminals and logs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace samedge {

// Whether Python's str.isprintable() holds for a code point.
bool is_printable(std::uint32_t point) noexcept;

// Whether `text`, which is UTF-8, is printable and has `least` to `most` characters.
bool is_line(const std::string &text, std::size_t least, std::size_t most) noexcept;

}  // namespace samedge
