#include "bundle/graph_operators.hpp"

#include <algorithm>
#include <limits>
#include <set>

#include "base/failure.hpp"
#include "bundle/limits.hpp"
#include "bundle/wire.hpp"

namespace samedge {

namespace {

using Types = std::vector<std::uint64_t>;
using Kind = GraphAttribute::Kind;

const Types kFloats = {kFloat, kHalf};
const Types kNumbers = {kFloat, kHalf, kInt32, kInt64};
const Types kAll = {kFloat, kUint8, kInt8, kInt32, kInt64, kBool, kHalf};
constexpr std::uint64_t kTooMany = std::numeric_limits<std::uint64_t>::max();

const char *type_name(std::uint64_t type) noexcept {
  switch (type) {
    case kFloat: return "float32";
    case kUint8: return "uint8";
    case kInt8: return "int8";
    case kInt32: return "int32";
    case kInt64: return "int64";
    case kBool: return "bool";
    case kHalf: return "float16";
    default: return "?";
  }
}

std::string shown(const GraphValue &value) {
  std::string sides;
  for (const Side side : value.shape)
    sides += (sides.empty() ? "" : ", ") + (side >= 0 ? std::to_string(side) : "?");
  return std::string(type_name(value.type)) + " [" + sides + "]";
}

void need(bool fine, const char *what) {
  if (!fine) throw WireError(what);
}

// The same with the value that is wrong.
void need(bool fine, const char *what, const GraphValue &value) {
  if (!fine) throw WireError(text("%s (%s)", what, shown(value).c_str()));
}

// A product that stops at the largest number.
std::uint64_t times(std::uint64_t one, std::uint64_t other) noexcept {
  if (one == 0 || other == 0) return 0;
  return one > kTooMany / other ? kTooMany : one * other;
}

// Of the sizes that are known.
std::uint64_t product(const Sides &sides) noexcept {
  if (std::find(sides.begin(), sides.end(), 0) != sides.end()) return 0;
  std::uint64_t known = 1;
  for (const Side side : sides)
    if (side >= 0) known = times(known, static_cast<std::uint64_t>(side));
  return known;
}

bool all_known(const Sides &sides) noexcept {
  return std::all_of(sides.begin(), sides.end(), [](Side side) { return side >= 0; });
}

GraphValue made(std::uint64_t type, Sides sides) {
  need(sides.size() <= kGraphAxes, "it makes more axes than any value has");
  const bool fits = product(sides) <= static_cast<std::uint64_t>(kMaxElements) &&
                    std::all_of(sides.begin(), sides.end(), [](Side side) { return side <= kMaxElements; });
  need(fits, "it makes more elements than any machine holds");
  GraphValue value;
  value.type = type;
  value.shape = std::move(sides);
  return value;
}

std::size_t axis_of(const GraphValue &value, std::int64_t axis, std::int64_t extra = 0) {
  const std::int64_t rank = value.rank() + extra;
  need(-rank <= axis && axis < rank, "it has no such axis", value);
  return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
}

// The whole numbers of a constant.
std::vector<std::int64_t> numbers_of(const GraphValue &value, const char *what) {
  if (!value.constant || !value.numbers.has_value()) throw WireError(text("its %s are no constant", what));
  std::vector<std::int64_t> found;
  for (const auto &number : *value.numbers)
    if (number.has_value()) found.push_back(*number);
  return found;
}

// Different axes of a value, sorted; of one that is to get `extra` more, those of the result.
std::vector<std::size_t> axes_of(const GraphValue &value, const GraphValue &axes, std::int64_t extra = 0) {
  need(axes.type == kInt64 && axes.rank() == 1, "its axes are no list of whole numbers", axes);
  std::vector<std::size_t> found;
  for (const std::int64_t axis : numbers_of(axes, "axes")) found.push_back(axis_of(value, axis, extra));
  std::sort(found.begin(), found.end());
  need(!found.empty() && std::adjacent_find(found.begin(), found.end()) == found.end(),
       "an axis stands twice");
  return found;
}

bool contains(const std::vector<std::size_t> &axes, std::size_t axis) noexcept {
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}

// One size of an elementwise operation.
Side together(const std::vector<Side> &sides) {
  std::set<Side> wide;
  Side fixed = kUnknown;
  for (const Side side : sides) {
    if (side == 1) continue;
    wide.insert(side);
    if (side < 0) continue;
    need(fixed < 0 || fixed == side, "shapes that it takes do not go together");
    fixed = side;
  }
  if (fixed >= 0) return fixed;
  if (wide.empty()) return 1;
  return wide.size() == 1 ? *wide.begin() : kUnknown;
}

Sides broadcast(const std::vector<const Sides *> &shapes) {
  std::size_t rank = 0;
  for (const Sides *shape : shapes) rank = std::max(rank, shape->size());
  Sides result;
  for (std::size_t at = 0; at < rank; ++at) {
    std::vector<Side> sides;
    for (const Sides *shape : shapes) {
      const std::size_t missing = rank - shape->size();
      sides.push_back(at < missing ? 1 : (*shape)[at - missing]);
    }
    result.push_back(together(sides));
  }
  return result;
}

// One node.
class Operation {
 public:
  Operation(const GraphNode &node, const std::vector<const GraphValue *> &given)
      : node_(node), given_(given) {}

  using Result = std::vector<GraphValue> (Operation::*)() const;

  std::vector<GraphValue> floating() const { return {made(type(kFloats), in(0).shape)}; }
  std::vector<GraphValue> numeric() const { return {made(type(kNumbers), in(0).shape)}; }
  std::vector<GraphValue> binary() const { return {made(type(kNumbers), all_broadcast())}; }
  std::vector<GraphValue> identity() const {
    GraphValue value = in(0);
    value.constant = false;
    return {std::move(value)};
  }
  std::vector<GraphValue> compare() const {
    type(kNumbers);
    return {made(kBool, all_broadcast())};
  }
  std::vector<GraphValue> where() const {
    need(in(0).type == kBool, "its condition is none", in(0));
    return {made(type(kNumbers, 1), all_broadcast())};
  }
  std::vector<GraphValue> cast() const {
    const auto to = static_cast<std::uint64_t>(whole("to", 0));
    need(item_size(to) != 0, "it casts to a type that samedge's graphs do not have");
    return {made(to, in(0).shape)};
  }
  std::vector<GraphValue> matmul() const;
  std::vector<GraphValue> conv() const;
  std::vector<GraphValue> max_pool() const;
  std::vector<GraphValue> layer_norm() const;
  std::vector<GraphValue> softmax() const {
    axis_of(in(0), whole("axis", -1));
    return floating();
  }
  std::vector<GraphValue> reduce() const {
    const std::uint64_t kept = type(kNumbers, 0, 1);
    return {made(kept, reduced(axes_of(in(0), in(1))))};
  }
  std::vector<GraphValue> arg_max() const {
    type(kFloats);
    return {made(kInt64, reduced({axis_of(in(0), whole("axis", 0))}))};
  }
  std::vector<GraphValue> concat() const;
  std::vector<GraphValue> gather() const;
  std::vector<GraphValue> gather_elements() const;
  std::vector<GraphValue> expand() const;
  std::vector<GraphValue> reshape() const;
  std::vector<GraphValue> shape() const;
  std::vector<GraphValue> slice() const;
  std::vector<GraphValue> split() const;
  std::vector<GraphValue> squeeze() const;
  std::vector<GraphValue> unsqueeze() const;
  std::vector<GraphValue> transpose() const;
  std::vector<GraphValue> pad() const;
  std::vector<GraphValue> quantize() const {
    type(kFloats, 0, 2);
    check_scales();
    return {made(kInt8, in(0).shape)};
  }
  std::vector<GraphValue> dequantize() const {
    need(in(0).type == kInt8, "it takes another type", in(0));
    check_scales();
    return {made(type(kFloats, 1, 2), in(0).shape)};
  }

 private:
  const GraphValue &in(std::size_t at) const { return *given_[at]; }
  std::size_t count() const noexcept { return given_.size(); }

  std::int64_t whole(const char *name, std::int64_t otherwise) const {
    const auto found = node_.attributes.find(name);
    return found == node_.attributes.end() ? otherwise : found->second.whole;
  }
  std::vector<std::int64_t> list(const char *name, const std::vector<std::int64_t> &otherwise) const {
    const auto found = node_.attributes.find(name);
    return found == node_.attributes.end() ? otherwise : found->second.list;
  }

  // The element type that inputs from `first` to before `last` have.
  std::uint64_t type(const Types &types, std::size_t first = 0, std::size_t last = SIZE_MAX) const {
    last = std::min(last, count());
    for (std::size_t i = first; i < last; ++i)
      need(in(i).type == in(first).type, "it takes types that do not go together", in(i));
    need(std::find(types.begin(), types.end(), in(first).type) != types.end(), "it takes another type",
         in(first));
    return in(first).type;
  }

  Sides all_broadcast() const {
    std::vector<const Sides *> shapes;
    for (const GraphValue *value : given_) shapes.push_back(&value->shape);
    return broadcast(shapes);
  }

  Sides reduced(const std::vector<std::size_t> &axes) const {
    const std::int64_t keep = whole("keepdims", 1);
    need(keep == 0 || keep == 1, "its attribute 'keepdims' is neither 0 nor 1");
    Sides sides;
    for (std::size_t at = 0; at < in(0).shape.size(); ++at) {
      if (!contains(axes, at)) sides.push_back(in(0).shape[at]);
      else if (keep == 1) sides.push_back(1);
    }
    return sides;
  }

  Sides slid() const;
  void check_scales() const;

  // A list of sizes, of which some may not be known.
  const Numbers &sizes(std::size_t at) const {
    need(in(at).type == kInt64 && in(at).rank() == 1 && in(at).numbers.has_value(),
         "its shape is no list of sizes", in(at));
    return *in(at).numbers;
  }

  const GraphNode &node_;
  const std::vector<const GraphValue *> &given_;
};

std::vector<GraphValue> Operation::matmul() const {
  const std::uint64_t kept = type(kFloats);
  const Sides &left = in(0).shape, &right = in(1).shape;
  need(left.size() >= 2 && right.size() >= 2 && may_be_same(left.back(), right[right.size() - 2]),
       "it takes no matrices that can be multiplied");
  const Sides before(left.begin(), left.end() - 2), behind(right.begin(), right.end() - 2);
  Sides sides = broadcast({&before, &behind});
  sides.push_back(left[left.size() - 2]);
  sides.push_back(right.back());
  return {made(kept, std::move(sides))};
}

// Height and width after a kernel slid over an image.
Sides Operation::slid() const {
  const std::vector<std::int64_t> kernel = list("kernel_shape", {}), strides = list("strides", {1, 1}),
                                  pads = list("pads", {0, 0, 0, 0});
  need(kernel.size() == 2 && strides.size() == 2 && pads.size() == 4, "its kernel is not one of two axes");
  const auto sized = [](std::int64_t size) { return size > 0 && size <= 1024; };
  need(std::all_of(kernel.begin(), kernel.end(), sized) && std::all_of(strides.begin(), strides.end(), sized),
       "its kernel has no size");
  need(std::all_of(pads.begin(), pads.end(), [](std::int64_t pad) { return pad >= 0 && pad < 1024; }),
       "its padding is none");
  Sides sides;
  for (const std::size_t at : {0U, 1U}) {
    const Side side = in(0).shape[at + 2];
    if (side < 0) {
      sides.push_back(kUnknown);
      continue;
    }
    const std::int64_t room = side + pads[at] + pads[at + 2] - kernel[at];
    need(room >= 0, "its kernel is larger than what it takes", in(0));
    sides.push_back(room / strides[at] + 1);
  }
  return sides;
}

std::vector<GraphValue> Operation::conv() const {
  const std::uint64_t kept = type(kFloats);
  const GraphValue &image = in(0), &kernel = in(1);
  need(image.rank() == 4 && kernel.rank() == 4, "it takes no image", image);
  const std::int64_t group = whole("group", 1), channels = image.shape[1], each = kernel.shape[1];
  need(group > 0 && channels >= 0 && each >= 0 && channels % group == 0 && channels / group == each,
       "it does not have the channels of its kernel", image);
  if (count() == 3)
    need(in(2).rank() == 1 && may_be_same(in(2).shape[0], kernel.shape[0]), "its bias is another", in(2));
  need(Sides(kernel.shape.begin() + 2, kernel.shape.end()) == list("kernel_shape", {}),
       "its kernel is another", kernel);
  const Sides inner = slid();
  return {made(kept, {image.shape[0], kernel.shape[0], inner[0], inner[1]})};
}

std::vector<GraphValue> Operation::max_pool() const {
  need(in(0).rank() == 4, "it takes no image", in(0));
  const Sides inner = slid();
  return {made(type(kFloats), {in(0).shape[0], in(0).shape[1], inner[0], inner[1]})};
}

std::vector<GraphValue> Operation::layer_norm() const {
  const std::uint64_t kept = type(kFloats);
  const std::size_t axis = axis_of(in(0), whole("axis", -1));
  const Sides scaled(in(0).shape.begin() + static_cast<std::ptrdiff_t>(axis), in(0).shape.end());
  for (std::size_t i = 1; i < count(); ++i) need(in(i).shape == scaled, "it scales by another shape", in(i));
  return {made(kept, in(0).shape)};
}

std::vector<GraphValue> Operation::concat() const {
  const std::uint64_t kept = type(kAll);
  const Sides &first = in(0).shape;
  const std::size_t axis = axis_of(in(0), whole("axis", 0));
  std::int64_t total = 0;
  bool listed = true;
  Numbers numbers;
  for (const GraphValue *value : given_) {
    need(value->shape.size() == first.size(), "it joins what cannot be joined", *value);
    for (std::size_t at = 0; at < first.size(); ++at)
      need(at == axis || may_be_same(first[at], value->shape[at]), "it joins what cannot be joined", *value);
    const Side side = value->shape[axis];
    total = side < 0 || total < 0 ? kUnknown : std::min(total + side, 2 * kMaxElements);
    listed = listed && value->numbers.has_value();
    if (listed) numbers.insert(numbers.end(), value->numbers->begin(), value->numbers->end());
  }
  Sides sides = first;
  sides[axis] = total;
  GraphValue result = made(kept, std::move(sides));
  if (result.rank() == 1 && listed && total >= 0 && static_cast<std::uint64_t>(total) <= kListed)
    result.numbers = std::move(numbers);
  return {std::move(result)};
}

std::vector<GraphValue> Operation::gather() const {
  const GraphValue &data = in(0), &index = in(1);
  const std::size_t axis = axis_of(data, whole("axis", 0));
  need(index.type == kInt32 || index.type == kInt64, "it takes elements by no whole numbers", index);
  const Side side = data.shape[axis];
  if (index.constant && side >= 0)
    for (const std::int64_t number : numbers_of(index, "indices"))
      need(-side <= number && number < side, "it takes elements that are not there", data);
  Sides sides(data.shape.begin(), data.shape.begin() + static_cast<std::ptrdiff_t>(axis));
  sides.insert(sides.end(), index.shape.begin(), index.shape.end());
  sides.insert(sides.end(), data.shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1, data.shape.end());
  return {made(data.type, std::move(sides))};
}

std::vector<GraphValue> Operation::gather_elements() const {
  const GraphValue &data = in(0), &index = in(1);
  const std::size_t axis = axis_of(data, whole("axis", 0));
  need(index.type == kInt32 || index.type == kInt64, "it takes elements by no whole numbers", index);
  bool fits = index.shape.size() == data.shape.size();
  for (std::size_t i = 0; fits && i < data.shape.size(); ++i)
    fits = i == axis || index.shape[i] < 0 || data.shape[i] < 0 || index.shape[i] <= data.shape[i];
  need(fits, "it takes elements of another shape", data);
  return {made(data.type, index.shape)};
}

std::vector<GraphValue> Operation::expand() const {
  Sides wanted;
  for (const auto &size : sizes(1)) {
    need(!size.has_value() || *size > 0, "its shape has a size below one");
    wanted.push_back(size.value_or(kUnknown));
  }
  return {made(in(0).type, broadcast({&in(0).shape, &wanted}))};
}

std::vector<GraphValue> Operation::reshape() const {
  constexpr Side rest = std::numeric_limits<Side>::min();  // the one that is -1 in the list
  const GraphValue &data = in(0);
  Sides sides;
  bool open = false;
  for (const auto &size : sizes(1)) {
    need(!size.has_value() || *size >= -1, "its shape has a negative size");
    need(size != 0 || sides.size() < data.shape.size(), "its shape keeps an axis that is not there");
    need(size != -1 || !open, "its shape is none");
    open = open || size == -1;
    sides.push_back(size == -1 ? rest : size == 0 ? data.shape[sides.size()] : size.value_or(kUnknown));
  }
  const auto is_known = [](Side side) { return side >= 0 || side == rest; };
  if (all_known(data.shape) && std::all_of(sides.begin(), sides.end(), is_known)) {
    const std::uint64_t elements = product(data.shape), others = product(sides);
    const bool fits = open ? others > 0 && elements % others == 0 : elements == others;
    need(fits && elements != kTooMany, "it has another number of elements", data);
    if (open) std::replace(sides.begin(), sides.end(), rest, static_cast<Side>(elements / others));
  }
  std::replace(sides.begin(), sides.end(), rest, kUnknown);
  return {made(data.type, std::move(sides))};
}

std::vector<GraphValue> Operation::shape() const {
  const std::int64_t rank = in(0).rank(), start = whole("start", 0), end = whole("end", rank);
  need(0 <= start && start < end && end <= rank, "it takes sizes that are not there", in(0));
  GraphValue value;
  value.type = kInt64;
  value.shape = {end - start};
  value.numbers.emplace();
  for (auto at = static_cast<std::size_t>(start); at < static_cast<std::size_t>(end); ++at) {
    const Side side = in(0).shape[at];
    value.numbers->push_back(side >= 0 ? std::optional<std::int64_t>(side) : std::nullopt);
  }
  return {std::move(value)};
}

// A bound of a slice, counted from the front and inside.
std::int64_t bound(std::int64_t given, Side side) noexcept {
  if (given < 0) return given < -side ? 0 : given + side;
  return std::min(given, side);
}

std::vector<GraphValue> Operation::slice() const {
  const GraphValue &data = in(0);
  for (std::size_t i = 1; i < count(); ++i)
    need(in(i).type == kInt64 && in(i).rank() == 1, "its bounds are no whole numbers", in(i));
  const std::vector<std::int64_t> starts = numbers_of(in(1), "bounds"), ends = numbers_of(in(2), "bounds"),
                                  axes = numbers_of(in(3), "axes");
  const std::vector<std::int64_t> steps =
      count() > 4 ? numbers_of(in(4), "steps") : std::vector<std::int64_t>(axes.size(), 1);
  need(starts.size() == axes.size() && ends.size() == axes.size() && steps.size() == axes.size(),
       "it has not one bound for each axis");
  Sides sides = data.shape;
  std::set<std::size_t> seen;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = axis_of(data, axes[i]);
    need(seen.insert(axis).second, "it has not one bound for each axis");
    need(steps[i] > 0, "it goes backwards");
    const Side side = data.shape[axis];
    const std::int64_t room = side < 0 ? 1 : bound(ends[i], side) - bound(starts[i], side);
    need(room > 0, "nothing is left", data);
    sides[axis] = side < 0 ? kUnknown : (room - 1) / steps[i] + 1;
  }
  return {made(data.type, std::move(sides))};
}

std::vector<GraphValue> Operation::split() const {
  const GraphValue &data = in(0);
  const std::size_t axis = axis_of(data, whole("axis", 0));
  const std::vector<std::int64_t> parts = numbers_of(in(1), "sizes");
  need(in(1).type == kInt64 && parts.size() == node_.outputs.size(), "it has not one size for each output");
  std::int64_t total = 0;
  for (const std::int64_t part : parts) {
    need(part > 0 && part <= kMaxElements, "one of its parts is empty or has no end");
    total += part;
  }
  need(!parts.empty() && may_be_same(data.shape[axis], total), "its parts are not those of what it takes",
       data);
  std::vector<GraphValue> results;
  for (const std::int64_t part : parts) {
    Sides sides = data.shape;
    sides[axis] = part;
    results.push_back(made(data.type, std::move(sides)));
  }
  return results;
}

std::vector<GraphValue> Operation::squeeze() const {
  const GraphValue &data = in(0);
  const std::vector<std::size_t> axes = axes_of(data, in(1));
  Sides sides;
  for (std::size_t at = 0; at < data.shape.size(); ++at) {
    if (!contains(axes, at)) sides.push_back(data.shape[at]);
    else need(data.shape[at] == 1, "it has no such axis to leave out", data);
  }
  return {made(data.type, std::move(sides))};
}

std::vector<GraphValue> Operation::unsqueeze() const {
  const GraphValue &data = in(0);
  need(in(1).rank() == 1, "its axes are no list", in(1));
  const std::size_t more = numbers_of(in(1), "axes").size();
  const std::vector<std::size_t> axes = axes_of(data, in(1), static_cast<std::int64_t>(more));
  Sides sides;
  auto next = data.shape.begin();
  for (std::size_t at = 0; at < data.shape.size() + more; ++at)
    sides.push_back(contains(axes, at) ? 1 : *next++);
  return {made(data.type, std::move(sides))};
}

std::vector<GraphValue> Operation::transpose() const {
  const GraphValue &data = in(0);
  const std::vector<std::int64_t> order = list("perm", {});
  std::vector<std::int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  bool fits = sorted.size() == data.shape.size();
  for (std::size_t at = 0; fits && at < sorted.size(); ++at)
    fits = sorted[at] == static_cast<std::int64_t>(at);
  need(fits, "it has no order of the axes", data);
  Sides sides;
  for (const std::int64_t at : order) sides.push_back(data.shape[static_cast<std::size_t>(at)]);
  return {made(data.type, std::move(sides))};
}

std::vector<GraphValue> Operation::pad() const {
  const GraphValue &data = in(0);
  const std::vector<std::int64_t> pads = numbers_of(in(1), "amounts");
  need(in(1).type == kInt64 && pads.size() == 2 * data.shape.size(), "it has not two amounts per axis", data);
  for (const std::int64_t amount : pads) need(amount >= 0 && amount < 1 << 16, "one of its amounts is none");
  if (count() > 2) need(in(2).type == data.type && in(2).rank() == 0, "it pads with no number", in(2));
  Sides sides;
  for (std::size_t at = 0; at < data.shape.size(); ++at) {
    const std::int64_t more = pads[at] + pads[at + data.shape.size()];
    const Side side = data.shape[at];
    sides.push_back(side >= 0 ? side + more : more == 0 ? side : kUnknown);
  }
  return {made(data.type, std::move(sides))};
}

// One scale, or one for each place on an axis, and as many zero points.
void Operation::check_scales() const {
  const GraphValue &data = in(0), &scale = in(1);
  bool fits = scale.rank() == 0;
  if (scale.rank() == 1) {
    const std::size_t axis = axis_of(data, whole("axis", 1));
    fits = may_be_same(data.shape[axis], scale.shape[0]) || scale.shape[0] == 1;
  }
  need(fits, "it scales by another shape", scale);
  for (std::size_t i = 2; i < count(); ++i)
    need(in(i).type == kInt8 && in(i).shape == scale.shape, "its zero point does not fit its scale", in(i));
}

struct Rule {
  Operation::Result result;
  std::size_t fewest, most;  // inputs
  std::map<std::string, Kind> attributes;
  std::vector<std::string> required = {};
  std::size_t outputs = 1;  // the most
};

const std::map<std::string, Rule> &rules() {
  static const std::map<std::string, Rule> *found = [] {
    using O = Operation;
    const std::map<std::string, Kind> axis = {{"axis", Kind::whole}}, none = {};
    const std::map<std::string, Kind> sliding = {
        {"kernel_shape", Kind::list}, {"strides", Kind::list}, {"pads", Kind::list}};
    std::map<std::string, Kind> grouped = sliding;
    grouped["group"] = Kind::whole;
    auto *made = new std::map<std::string, Rule>{
        {"Abs", {&O::numeric, 1, 1, none}},
        {"ArgMax", {&O::arg_max, 1, 1, {{"axis", Kind::whole}, {"keepdims", Kind::whole}}, {"axis"}}},
        {"Cast", {&O::cast, 1, 1, {{"to", Kind::whole}}, {"to"}}},
        {"Concat", {&O::concat, 1, 64, axis, {"axis"}}},
        {"Conv", {&O::conv, 2, 3, grouped, {"kernel_shape"}}},
        {"DequantizeLinear", {&O::dequantize, 2, 3, axis}},
        {"Expand", {&O::expand, 2, 2, none}},
        {"Gather", {&O::gather, 2, 2, axis}},
        {"GatherElements", {&O::gather_elements, 2, 2, axis}},
        {"Identity", {&O::identity, 1, 1, none}},
        {"LayerNormalization", {&O::layer_norm, 3, 3, {{"axis", Kind::whole}, {"epsilon", Kind::real}}}},
        {"MatMul", {&O::matmul, 2, 2, none}},
        {"MaxPool", {&O::max_pool, 1, 1, sliding, {"kernel_shape"}}},
        {"Pad", {&O::pad, 2, 3, none}},
        {"QuantizeLinear", {&O::quantize, 3, 3, axis}},
        {"Reshape", {&O::reshape, 2, 2, none}},
        {"Shape", {&O::shape, 1, 1, {{"start", Kind::whole}, {"end", Kind::whole}}}},
        {"Slice", {&O::slice, 4, 5, none}},
        {"Softmax", {&O::softmax, 1, 1, axis}},
        {"Split", {&O::split, 2, 2, axis, {}, 64}},
        {"Squeeze", {&O::squeeze, 2, 2, none}},
        {"Transpose", {&O::transpose, 1, 1, {{"perm", Kind::list}}, {"perm"}}},
        {"Unsqueeze", {&O::unsqueeze, 2, 2, none}},
        {"Where", {&O::where, 3, 3, none}}};
    for (const char *name : {"Cos", "Exp", "Floor", "Gelu", "Relu", "Round", "Sigmoid", "Sin", "Sqrt"})
      made->insert({name, {&O::floating, 1, 1, none}});
    for (const char *name : {"Add", "Div", "Max", "Min", "Mul", "Sub"})
      made->insert({name, {&O::binary, 2, 2, none}});
    for (const char *name : {"Equal", "Greater", "Less"}) made->insert({name, {&O::compare, 2, 2, none}});
    for (const char *name : {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
      made->insert({name, {&O::reduce, 2, 2, {{"keepdims", Kind::whole}}}});
    return made;
  }();
  return *found;
}

}  // namespace

std::uint64_t item_size(std::uint64_t type) noexcept {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool: return 1;
    case kHalf: return 2;
    case kFloat:
    case kInt32: return 4;
    case kInt64: return 8;
    default: return 0;
  }
}

bool may_be_same(Side one, Side other) noexcept { return one < 0 || other < 0 || one == other; }

std::vector<GraphValue> results_of(const GraphNode &node, const std::vector<const GraphValue *> &given) {
  const auto found = rules().find(node.op);
  if (found == rules().end()) throw WireError("it is no operator that samedge's graphs have");
  const Rule &rule = found->second;
  if (given.size() < rule.fewest || given.size() > rule.most)
    throw WireError(text("it takes %zu inputs, expected %zu to %zu", given.size(), rule.fewest, rule.most));
  if (node.outputs.empty() || node.outputs.size() > rule.outputs)
    throw WireError(text("it has %zu outputs, expected 1 to %zu", node.outputs.size(), rule.outputs));
  for (const auto &attribute : node.attributes) {
    const auto wanted = rule.attributes.find(attribute.first);
    if (wanted == rule.attributes.end())
      throw WireError(text("it has the attribute '%s', which samedge never writes",
                           samedge::shown(attribute.first).c_str()));
    if (attribute.second.kind != wanted->second)
      throw WireError(text("its attribute '%s' is of another type", attribute.first.c_str()));
  }
  for (const std::string &name : rule.required)
    if (node.attributes.count(name) == 0) throw WireError(text("it lacks the attribute %s", name.c_str()));
  const Operation operation(node, given);
  return (operation.*rule.result)();
}

}  // namespace samedge
