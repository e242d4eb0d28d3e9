// An object of a manifest and where it stands, for messages: samedge/bundle/parsing.py's _Node.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

namespace samedge {

class Node {
 public:
  // Throws Failure(BUNDLE): `data` is no object. It has to outlive the node.
  Node(const nlohmann::json &data, std::string where);

  const nlohmann::json &data() const noexcept { return *data_; }
  std::string at(const std::string &key) const;
  bool has(const std::string &key) const { return data_->contains(key); }

  // All of these throw Failure(BUNDLE), which says what came and what was expected.
  const nlohmann::json &get(const std::string &key) const;
  Node node(const std::string &key) const;
  const std::string &text(const std::string &key) const;  // one line of printable text
  std::int64_t count(const std::string &key, std::int64_t low, std::int64_t high) const;
  double number(const std::string &key) const;
  bool flag(const std::string &key) const;
  const nlohmann::json &list(const std::string &key) const;
  // Which of the words it is.
  std::size_t choice(const std::string &key, std::initializer_list<const char *> words) const;

  [[noreturn]] void refuse(const std::string &key, const char *wanted, const nlohmann::json &got) const;
  // The same where what came is told in words.
  [[noreturn]] void refuse_words(const std::string &key, const char *wanted, const std::string &got) const;

 private:
  const nlohmann::json *data_;
  std::string where_;
};

extern const char kExportAgain[];  // "; the bundle is damaged or was changed: export it again"

// Whether `value` is a number of moderate size; true and false are none.
bool is_number(const nlohmann::json &value) noexcept;
// Whether `value` is 64 small hexadecimal digits.
bool is_hex(const nlohmann::json &value) noexcept;
// Whether `value` is a whole number in a range.
bool is_count(const nlohmann::json &value, std::int64_t low, std::int64_t high) noexcept;
// A value for a message: the beginning of its JSON.
std::string shown_json(const nlohmann::json &value);

}  // namespace samedge
