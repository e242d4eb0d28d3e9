// JSON -> plan, strictly: every key is known and of its type, every number in its range, nothing is missing.
// samedge/runtime/triton/plan_json.py.
#include "runtime/triton/plan.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/failure.hpp"

namespace samedge {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostText = 500;  // characters
constexpr std::size_t kMostAxes = 8;
constexpr int kDeepest = 32;  // expressions inside each other
constexpr std::int64_t kMostSide = (std::int64_t{1} << 31) - 1;

// A value for a message: what is inside of a list or an object may be as deep as it likes.
std::string described(const Json &value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return text("a list of %zu", value.size());
  if (value.is_string()) return "'" + shown(value.get_ref<const std::string &>(), 100) + "'";
  return value.dump();
}

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool is_name(const std::string &value) noexcept {
  return !value.empty() && value.size() <= 64 && is_letter(value[0]) &&
         std::all_of(value.begin(), value.end(), [](char c) { return is_letter(c) || is_digit(c); });
}

bool is_symbol(const std::string &value) noexcept {
  return !value.empty() && (is_letter(value[0]) || value[0] == '$') &&
         std::all_of(value.begin(), value.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '$' || c == '.'; });
}

bool is_digest(const std::string &value) noexcept {
  return value.size() == 64 &&
         std::all_of(value.begin(), value.end(), [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
}

// One line of text without control characters, whose UTF-8 the parser has checked.
bool is_line(const std::string &value) noexcept {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const auto byte = static_cast<unsigned char>(value[i]);
    if (byte < 0x20 || byte == 0x7F) return false;
    if (byte == 0xC2 && static_cast<unsigned char>(value[i + 1]) < 0xA0) return false;  // C1
    if (byte == 0xE2 && static_cast<unsigned char>(value[i + 1]) == 0x80 &&
        (static_cast<unsigned char>(value[i + 2]) & 0xFEU) == 0xA8)
      return false;  // line and paragraph separator
    if ((byte & 0xC0U) != 0x80) ++characters;
  }
  return characters <= kMostText;
}

std::int64_t number_of(const Json &value, const std::string &where, std::int64_t low = 0,
                       std::int64_t high = kLargest) {
  const bool large = value.is_number_unsigned() &&
                     value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!value.is_number_integer() || large || value.get<std::int64_t>() < low || value.get<std::int64_t>() > high)
    wrong_plan(where, text("a whole number from %lld to %lld", static_cast<long long>(low), static_cast<long long>(high)),
               described(value));
  return value.get<std::int64_t>();
}

std::string digest_of(const Json &value, const std::string &where) {
  if (!value.is_string() || !is_digest(value.get_ref<const std::string &>()))
    wrong_plan(where, "64 hexadecimal digits", described(value));
  return value.get<std::string>();
}

std::string name_at(const Json &value, const std::string &where) {
  if (!value.is_string() || !is_name(value.get_ref<const std::string &>()))
    wrong_plan(where, "a name of letters, digits and _", described(value));
  return value.get<std::string>();
}

// An object whose keys are all known.
class Node {
 public:
  Node(const Json &data, std::string where, std::initializer_list<const char *> keys)
      : data_(data), where_(std::move(where)) {
    if (!data.is_object()) wrong_plan(where_.empty() ? "plan" : where_, "an object", described(data));
    for (const char *key : keys)
      if (data.find(key) == data.end()) wrong_plan(at(key), "a value", "nothing");
    if (data.size() == keys.size()) return;
    for (const auto &item : data.items())
      if (std::none_of(keys.begin(), keys.end(), [&](const char *key) { return item.key() == key; }))
        wrong_plan(at(shown(item.key(), 60)), "no such key", "one");
  }

  std::string at(const std::string &key) const { return where_.empty() ? key : where_ + "." + key; }
  const Json &any(const char *key) const { return *data_.find(key); }

  std::string line(const char *key, bool empty = false) const {
    const Json &value = any(key);
    if (!value.is_string() || !is_line(value.get_ref<const std::string &>()) ||
        (!empty && value.get_ref<const std::string &>().empty()))
      wrong_plan(at(key), "one line of printable text", described(value));
    return value.get<std::string>();
  }

  // Which of several words it is.
  template <std::size_t n>
  std::size_t choice(const char *key, const std::array<const char *, n> &choices) const {
    const Json &value = any(key);
    std::string all;
    for (std::size_t i = 0; i < n; ++i) {
      if (value.is_string() && value.get_ref<const std::string &>() == choices[i]) return i;
      all += (i == 0 ? "" : ", ") + std::string(choices[i]);
    }
    wrong_plan(at(key), "one of " + all, described(value));
  }

  std::int64_t number(const char *key, std::int64_t low = 0, std::int64_t high = kLargest) const {
    return number_of(any(key), at(key), low, high);
  }

  // A list, each value read by read(value, where).
  template <typename Read>
  void list(const char *key, std::size_t least, Read &&read) const {
    const Json &values = any(key);
    if (!values.is_array() || values.size() < least)
      wrong_plan(at(key), text("a list of %zu values or more", least), described(values));
    for (std::size_t i = 0; i < values.size(); ++i) read(values[i], at(key) + "[" + std::to_string(i) + "]");
  }

  // An object of any keys, each value read by read(name, value, where).
  template <typename Read>
  void table(const char *key, Read &&read) const {
    const Json &values = any(key);
    if (!values.is_object()) wrong_plan(at(key), "an object", described(values));
    for (const auto &item : values.items()) read(item.key(), item.value(), at(key) + "." + shown(item.key(), 60));
  }

 private:
  const Json &data_;
  std::string where_;
};

constexpr std::array<const char *, 7> kStored = {"fp32", "fp16", "bf16", "i8", "u8", "i32", "i64"};
constexpr std::array<const char *, 4> kPrecisions = {"fp32", "fp16", "bf16", "int8"};
constexpr std::array<const char *, 2> kGraphs = {"encoder", "decoder"};
constexpr std::array<const char *, 5> kPortTypes = {"uint8", "int32", "int64", "float16", "float32"};
constexpr std::array<Element, 5> kElements = {Element::u8, Element::i32, Element::i64, Element::f16, Element::f32};
constexpr std::array<const char *, 5> kArguments = {"arena", "weight", "port", "size", "null"};

class Reader {
 public:
  EnginePlan read(const Json &data) {
    const Node node(data, "", {"samedge", "bundle", "precision", "files", "constants", "weights_size", "weights",
                               "targets"});
    static_cast<void>(node.line("samedge"));
    plan_.bundle = node.line("bundle");
    plan_.precision = kPrecisions[node.choice("precision", kPrecisions)];
    node.table("files", [&](const std::string &name, const Json &value, const std::string &where) {
      plan_.files[name] = digest_of(value, where);
    });
    plan_.constants = digest_of(node.any("constants"), "constants");
    plan_.weights_size = node.number("weights_size");
    node.list("weights", 0, [&](const Json &value, const std::string &where) { weight(value, where); });
    node.list("targets", 1, [&](const Json &value, const std::string &where) { target(value, where); });
    return std::move(plan_);
  }

 private:
  Size size(const Json &value, const std::string &where, int depth = 0) {
    Size made;
    if (value.is_number_integer()) {
      made.value = number_of(value, where);
      return made;
    }
    if (value.is_string()) {
      made.kind = Size::Kind::name;
      made.value = plan_.sizes.name(name_at(value, where));
      return made;
    }
    if (depth == kDeepest)
      wrong_plan(where, text("at most %d expressions inside each other", kDeepest), "more");
    const std::string operation = value.is_array() && value.size() == 3 && value[0].is_string()
                                      ? value[0].get_ref<const std::string &>() : "";
    if (operation == "+") made.kind = Size::Kind::sum;
    else if (operation == "*") made.kind = Size::Kind::product;
    else if (operation == "/") made.kind = Size::Kind::quotient;
    else wrong_plan(where, "a number, a name or [operator, size, size]", described(value));
    if (made.kind == Size::Kind::quotient && (!value[2].is_number_integer() || value[2] == 0))
      wrong_plan(where, "a quotient by a number that is not 0", described(value));
    const Size a = size(value[1], where, depth + 1), b = size(value[2], where, depth + 1);
    std::vector<Size> &parts = plan_.sizes.parts;
    made.a = static_cast<std::uint32_t>(parts.size());
    parts.push_back(a);
    made.b = static_cast<std::uint32_t>(parts.size());
    parts.push_back(b);
    return made;
  }

  void weight(const Json &data, const std::string &where) {
    const Node node(data, where,
                    {"name", "file", "position", "stored", "shape", "strides", "scale", "dtype", "offset"});
    Weight made;
    node.list("shape", 0, [&](const Json &v, const std::string &at) { made.shape.push_back(number_of(v, at, 1)); });
    node.list("strides", 0, [&](const Json &v, const std::string &at) { made.strides.push_back(number_of(v, at)); });
    if (made.shape.size() != made.strides.size() || made.shape.size() > kMostAxes)
      wrong_plan(where, text("a stride for each of up to %zu sizes", kMostAxes), described(node.any("shape")));
    std::int64_t elements = 1;
    for (const std::int64_t side : made.shape)
      if (__builtin_mul_overflow(elements, side, &elements) || elements > kLargest)
        wrong_plan(where, text("at most %lld elements", static_cast<long long>(kLargest)), "more");
    const Json &scale = node.any("scale");
    const double factor = scale.is_number() ? std::fabs(scale.get<double>()) : 0.0;
    if (!(factor > 1e-30 && factor < 1e30))
      wrong_plan(node.at("scale"), "a finite number that is not 0", described(scale));
    made.scale = scale.get<double>();
    made.name = node.line("name");
    made.file = node.line("file", true);
    made.position = node.number("position");
    made.stored = static_cast<Stored>(node.choice("stored", kStored));
    made.dtype = static_cast<Stored>(node.choice("dtype", kStored));
    made.offset = node.number("offset");
    plan_.weights.push_back(std::move(made));
  }

  void target(const Json &data, const std::string &where) {
    const Node node(data, where, {"compute_capability", "kernels", "programs"});
    Target made;
    made.compute_capability = static_cast<int>(node.number("compute_capability", 10, 999));
    for (const Target &other : plan_.targets)
      if (other.compute_capability == made.compute_capability)
        wrong_plan("targets", "different compute capabilities", std::to_string(made.compute_capability) + " twice");
    node.list("kernels", 0, [&](const Json &v, const std::string &at) { made.kernels.push_back(kernel(v, at)); });
    node.list("programs", 1, [&](const Json &v, const std::string &at) { made.programs.push_back(program(v, at)); });
    plan_.targets.push_back(std::move(made));
  }

  static KernelCode kernel(const Json &data, const std::string &where) {
    const Node node(data, where,
                    {"name", "symbol", "position", "size", "sha256", "threads", "parameters", "resources"});
    const Node inner(node.any("resources"), node.at("resources"),
                     {"registers", "shared", "spilled", "tensor_core", "blocks"});
    KernelCode made;
    made.name = node.line("name");
    made.symbol = node.line("symbol");
    if (!is_symbol(made.symbol)) wrong_plan(node.at("symbol"), "the name of a function", described(node.any("symbol")));
    made.position = node.number("position");
    made.size = node.number("size", 1);
    made.sha256 = digest_of(node.any("sha256"), node.at("sha256"));
    made.threads = static_cast<int>(node.number("threads", 1, 1024));
    made.parameters = node.line("parameters", true);
    if (made.parameters.find_first_not_of("pi") != std::string::npos)
      wrong_plan(node.at("parameters"), "[pi]*", described(node.any("parameters")));
    static_cast<void>(inner.number("registers", 0, 255));
    made.shared = static_cast<int>(inner.number("shared", 0, 1 << 20));
    static_cast<void>(inner.number("spilled", 0, 1 << 30));
    static_cast<void>(inner.number("tensor_core", 0, 1 << 30));
    static_cast<void>(inner.number("blocks", 0, 64));
    return made;
  }

  Program program(const Json &data, const std::string &where) {
    const Node node(data, where, {"graph", "limits", "inputs", "outputs", "arena", "steps"});
    Program made;
    made.encoder = node.choice("graph", kGraphs) == 0;
    node.table("limits", [&](const std::string &name, const Json &value, const std::string &at) {
      if (!is_name(name)) wrong_plan(at, "a name of letters, digits and _", "another");
      made.limits.emplace_back(plan_.sizes.name(name), number_of(value, at, 1, kMostSide));
    });
    node.list("inputs", 1, [&](const Json &v, const std::string &at) { made.inputs.push_back(port(v, at)); });
    node.list("outputs", 1, [&](const Json &v, const std::string &at) { made.outputs.push_back(port(v, at)); });
    made.arena = size(node.any("arena"), node.at("arena"));
    node.list("steps", 1, [&](const Json &v, const std::string &at) { made.steps.push_back(step(v, at, made)); });
    return made;
  }

  Port port(const Json &data, const std::string &where) {
    const Node node(data, where, {"name", "dtype", "shape"});
    Port made;
    made.name = name_at(node.any("name"), node.at("name"));
    made.element = kElements[node.choice("dtype", kPortTypes)];
    node.list("shape", 0, [&](const Json &v, const std::string &at) { made.shape.push_back(size(v, at)); });
    if (made.shape.size() > kMostAxes)
      wrong_plan(node.at("shape"), text("at most %zu sizes", kMostAxes), std::to_string(made.shape.size()));
    return made;
  }

  Step step(const Json &data, const std::string &where, const Program &program) {
    const Node node(data, where, {"label", "kernel", "grid", "arguments", "flops", "reads", "writes"});
    Step made;
    made.label = node.line("label", true);
    made.kernel = static_cast<std::size_t>(node.number("kernel"));
    std::size_t axes = 0;
    node.list("grid", 0, [&](const Json &v, const std::string &at) {
      if (axes < 3) made.grid[axes] = size(v, at);
      ++axes;
    });
    if (axes != 3) wrong_plan(node.at("grid"), "blocks in x, y and z", std::to_string(axes));
    node.list("arguments", 0, [&](const Json &v, const std::string &at) {
      made.arguments.push_back(argument(v, at, program));
    });
    // Of an account that nobody here needs, but a plan that has it wrong is no plan.
    for (const char *count : {"flops", "reads", "writes"}) made.account.push_back(size(node.any(count), node.at(count)));
    return made;
  }

  Argument argument(const Json &data, const std::string &where, const Program &program) {
    const std::string word = data.is_array() && !data.empty() && data[0].is_string()
                                 ? data[0].get_ref<const std::string &>() : "";
    const auto kind = std::find(kArguments.begin(), kArguments.end(), word);
    if (kind == kArguments.end())
      wrong_plan(where, "a list that begins with arena, weight, port, size, null", described(data));
    Argument made;
    made.kind = static_cast<Argument::Kind>(kind - kArguments.begin());
    const bool null = made.kind == Argument::Kind::null, port = made.kind == Argument::Kind::port;
    if (data.size() != (null ? 1U : port ? 3U : 2U))
      wrong_plan(where, "[\"null\"], [\"port\", size, name] or [kind, size]", described(data));
    if (null) return made;
    if (made.kind == Argument::Kind::size && data[1].is_number_integer()) {
      made.value.value = number_of(data[1], where, -(std::int64_t{1} << 31), kMostSide);
      return made;
    }
    made.value = size(data[1], where);
    if (!port) return made;
    const std::string name = name_at(data[2], where);
    for (std::size_t i = 0; i < program.ports(); ++i) {
      if (program.port(i).name != name) continue;
      made.port = i;
      return made;
    }
    wrong_plan(where, "the name of an input or output", described(data[2]));
  }

  EnginePlan plan_;
};

}  // namespace

std::size_t size_of(Stored type) noexcept {
  switch (type) {
    case Stored::fp32:
    case Stored::i32: return 4;
    case Stored::fp16:
    case Stored::bf16: return 2;
    case Stored::i8:
    case Stored::u8: return 1;
    case Stored::i64: return 8;
  }
  return 0;
}

const char *name_of(Stored type) noexcept { return kStored[static_cast<std::size_t>(type)]; }

std::int64_t Weight::elements() const noexcept {
  std::int64_t count = 1;
  for (const std::int64_t side : shape) count *= side;
  return count;
}

std::int64_t Weight::extent() const noexcept {
  std::int64_t last = 0, step = 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    if (__builtin_mul_overflow(shape[axis] - 1, strides[axis], &step) || __builtin_add_overflow(last, step, &last))
      return std::numeric_limits<std::int64_t>::max();
  std::int64_t bytes = 0;
  if (last == std::numeric_limits<std::int64_t>::max() ||
      __builtin_mul_overflow(last + 1, static_cast<std::int64_t>(size_of(stored)), &bytes))
    return std::numeric_limits<std::int64_t>::max();
  return bytes;
}

void wrong_plan(const std::string &where, const std::string &wanted, const std::string &got) {
  fail(SAMEDGE_ERROR_NOT_SUPPORTED,
       "the engine's plan is damaged or of another version of samedge: '%s' is %s, expected %s; build the engine "
       "again with `samedge build`", shown(where, 200).c_str(), got.c_str(), wanted.c_str());
}

EnginePlan parse_plan(std::string_view json, std::int64_t constants, std::int64_t code) {
  Json document;
  try {
    document = Json::parse(json.begin(), json.end());
  } catch (const Json::exception &) {
    wrong_plan("plan", "JSON", "none, or cut off");
  }
  EnginePlan plan = Reader().read(document);
  check_plan(plan, constants, code);
  return plan;
}

}  // namespace samedge
