#include "bundle/names.hpp"

#include <algorithm>

namespace samedge {

namespace {

constexpr std::size_t kMaxDepth = 4;
constexpr std::size_t kMaxPart = 100;

bool is_plain(char byte) noexcept {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
}

bool is_part(const std::string &part) noexcept {
  return !part.empty() && part.size() <= kMaxPart && is_plain(part[0]) &&
         std::all_of(part.begin(), part.end(), [](char byte) {
           return is_plain(byte) || byte == '.' || byte == '_' || byte == '+' || byte == '-';
         });
}

}  // namespace

std::vector<std::string> parts_of(const std::string &name) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (std::size_t end = name.find('/'); end != std::string::npos; end = name.find('/', start)) {
    parts.push_back(name.substr(start, end - start));
    start = end + 1;
  }
  parts.push_back(name.substr(start));
  return parts;
}

bool is_safe_name(const std::string &name) {
  if (name.size() > kMaxDepth * (kMaxPart + 1)) return false;
  const std::vector<std::string> parts = parts_of(name);
  return parts.size() <= kMaxDepth && std::all_of(parts.begin(), parts.end(), is_part);
}

bool begins_with(std::string_view text, std::string_view with) noexcept {
  return text.substr(0, with.size()) == with;
}

bool ends_with(std::string_view text, std::string_view with) noexcept {
  return text.size() >= with.size() && text.substr(text.size() - with.size()) == with;
}

std::string lower(std::string text) {
  for (char &byte : text)
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte - 'A' + 'a');
  return text;
}

}  // namespace samedge
