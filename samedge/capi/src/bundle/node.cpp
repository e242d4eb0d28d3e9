#include "bundle/node.hpp"

#include <cmath>
#include <cstring>

#include "base/failure.hpp"
#include "bundle/names.hpp"
#include "bundle/printable.hpp"

namespace samedge {

using nlohmann::json;

const char kExportAgain[] = "; the bundle is damaged or was changed: export it again";

bool is_number(const json &value) noexcept {
  return value.is_number() && std::fabs(value.get<double>()) < 1e12;
}

bool is_hex(const json &value) noexcept {
  const auto *text = value.get_ptr<const json::string_t *>();
  return text != nullptr && text->size() == 64 &&
         text->find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_count(const json &value, std::int64_t low, std::int64_t high) noexcept {
  if (const auto *number = value.get_ptr<const json::number_unsigned_t *>())
    return high >= 0 && *number <= static_cast<std::uint64_t>(high) &&
           (low <= 0 || *number >= static_cast<std::uint64_t>(low));
  const auto *number = value.get_ptr<const json::number_integer_t *>();
  return number != nullptr && low <= *number && *number <= high;
}

std::string shown_json(const json &value) {
  return shown(value.dump(-1, ' ', false, json::error_handler_t::replace), 80);
}

Node::Node(const json &data, std::string where) : data_(&data), where_(std::move(where)) {
  if (!data.is_object())
    fail(SAMEDGE_ERROR_BUNDLE, "%s: '%s' is %s, expected an object%s", kManifestFile,
         where_.empty() ? kManifestFile : shown(where_).c_str(), shown_json(data).c_str(), kExportAgain);
}

std::string Node::at(const std::string &key) const { return where_.empty() ? key : where_ + "." + key; }

void Node::refuse_words(const std::string &key, const char *wanted, const std::string &got) const {
  fail(SAMEDGE_ERROR_BUNDLE, "%s: '%s' is %s, expected %s%s", kManifestFile, shown(at(key)).c_str(),
       got.c_str(), wanted, kExportAgain);
}

void Node::refuse(const std::string &key, const char *wanted, const json &got) const {
  refuse_words(key, wanted, shown_json(got));
}

const json &Node::get(const std::string &key) const {
  const auto found = data_->find(key);
  if (found == data_->end())
    fail(SAMEDGE_ERROR_BUNDLE, "%s has no '%s'%s", kManifestFile, shown(at(key)).c_str(), kExportAgain);
  return *found;
}

Node Node::node(const std::string &key) const { return {get(key), at(key)}; }

const std::string &Node::text(const std::string &key) const {
  const json &value = get(key);
  const auto *line = value.get_ptr<const json::string_t *>();
  if (line == nullptr || !is_line(*line, 1, 2000)) refuse(key, "one line of printable text", value);
  return *line;
}

std::int64_t Node::count(const std::string &key, std::int64_t low, std::int64_t high) const {
  const json &value = get(key);
  if (!is_count(value, low, high))
    refuse(key,
           samedge::text("%lld to %lld", static_cast<long long>(low), static_cast<long long>(high)).c_str(),
           value);
  return value.get<std::int64_t>();
}

double Node::number(const std::string &key) const {
  const json &value = get(key);
  if (!is_number(value)) refuse(key, "a number", value);
  return value.get<double>();
}

bool Node::flag(const std::string &key) const {
  const json &value = get(key);
  if (!value.is_boolean()) refuse(key, "true or false", value);
  return value.get<bool>();
}

const json &Node::list(const std::string &key) const {
  const json &value = get(key);
  if (!value.is_array()) refuse(key, "a list", value);
  return value;
}

std::size_t Node::choice(const std::string &key, std::initializer_list<const char *> words) const {
  const json &value = get(key);
  std::string wanted = "one of ";
  std::size_t index = 0;
  for (const char *word : words) {
    if (value.is_string() && value.get_ref<const json::string_t &>() == word) return index;
    wanted += index++ == 0 ? "" : ", ";
    wanted += word;
  }
  refuse(key, wanted.c_str(), value);
}

}  // namespace samedge
