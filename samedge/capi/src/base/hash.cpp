#include "base/hash.hpp"

#include <openssl/evp.h>

#include <array>

#include "base/failure.hpp"

namespace samedge {

std::string sha256_hex(const void *data, std::size_t size) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (EVP_Digest(data, size, digest.data(), &length, EVP_sha256(), nullptr) != 1 || length != 32)
    fail(SAMEDGE_ERROR_INTERNAL, "OpenSSL's libcrypto computes no SHA-256 here; install one that does");
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (unsigned int i = 0; i < length; ++i) {
    text += kDigits[digest[i] >> 4U];
    text += kDigits[digest[i] & 15U];
  }
  return text;
}

}  // namespace samedge
