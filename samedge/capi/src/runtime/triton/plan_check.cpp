// Whether the parts of a plan fit each other: samedge/runtime/triton/plan_check.py.
//
// Sizes are sums, products and rounded-up quotients of numbers that are not negative, so each grows with the
// sizes that it is made of: what holds where all of them are 1 and at a program's limits holds in between.
#include <algorithm>
#include <set>

#include "base/failure.hpp"
#include "runtime/triton/plan.hpp"

namespace samedge {

namespace {

constexpr int kWarp = 32;
constexpr std::size_t kMostParameters = 4096 / 8;  // a kernel takes 4 KiB of them
constexpr std::int64_t kGrid[3] = {(std::int64_t{1} << 31) - 1, (1 << 16) - 1, (1 << 16) - 1};
constexpr std::int64_t kInt32 = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t kEnormous = std::int64_t{1} << 62;

long long shown_number(std::int64_t number) noexcept { return static_cast<long long>(number); }

bool is_float(Stored type) noexcept {
  return type == Stored::fp32 || type == Stored::fp16 || type == Stored::bf16;
}

// Sizes of one program at one set of values, and messages about them.
class Checker {
 public:
  Checker(const EnginePlan &plan, const Target &target, const Program &program, std::string where)
      : plan_(plan), target_(target), program_(program), where_(std::move(where)) {}

  void check() {
    const SizePool &pool = plan_.sizes;
    least_.assign(pool.names.size(), 0);
    most_.assign(pool.names.size(), 0);
    for (const auto &[name, most] : program_.limits) {
      least_[static_cast<std::size_t>(name)] = 1;
      most_[static_cast<std::size_t>(name)] = most;
    }
    std::set<std::int64_t> sizes;
    for (const Port &port : program_.inputs)
      for (const Size &size : port.shape) {
        if (size.kind != Size::Kind::number && size.kind != Size::Kind::name)
          wrong_plan(where_ + ".inputs." + port.name, "plain sizes and names", "an expression");
        if (size.kind == Size::Kind::name) sizes.insert(size.value);
      }
    const bool all = std::all_of(program_.limits.begin(), program_.limits.end(),
                                 [&](const auto &limit) { return sizes.count(limit.first) != 0; });
    if (!all || sizes.size() != program_.limits.size())
      wrong_plan(where_ + ".limits", "limits of the sizes of the inputs", "of others");
    std::set<std::string> names;
    for (std::size_t i = 0; i < program_.ports(); ++i) names.insert(program_.port(i).name);
    if (names.size() != program_.ports())
      wrong_plan(where_ + ".inputs", "different names of all ports", "one twice");
    for (std::size_t i = 0; i < program_.ports(); ++i) port(program_.port(i));
    known(program_.arena, where_ + ".arena");
    arena_ = value_of(program_.arena, most_, where_);
    if (arena_ > kLargest)
      wrong_plan(where_ + ".arena", text("at most %lld bytes", shown_number(kLargest)), "more");
    for (std::size_t i = 0; i < program_.steps.size(); ++i)
      step(program_.steps[i], where_ + ".steps[" + std::to_string(i) + "]");
  }

 private:
  std::int64_t value_of(const Size &size, const SizeValues &values, const std::string &where) const {
    if (size.kind == Size::Kind::number) return size.value;
    if (size.kind == Size::Kind::name) return values[static_cast<std::size_t>(size.value)];
    const std::int64_t a = value_of(plan_.sizes.parts[size.a], values, where);
    const std::int64_t b = value_of(plan_.sizes.parts[size.b], values, where);
    if (size.kind == Size::Kind::quotient) return a / b + (a % b != 0 ? 1 : 0);
    std::int64_t found = 0;
    const bool overflows = size.kind == Size::Kind::sum ? __builtin_add_overflow(a, b, &found)
                                                        : __builtin_mul_overflow(a, b, &found);
    if (overflows || found > kEnormous)
      wrong_plan(where, text("less than %lld", shown_number(kEnormous)), "more");
    return found;
  }

  // Every name in it has a limit.
  void known(const Size &size, const std::string &where) const {
    if (size.kind == Size::Kind::number) return;
    if (size.kind == Size::Kind::name) {
      if (most_[static_cast<std::size_t>(size.value)] == 0)
        wrong_plan(where, "sizes of the inputs", shown(plan_.sizes.names[static_cast<std::size_t>(size.value)]));
      return;
    }
    known(plan_.sizes.parts[size.a], where);
    known(plan_.sizes.parts[size.b], where);
  }

  void port(const Port &port) const {
    const std::string where = where_ + "." + port.name;
    std::int64_t elements = 1;
    for (const Size &size : port.shape) {
      known(size, where);
      if (value_of(size, least_, where) < 1) wrong_plan(where, "sizes of 1 or more", "0");
      const std::int64_t side = value_of(size, most_, where);
      if (__builtin_mul_overflow(elements, side, &elements) || elements > kLargest)
        wrong_plan(where, text("at most %lld elements", shown_number(kLargest)), "more");
    }
  }

  void step(const Step &step, const std::string &where) const {
    if (step.kernel >= target_.kernels.size())
      wrong_plan(where + ".kernel", text("one of %zu kernels", target_.kernels.size()), std::to_string(step.kernel));
    const std::string &parameters = target_.kernels[step.kernel].parameters;
    if (step.arguments.size() != parameters.size())
      wrong_plan(where + ".arguments", text("%zu arguments", parameters.size()),
                 std::to_string(step.arguments.size()));
    for (const Size &size : step.grid) known(size, where);
    for (const Size &size : step.account) {
      known(size, where);
      static_cast<void>(value_of(size, most_, where));
    }
    for (std::size_t axis = 0; axis < 3; ++axis)
      if (value_of(step.grid[axis], least_, where) < 1 || value_of(step.grid[axis], most_, where) > kGrid[axis])
        wrong_plan(where + ".grid", text("1 to %lld blocks", shown_number(kGrid[axis])),
                   std::to_string(value_of(step.grid[axis], most_, where)));
    for (std::size_t i = 0; i < parameters.size(); ++i)
      argument(step.arguments[i], parameters[i], where + ".arguments[" + std::to_string(i) + "]");
  }

  void argument(const Argument &argument, char parameter, const std::string &where) const {
    known(argument.value, where);
    if ((argument.kind == Argument::Kind::size) != (parameter == 'i'))
      wrong_plan(where, parameter == 'i' ? "a size" : "a pointer", "the other");
    const std::int64_t most = value_of(argument.value, most_, where);
    switch (argument.kind) {
      case Argument::Kind::size:
        if (most > kInt32) wrong_plan(where, text("at most %lld", shown_number(kInt32)), std::to_string(most));
        return;
      case Argument::Kind::weight:
        if (argument.value.kind != Size::Kind::number)
          wrong_plan(where, "a fixed place in the weights", "an expression");
        place(most, plan_.weights_size, where);
        return;
      case Argument::Kind::arena: place(most, arena_, where); return;
      case Argument::Kind::port:
        if (most % kPointerAlignment != 0)
          wrong_plan(where, text("a multiple of %lld bytes", shown_number(kPointerAlignment)), std::to_string(most));
        return;
      case Argument::Kind::null: return;
    }
  }

  static void place(std::int64_t offset, std::int64_t end, const std::string &where) {
    if (offset % kPointerAlignment != 0 || offset >= end)
      wrong_plan(where, text("a multiple of %lld below %lld bytes", shown_number(kPointerAlignment), shown_number(end)),
                 std::to_string(offset));
  }

  const EnginePlan &plan_;
  const Target &target_;
  const Program &program_;
  std::string where_;
  SizeValues least_, most_;  // 0 for names that the program does not have
  std::int64_t arena_ = 0;
};

void check_weights(const EnginePlan &plan, std::int64_t constants) {
  std::vector<const Weight *> weights;
  for (const Weight &weight : plan.weights) weights.push_back(&weight);
  std::stable_sort(weights.begin(), weights.end(),
                   [](const Weight *a, const Weight *b) { return a->offset < b->offset; });
  std::int64_t end = 0;
  for (const Weight *weight : weights) {
    const std::string where = "weights." + shown(weight->name);
    if (!weight->file.empty() && plan.files.find(weight->file) == plan.files.end())
      wrong_plan(where, "a file that the plan has the hash of", shown(weight->file));
    if (weight->file.empty() && (weight->extent() > constants || weight->position > constants - weight->extent()))
      wrong_plan(where, text("within the %lld bytes of the constants", shown_number(constants)),
                 std::to_string(weight->position));
    if (weight->offset % kPlanAlignment != 0 || weight->offset < end)
      wrong_plan(where, text("a multiple of %lld from %lld on", shown_number(kPlanAlignment), shown_number(end)),
                 std::to_string(weight->offset));
    end = weight->offset + weight->elements() * static_cast<std::int64_t>(size_of(weight->dtype));
    if (end > plan.weights_size)
      wrong_plan(where, text("within the %lld bytes of the weights", shown_number(plan.weights_size)),
                 std::to_string(end));
    if (weight->dtype != weight->stored && !(is_float(weight->dtype) && is_float(weight->stored)))
      wrong_plan(where, std::string(name_of(weight->stored)) + " or a floating-point type", name_of(weight->dtype));
    if (weight->scale != 1.0 && !is_float(weight->dtype))
      wrong_plan(where, std::string("the factor 1 of ") + name_of(weight->dtype), text("%g", weight->scale));
  }
}

void check_kernel(const KernelCode &kernel, const std::string &where, std::int64_t code) {
  if (kernel.position % kPlanAlignment != 0 || kernel.position + kernel.size > code)
    wrong_plan(where, text("a multiple of %lld within %lld bytes of code", shown_number(kPlanAlignment), shown_number(code)),
               std::to_string(kernel.position));
  if (kernel.threads % kWarp != 0)
    wrong_plan(where, text("a multiple of %d threads", kWarp), std::to_string(kernel.threads));
  if (kernel.parameters.size() > kMostParameters)
    wrong_plan(where, text("at most %zu parameters", kMostParameters), std::to_string(kernel.parameters.size()));
}

bool same_ports(const SizePool &pool, const std::vector<Port> &one, const std::vector<Port> &other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(), [&](const Port &a, const Port &b) {
    return a.name == b.name && a.element == b.element &&
           std::equal(a.shape.begin(), a.shape.end(), b.shape.begin(), b.shape.end(),
                      [&](const Size &x, const Size &y) { return pool.same(x, y); });
  });
}

}  // namespace

void check_plan(const EnginePlan &plan, std::int64_t constants, std::int64_t code) {
  check_weights(plan, constants);
  for (const Target &target : plan.targets) {
    const std::string where = "sm_" + std::to_string(target.compute_capability);
    for (std::size_t i = 0; i < target.kernels.size(); ++i)
      check_kernel(target.kernels[i], where + ".kernels[" + std::to_string(i) + "]", code);
    const Program *first[2] = {nullptr, nullptr};  // of the decoder, of the encoder
    for (std::size_t i = 0; i < target.programs.size(); ++i) {
      const Program &program = target.programs[i];
      const std::string here = where + ".programs[" + std::to_string(i) + "]";
      Checker(plan, target, program, here).check();
      // The limits are those of the inputs' names: the same ports have the same ones.
      const Program *&other = first[program.encoder ? 1 : 0];
      if (other == nullptr) other = &program;
      if (!same_ports(plan.sizes, program.inputs, other->inputs) ||
          !same_ports(plan.sizes, program.outputs, other->outputs))
        wrong_plan(here, std::string("the ports of the other ") + (program.encoder ? "encoder" : "decoder"), "others");
    }
    for (const bool encoder : {true, false})
      if (first[encoder ? 1 : 0] == nullptr)
        wrong_plan(where + ".programs", encoder ? "one of the encoder" : "one of the decoder", "none");
  }
}

}  // namespace samedge
