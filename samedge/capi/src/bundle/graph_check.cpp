#include "bundle/graph_check.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "base/failure.hpp"
#include "bundle/graph_operators.hpp"
#include "bundle/limits.hpp"
#include "bundle/printable.hpp"
#include "bundle/wire.hpp"

namespace samedge {

namespace {

constexpr std::uint64_t kOpset = 20;
constexpr std::size_t kMaxText = std::size_t{1} << 20U;  // of the metadata
constexpr bool kOne = false, kMany = true;

// The fields of each message that samedge writes.
constexpr KnownField kModel[] = {{1, Wire::varint, kOne}, {2, Wire::bytes, kOne},  {3, Wire::bytes, kOne},
                                 {4, Wire::bytes, kOne},  {5, Wire::varint, kOne}, {6, Wire::bytes, kOne},
                                 {7, Wire::bytes, kOne},  {8, Wire::bytes, kOne},  {14, Wire::bytes, kMany}};
constexpr KnownField kGraph[] = {{1, Wire::bytes, kMany}, {2, Wire::bytes, kOne},   {5, Wire::bytes, kMany},
                                 {10, Wire::bytes, kOne}, {11, Wire::bytes, kMany}, {12, Wire::bytes, kMany}};
constexpr KnownField kNode[] = {{1, Wire::bytes, kMany}, {2, Wire::bytes, kMany}, {3, Wire::bytes, kOne},
                                {4, Wire::bytes, kOne},  {5, Wire::bytes, kMany}, {6, Wire::bytes, kOne},
                                {7, Wire::bytes, kOne}};
constexpr KnownField kAttribute[] = {{1, Wire::bytes, kOne},
                                     {2, Wire::fixed32, kOne},
                                     {3, Wire::varint, kOne},
                                     {8, Wire::numbers, kMany},
                                     {20, Wire::varint, kOne}};
constexpr KnownField kTensor[] = {{1, Wire::numbers, kMany}, {2, Wire::varint, kOne},
                                  {8, Wire::bytes, kOne},    {9, Wire::bytes, kOne},
                                  {13, Wire::bytes, kMany},  {14, Wire::varint, kOne}};
constexpr KnownField kPort[] = {{1, Wire::bytes, kOne}, {2, Wire::bytes, kOne}, {3, Wire::bytes, kOne}};
constexpr KnownField kType[] = {{1, Wire::bytes, kOne}};
constexpr KnownField kTensorType[] = {{1, Wire::varint, kOne}, {2, Wire::bytes, kOne}};
constexpr KnownField kShape[] = {{1, Wire::bytes, kMany}};
constexpr KnownField kDim[] = {{1, Wire::varint, kOne}, {2, Wire::bytes, kOne}};
constexpr KnownField kOperators[] = {{1, Wire::bytes, kOne}, {2, Wire::varint, kOne}};
constexpr KnownField kEntry[] = {{1, Wire::bytes, kOne}, {2, Wire::bytes, kOne}};

std::uint64_t number_of(Element element) noexcept {
  switch (element) {
    case Element::u8: return kUint8;
    case Element::i32: return kInt32;
    case Element::i64: return kInt64;
    case Element::f16: return kHalf;
    case Element::f32: return kFloat;
  }
  return 0;
}

// Whether bytes are UTF-8 as Python decodes it: nothing overlong, no half characters.
bool is_utf8(std::string_view bytes) noexcept {
  for (std::size_t at = 0; at < bytes.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
    const unsigned lead = byte(0);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length == 0 || lead > 0xF4 || at + length > bytes.size()) return false;
    for (std::size_t i = 1; i < length; ++i)
      if ((byte(i) & 0xC0U) != 0x80U) return false;
    if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
        (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F))
      return false;
    at += length;
  }
  return true;
}

std::string name_in(std::string_view bytes, std::size_t limit = kGraphNameBytes) {
  if (bytes.size() > limit)
    throw WireError(text("a name has %zu bytes, expected up to %zu", bytes.size(), limit));
  if (!is_utf8(bytes)) throw WireError("a name is no UTF-8");
  std::string name(bytes);
  if (!is_line(name, 0, limit)) throw WireError("a name has characters that cannot be printed");
  return name;
}

// A name for a message.
const char *quoted(std::string &name) {
  name = shown(name);
  return name.c_str();
}

struct Port {
  std::string name;
  GraphValue value;
};

// A graph file, part after part, each of which stands once and in the one form that is written: readers of
// ONNX disagree about files that are not quite right.
class Reader {
 public:
  Reader(const GraphFiles &files, const GraphEntry &entry) : files_(files), entry_(entry) {}

  void check() {
    const std::string_view data(reinterpret_cast<const char *>(files_.graph.data.get()), files_.graph.size);
    WireReader fields(data, kModel, "the file", budget_);
    bool graph = false, opset = false;
    for (WireField field; fields.next(field);) {
      if (field.number == 1 && (field.value < 8 || field.value > 10))
        throw WireError(text("its version of ONNX is %llu, expected 8 to 10",
                             static_cast<unsigned long long>(field.value)));
      if (field.number == 7) read_graph(field.bytes);
      if (field.number == 8) opset = is_opset(field.bytes);
      if (field.number == 14) entry(field.bytes);
      graph = graph || field.number == 7;
    }
    if (!graph) throw WireError("it has no graph");
    if (!opset)
      throw WireError(
          text("its operators are not those of ONNX opset %llu", static_cast<unsigned long long>(kOpset)));
    check_values();
    check_ports(inputs_, entry_.io.inputs, "inputs");
    check_ports(outputs_, entry_.io.outputs, "outputs");
  }

 private:
  void read_graph(std::string_view data) {
    WireReader fields(data, kGraph, "the graph", budget_);
    for (WireField field; fields.next(field);) {
      if (field.number == 1) node(field.bytes);
      if (field.number == 5) weight(field.bytes);
      if (field.number == 11) inputs_.push_back(port(field.bytes));
      if (field.number == 12) outputs_.push_back(port(field.bytes));
    }
  }

  void node(std::string_view data) {
    GraphNode made;
    WireReader fields(data, kNode, "a node", budget_);
    for (WireField field; fields.next(field);) {
      switch (field.number) {
        case 1: made.inputs.push_back(name_in(field.bytes)); break;
        case 2: made.outputs.push_back(name_in(field.bytes)); break;
        case 3: made.name = name_in(field.bytes); break;
        case 4: made.op = name_in(field.bytes); break;
        case 5: attribute(field.bytes, made.attributes); break;
        case 7:
          if (!field.bytes.empty()) throw WireError("an operator is not ONNX's own");
          break;
        default: break;
      }
    }
    nodes_.push_back(std::move(made));
  }

  // Numbers and lists of whole numbers: no tensors, no graphs inside of nodes.
  void attribute(std::string_view data, std::map<std::string, GraphAttribute> &attributes) {
    std::string name;
    std::uint64_t kind = 0;
    bool real = false, whole = false, list = false;
    GraphAttribute made;
    WireReader fields(data, kAttribute, "an attribute", budget_);
    for (WireField field; fields.next(field);) {
      switch (field.number) {
        case 1: name = name_in(field.bytes); break;
        case 2: real = true; break;
        case 3:
          whole = true;
          made.whole = static_cast<std::int64_t>(field.value);
          break;
        case 8:
          list = true;
          each_number(field, [&](std::int64_t number) { made.list.push_back(number); });
          break;
        default: kind = field.value;
      }
    }
    const bool one = (real ? 1 : 0) + (whole ? 1 : 0) + (list ? 1 : 0) == 1;
    if (!one || kind != (real ? 1U : whole ? 2U : 7U))
      throw WireError(text("the attribute '%s' is no number and no list of whole numbers", quoted(name)));
    made.kind = real    ? GraphAttribute::Kind::real
                : whole ? GraphAttribute::Kind::whole
                        : GraphAttribute::Kind::list;
    std::string copy = name;
    if (!attributes.emplace(std::move(name), std::move(made)).second)
      throw WireError(text("a node has the attribute '%s' twice", quoted(copy)));
  }

  void weight(std::string_view data) {
    std::string name;
    std::uint64_t location = 0;
    GraphValue value;
    value.constant = true;
    std::optional<std::string_view> content;
    std::map<std::string, std::string> place;
    WireReader fields(data, kTensor, "a weight", budget_);
    for (WireField field; fields.next(field);) {
      switch (field.number) {
        case 1: each_number(field, [&](std::int64_t side) { value.shape.push_back(side); }); break;
        case 2: value.type = field.value; break;
        case 8: name = name_in(field.bytes); break;
        case 9: content = field.bytes; break;
        case 14: location = field.value; break;
        default:
          if (!place.insert(entry(field.bytes)).second)
            throw WireError(text("the weight '%s' has two places", quoted(name)));
      }
    }
    const auto odd = [](Side side) { return side < 0 || side > kMaxElements; };
    if (item_size(value.type) == 0 || value.shape.size() > kGraphAxes ||
        std::any_of(value.shape.begin(), value.shape.end(), odd))
      throw WireError(text("the weight '%s' has no type and shape that weights have", quoted(name)));
    if (content.has_value() != (location == 0) || place.empty() != (location == 0) || location > 1)
      throw WireError(text("the weight '%s' is neither in the file nor beside it", quoted(name)));
    check_place(name, bytes_of(value.shape, item_size(value.type)), content, place);
    if (content.has_value()) set_numbers(*content, value);
    add(name, std::move(value));
  }

  // The elements of a small list of whole numbers, or of a single one.
  static void set_numbers(std::string_view content, GraphValue &value) {
    if (value.type != kInt64 || value.rank() > 1 || content.size() > kListed * sizeof(std::int64_t)) return;
    value.numbers.emplace();
    for (std::size_t at = 0; at < content.size(); at += sizeof(std::int64_t)) {
      std::uint64_t number = 0;  // little-endian
      for (std::size_t i = sizeof number; i-- > 0;)
        number = number << 8U | static_cast<unsigned char>(content[at + i]);
      value.numbers->push_back(static_cast<std::int64_t>(number));
    }
  }

  // As many as a tensor of this shape has; no shape that memory can hold reaches the largest number.
  static std::uint64_t bytes_of(const std::vector<std::int64_t> &sides, std::uint64_t size) noexcept {
    if (std::find(sides.begin(), sides.end(), 0) != sides.end()) return 0;
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    for (const std::int64_t side : sides) {
      if (size > most / static_cast<std::uint64_t>(side)) return most;
      size *= static_cast<std::uint64_t>(side);
    }
    return size;
  }

  void check_place(std::string name, std::uint64_t size, const std::optional<std::string_view> &content,
                   const std::map<std::string, std::string> &place) const {
    if (content.has_value()) {
      if (content->size() != size)
        throw WireError(text("the weight '%s' has %zu bytes, its shape says %llu", quoted(name),
                             content->size(), static_cast<unsigned long long>(size)));
      return;
    }
    const auto location = place.find("location");
    std::uint64_t numbers[2] = {0, 0};
    bool plain = place.size() == 3 && location != place.end();
    for (const int i : {0, 1}) {
      const auto found = place.find(i == 0 ? "offset" : "length");
      plain = plain && found != place.end() && !found->second.empty() && found->second.size() < 19 &&
              found->second.find_first_not_of("0123456789") == std::string::npos;
      if (plain) numbers[i] = std::stoull(found->second);
    }
    if (!plain)
      throw WireError(text("the weight '%s' lies in another file, without a plain name, offset and length",
                           quoted(name)));
    if (files_.weights_name.empty() || location->second != files_.weights_name)
      throw WireError(
          text("the weight '%s' lies in another file, '%s'; weights outside of the graph are only "
               "taken from %s.data, which the manifest lists",
               quoted(name), shown(location->second).c_str(), files_.name.c_str()));
    if (numbers[1] != size || numbers[0] + numbers[1] > files_.weights.size)
      throw WireError(text("the weight '%s' has %llu bytes, and its place in %s is %llu + %llu of %zu",
                           quoted(name), static_cast<unsigned long long>(size), files_.weights_name.c_str(),
                           static_cast<unsigned long long>(numbers[0]),
                           static_cast<unsigned long long>(numbers[1]), files_.weights.size));
  }

  Port port(std::string_view data) {
    Port made;
    bool shaped = false;
    WireReader fields(data, kPort, "an input or output", budget_);
    for (WireField field; fields.next(field);) {
      if (field.number == 1) made.name = name_in(field.bytes);
      if (field.number != 2) continue;
      WireReader types(field.bytes, kType, "a type", budget_);
      for (WireField tensor; types.next(tensor);) {
        WireReader parts(tensor.bytes, kTensorType, "a tensor's type", budget_);
        for (WireField part; parts.next(part);) {
          if (part.number == 1) made.value.type = part.value;
          else shape(part.bytes, made.value.shape);
          shaped = shaped || part.number == 2;
        }
      }
    }
    if (item_size(made.value.type) == 0 || !shaped)
      throw WireError(text("the input or output '%s' has no type and shape", quoted(made.name)));
    return made;
  }

  void shape(std::string_view data, Sides &sides) {
    WireReader dims(data, kShape, "a shape", budget_);
    for (WireField dim; dims.next(dim);) {
      WireReader sizes(dim.bytes, kDim, "a size", budget_);
      WireField size, more;
      if (!sizes.next(size) || sizes.next(more))
        throw WireError("a size of an input or output is neither fixed nor named");
      if (size.number == 1 && (size.value == 0 || size.value >= std::uint64_t{1} << 31U))
        throw WireError(text("an input or output has the size %lld",
                             static_cast<long long>(static_cast<std::int64_t>(size.value))));
      sides.push_back(size.number == 1 ? static_cast<Side>(size.value) : named(name_in(size.bytes)));
    }
    if (sides.size() > kGraphAxes) throw WireError(text("an input or output has %zu axes", sides.size()));
  }

  // The number that stands for a free size of this name.
  Side named(const std::string &name) {
    return names_.emplace(name, kUnknown - 1 - static_cast<Side>(names_.size())).first->second;
  }

  bool is_opset(std::string_view data) {
    std::uint64_t version = 0;
    bool own = true;
    WireReader fields(data, kOperators, "an operator set", budget_);
    for (WireField field; fields.next(field);) {
      if (field.number == 1) own = field.bytes.empty();
      if (field.number == 2) version = field.value;
    }
    return own && version == kOpset;
  }

  std::pair<std::string, std::string> entry(std::string_view data) {
    std::optional<std::string_view> key, value;
    WireReader fields(data, kEntry, "an entry", budget_);
    for (WireField field; fields.next(field);) (field.number == 1 ? key : value) = field.bytes;
    if (!key.has_value() || !value.has_value()) throw WireError("an entry lacks its name or its value");
    std::string name = name_in(*key);
    return {std::move(name), name_in(*value, kMaxText)};
  }

  template <typename Take>
  void each_number(const WireField &field, Take &&take) {
    if (field.kind == Wire::varint) return take(static_cast<std::int64_t>(field.value));
    for (std::string_view data = field.bytes; !data.empty();) {
      budget_.take();
      take(static_cast<std::int64_t>(take_varint(data)));
    }
  }

  void add(const std::string &name, GraphValue value) {
    std::string copy = name;
    if (name.empty() || !values_.emplace(name, std::move(value)).second)
      throw WireError(text("the value '%s' is made twice, or has no name", quoted(copy)));
  }

  void check_values() {
    for (const Port &input : inputs_) add(input.name, input.value);
    for (const GraphNode &node : nodes_) {
      try {
        run(node);
      } catch (const WireError &error) {
        throw WireError(
            text("node '%s' (%s): %s", shown(node.name).c_str(), shown(node.op).c_str(), error.what()));
      }
    }
    for (const Port &output : outputs_) {
      const auto value = values_.find(output.name);
      if (value == values_.end() || value->second.constant)
        throw WireError(text("nothing computes its output '%s'", shown(output.name).c_str()));
      const Sides &sides = value->second.shape, &said = output.value.shape;
      if (value->second.type != output.value.type || sides.size() != said.size() ||
          !std::equal(sides.begin(), sides.end(), said.begin(), may_be_same))
        throw WireError(
            text("its output '%s' is not computed in the shape that it says", shown(output.name).c_str()));
    }
  }

  // A node computes from what stands before it.
  void run(const GraphNode &node) {
    std::vector<const GraphValue *> given;
    for (const std::string &name : node.inputs) {
      const auto value = values_.find(name);
      if (value == values_.end())
        throw WireError(text("nothing before it makes its input '%s'", shown(name).c_str()));
      given.push_back(&value->second);
    }
    std::vector<GraphValue> results = results_of(node, given);
    for (std::size_t i = 0; i < results.size(); ++i) add(node.outputs[i], std::move(results[i]));
  }

  static void check_ports(const std::vector<Port> &ports, const std::vector<TensorSpec> &listed,
                          const char *what) {
    using Said = std::tuple<std::string, std::uint64_t, Sides>;
    std::vector<Said> found, wanted;
    for (const Port &port : ports) {
      Sides sides = port.value.shape;  // free sizes are equal whatever they are called
      for (Side &side : sides) side = std::max(side, kUnknown);
      found.emplace_back(port.name, port.value.type, std::move(sides));
    }
    for (const TensorSpec &spec : listed)
      wanted.emplace_back(spec.name, number_of(spec.element), Sides(spec.shape.begin(), spec.shape.end()));
    std::sort(found.begin(), found.end());
    std::sort(wanted.begin(), wanted.end());
    if (found != wanted) throw WireError(text("the manifest says otherwise of its %s", what));
  }

  const GraphFiles &files_;
  const GraphEntry &entry_;
  WireBudget budget_{kGraphParts};
  std::vector<GraphNode> nodes_;
  std::vector<Port> inputs_, outputs_;
  std::unordered_map<std::string, GraphValue> values_;  // references to its values stay valid
  std::unordered_map<std::string, Side> names_;
};

}  // namespace

void check_graph(const GraphFiles &files, const GraphEntry &entry) {
  try {
    Reader(files, entry).check();
  } catch (const WireError &error) {
    fail(SAMEDGE_ERROR_BUNDLE,
         "%s is no graph that samedge writes: %s. It is not loaded; export the bundle again",
         files.name.c_str(), error.what());
  }
}

}  // namespace samedge
