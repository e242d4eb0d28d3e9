#include "bundle/json.hpp"

#include <string>
#include <vector>

#include "base/failure.hpp"

namespace samedge {

namespace {

using nlohmann::json;

constexpr std::size_t kPlainDigits = 18;  // every integer of so many digits fits into 64 bits

bool is_digit(char byte) noexcept { return byte >= '0' && byte <= '9'; }

// `text` with its longest integers shortened: nlohmann makes floats of those beyond 64 bits and refuses
// those beyond a float, where Python reads integers of any size.
std::string shortened(std::string_view text, bool &too_long) {
  std::string made;
  std::size_t copied = 0;
  bool quoted = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (quoted) {
      if (text[at] == '\\') ++at;
      else if (text[at] == '"') quoted = false;
      continue;
    }
    if (text[at] == '"') quoted = true;
    if (!is_digit(text[at])) continue;
    std::size_t end = at;
    while (end < text.size() && is_digit(text[end])) ++end;
    const bool whole = end == text.size() || (text[end] != '.' && text[end] != 'e' && text[end] != 'E');
    const std::size_t digits = end - at;
    if (!whole) {  // the rest of a float has no integer
      while (end < text.size() && (is_digit(text[end]) || text[end] == '.' || text[end] == 'e' ||
                                   text[end] == 'E' || text[end] == '+' || text[end] == '-'))
        ++end;
    } else if (digits > kPlainDigits && text[at] != '0') {
      if (digits > kManifestDigits) too_long = true;
      made.append(text, copied, at - copied);
      made += "1e300";
      copied = end;
    }
    at = end - 1;
  }
  if (copied != 0) made.append(text, copied, text.size() - copied);
  return made;
}

// Builds the value; stops at the first limit.
class Builder : public nlohmann::json_sax<json> {
 public:
  explicit Builder(const JsonLimits &limits) : limits_(limits) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t &) override { return add(value); }
  bool string(string_t &value) override { return add(std::move(value)); }
  bool binary(binary_t &) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t &value) override {
    if (open_.back()->contains(value)) return stop("a key stands twice in one object");
    key_ = std::move(value);
    return true;
  }

  bool parse_error(std::size_t position, const std::string &, const nlohmann::detail::exception &) override {
    return stop(text("byte %zu", position));
  }

  const std::string &why() const noexcept { return why_; }
  json &value() noexcept { return value_; }

 private:
  bool stop(std::string why) {
    why_ = std::move(why);
    return false;
  }

  bool room() {
    if (++count_ > limits_.values) return stop(text("more than %zu values", limits_.values));
    if (open_.size() >= limits_.depth) return stop(text("more than %zu levels deep", limits_.depth));
    return true;
  }

  json *put(json value) {
    if (open_.empty()) {
      value_ = std::move(value);
      return &value_;
    }
    json &outer = *open_.back();
    if (outer.is_object()) return &(outer[key_] = std::move(value));
    outer.push_back(std::move(value));
    return &outer.back();
  }

  bool add(json value) {
    if (!room()) return false;
    put(std::move(value));
    return true;
  }

  bool open(json value) {
    if (!room()) return false;
    open_.push_back(put(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  JsonLimits limits_;
  std::size_t count_ = 0;
  json value_;
  std::vector<json *> open_;
  std::string key_, why_;
};

[[noreturn]] void refuse(const char *name, const std::string &why) {
  fail(SAMEDGE_ERROR_BUNDLE,
       "%s is not valid JSON (%s); the bundle is damaged or was changed: export it again", name, why.c_str());
}

}  // namespace

json parsed_json(std::string_view given, const char *name, const JsonLimits &limits) {
  // Two things that nlohmann's reader takes and JSON does not have: a byte order mark, and an end at
  // the first zero byte, whatever follows.
  if (given.substr(0, 3) == "\xEF\xBB\xBF") refuse(name, "it begins with a byte order mark");
  if (given.find('\0') != std::string_view::npos) refuse(name, "it has a zero byte");
  bool too_long = false;
  const std::string shorter = shortened(given, too_long);
  if (too_long) refuse(name, text("a number of more than %zu digits", kManifestDigits));
  const std::string_view data = shorter.empty() ? given : std::string_view(shorter);
  Builder builder(limits);
  if (!json::sax_parse(data.begin(), data.end(), &builder))
    refuse(name, builder.why().empty() ? "damaged" : builder.why());
  return std::move(builder.value());
}

}  // namespace samedge
