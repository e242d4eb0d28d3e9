// SHA-256 of what lies in memory.
#pragma once

#include <cstddef>
#include <string>

namespace samedge {

// 64 small hexadecimal digits. Throws Failure(INTERNAL): OpenSSL refuses (a build without SHA-256).
std::string sha256_hex(const void *data, std::size_t size);

}  // namespace samedge
