// The record beside a stored engine: samedge/runtime/engines/records.py and keys.py.
//
// It says what the engine is for, its SHA-256, how it was built and what a parity gate said. Reading is
// strict: a record is right in every part, or it is no record.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bundle/manifest.hpp"

namespace samedge {

// A field of a key. monostate: null.
using KeyField = std::variant<std::monostate, bool, std::int64_t, std::string, std::vector<std::string>>;

struct EngineRecord {
  std::string kind;                         // "nvidia", "triton", "openvino_graphs" or "openvino"
  std::map<std::string, KeyField> key;      // all fields of that kind, each of its type
  std::string sha256;                       // of the engine
  std::uint64_t size = 0;                   // of the engine, bytes
  std::vector<std::string> options;         // those that were turned on, "version_compatible"
  std::vector<ParityRow> parity;

  // Fields of the key, which must be there and of this type; see the table in record.cpp.
  const std::string &text(const char *field) const { return std::get<std::string>(key.at(field)); }
  std::int64_t number(const char *field) const { return std::get<std::int64_t>(key.at(field)); }
  bool flag(const char *field) const { return std::get<bool>(key.at(field)); }
  const std::vector<std::string> &texts(const char *field) const {
    return std::get<std::vector<std::string>>(key.at(field));
  }

  bool built_with(std::string_view option) const noexcept;
  // What the parity gate said in a precision; nothing if it was not tried.
  std::optional<bool> passed(std::string_view precision) const noexcept;
};

// A record out of its file's bytes. Throws Failure(NOT_SUPPORTED): it is damaged; with the part that is
// wrong, as the end of a sentence about the engine ("its record is damaged (...)").
EngineRecord parse_record(std::string_view data);

}  // namespace samedge
