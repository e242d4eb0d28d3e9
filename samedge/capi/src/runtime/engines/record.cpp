#include "runtime/engines/record.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/failure.hpp"

namespace samedge {

namespace {

using Json = nlohmann::json;

constexpr std::int64_t kSchema = 1;

enum class Type { text, text_or_null, number, flag, texts };
struct Field {
  const char *name;
  Type type;
};

const std::vector<Field> *fields_of(const std::string &kind) {
  static const std::map<std::string, std::vector<Field>> kinds = {
      {"nvidia",
       {{"graph", Type::text},
        {"precision", Type::text},
        {"graph_sha256", Type::text},
        {"backend", Type::text},
        {"version", Type::text},
        {"compute_capability", Type::number},
        {"gpu", Type::text_or_null}}},
      {"triton",
       {{"precision", Type::text},
        {"graphs_sha256", Type::text},
        {"format", Type::number},
        {"capabilities", Type::texts}}},
      {"openvino_graphs",
       {{"precision", Type::text},
        {"graphs_sha256", Type::text},
        {"format", Type::number},
        {"rewrites", Type::number},
        {"openvino", Type::text}}},
      {"openvino",
       {{"graph", Type::text},
        {"part", Type::text},
        {"precision", Type::text},
        {"computes", Type::text},
        {"threads", Type::number},
        {"profile", Type::flag},
        {"hint", Type::text},
        {"device", Type::text},
        {"openvino", Type::text},
        {"rewrites", Type::text},
        {"machine", Type::text},
        {"cpu", Type::text},
        {"features", Type::texts}}},
  };
  const auto found = kinds.find(kind);
  return found == kinds.end() ? nullptr : &found->second;
}

[[noreturn]] void damaged(const std::string &why) {
  fail(SAMEDGE_ERROR_NOT_SUPPORTED, "its record is damaged (%s)", why.c_str());
}

[[noreturn]] void wrong(const std::string &field) { damaged("'" + field + "' is missing, or no such value"); }

const Json &member(const Json &object, const char *name) {
  const auto found = object.find(name);
  if (found == object.end()) wrong(name);
  return *found;
}

std::string text_of(const Json &value, const std::string &where) {
  if (!value.is_string()) wrong(where);
  return value.get<std::string>();
}

// A whole number. Those beyond 64 bits are refused: no field needs them.
std::int64_t number_of(const Json &value, const std::string &where) {
  if (!value.is_number_integer()) wrong(where);
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    wrong(where);
  return value.get<std::int64_t>();
}

KeyField field_of(const Json &value, const Field &field) {
  switch (field.type) {
    case Type::text_or_null:
      if (value.is_null()) return std::monostate{};
      return text_of(value, field.name);
    case Type::text: return text_of(value, field.name);
    case Type::number: return number_of(value, field.name);
    case Type::flag:
      if (!value.is_boolean()) wrong(field.name);
      return value.get<bool>();
    case Type::texts: {
      if (!value.is_array()) wrong(field.name);
      std::vector<std::string> texts;
      for (const Json &item : value) texts.push_back(text_of(item, field.name));
      return texts;
    }
  }
  wrong(field.name);
}

// The report on an engine's layers, megabytes that nobody here reads, is left out while it is parsed.
Json parsed(std::string_view data) {
  const auto keep = [](int depth, Json::parse_event_t event, const Json &value) {
    return event != Json::parse_event_t::key || depth != 1 || value != "report";
  };
  try {
    return Json::parse(data.begin(), data.end(), keep);
  } catch (const Json::exception &) {
    damaged("it is no JSON, or is cut off");
  }
}

}  // namespace

bool EngineRecord::built_with(std::string_view option) const noexcept {
  return std::find(options.begin(), options.end(), option) != options.end();
}

std::optional<bool> EngineRecord::passed(std::string_view precision) const noexcept {
  for (const ParityRow &row : parity)
    if (row.precision == precision) return row.passed;
  return {};
}

EngineRecord parse_record(std::string_view data) {
  const Json document = parsed(data);
  if (!document.is_object()) damaged("it is no JSON object");
  const auto schema = document.find("schema");
  if (schema == document.end() || !schema->is_number_integer() || *schema != kSchema)
    damaged("it is of another version of samedge");

  EngineRecord record;
  const Json &engine = member(document, "engine");
  if (!engine.is_object()) wrong("engine");
  record.sha256 = text_of(member(engine, "sha256"), "engine.sha256");
  const auto hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (record.sha256.size() != 64 || !std::all_of(record.sha256.begin(), record.sha256.end(), hexadecimal))
    wrong("engine.sha256");
  const std::int64_t size = number_of(member(engine, "bytes"), "engine.bytes");
  if (size < 0) wrong("engine.bytes");
  record.size = static_cast<std::uint64_t>(size);

  // Records of NVIDIA engines are older than the other kinds and name none.
  record.kind = document.contains("kind") ? text_of(document["kind"], "kind") : "nvidia";
  const std::vector<Field> *fields = fields_of(record.kind);
  if (fields == nullptr) damaged("it is of an unknown kind " + shown(record.kind));
  for (const Field &field : *fields) {
    const auto value = document.find(field.name);
    record.key[field.name] = field_of(value == document.end() ? Json() : *value, field);
  }

  const Json &options = member(document, "options");
  if (!options.is_object()) wrong("options");
  for (const auto &option : options.items())
    if (option.value().is_boolean() && option.value().get<bool>()) record.options.push_back(option.key());
  const Json &parity = member(document, "parity");
  if (!parity.is_array()) wrong("parity");
  for (const Json &row : parity) {
    if (!row.is_object()) wrong("parity");
    const Json &passed = member(row, "passed");
    if (!passed.is_boolean()) wrong("parity.passed");
    record.parity.push_back({text_of(member(row, "backend"), "parity.backend"),
                             text_of(member(row, "precision"), "parity.precision"), passed.get<bool>()});
  }
  return record;
}

}  // namespace samedge
