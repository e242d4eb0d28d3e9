// The operators that samedge's exporters write, and what is known of a value before anything is computed:
// samedge/bundle/graphs/operators.py and values.py. Engines' own parsers crash on other nodes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace samedge {

// ONNX's numbers of element types.
constexpr std::uint64_t kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7, kBool = 9, kHalf = 10;

// Bytes of an element; 0 for types that samedge never writes.
std::uint64_t item_size(std::uint64_t type) noexcept;

// A size; kUnknown; or, below that, a free size with a name.
using Side = std::int64_t;
using Sides = std::vector<Side>;
constexpr Side kUnknown = -1;

constexpr std::int64_t kMaxElements = std::int64_t{1} << 36U;  // of a value: no machine holds more
constexpr std::uint64_t kListed = 256;  // elements of a list of whole numbers that shapes may follow from

// Elements of a list of whole numbers; those that are not known are nothing.
using Numbers = std::vector<std::optional<std::int64_t>>;

struct GraphValue {
  std::uint64_t type = 0;
  Sides shape;
  std::optional<Numbers> numbers;  // where they are known; a single number is a list of one
  bool constant = false;           // it is a weight, and `numbers` are all there is

  std::int64_t rank() const noexcept { return static_cast<std::int64_t>(shape.size()); }
};

struct GraphAttribute {
  enum class Kind : std::uint8_t { whole, real, list } kind = Kind::whole;
  std::int64_t whole = 0;
  std::vector<std::int64_t> list;
};

struct GraphNode {
  std::string name, op;
  std::vector<std::string> inputs, outputs;
  std::map<std::string, GraphAttribute> attributes;
};

// Whether two sizes may be the same: unless both are numbers, nobody can tell.
bool may_be_same(Side one, Side other) noexcept;

// What a node gives, from what it takes: as many values as it has outputs.
// Throws WireError: no exporter of samedge writes such a node.
std::vector<GraphValue> results_of(const GraphNode &node, const std::vector<const GraphValue *> &given);

}  // namespace samedge
