#include "runtime/triton/launches.hpp"

#include <algorithm>
#include <cstring>

#include "base/failure.hpp"

namespace samedge {

namespace {

constexpr std::int64_t kInt32 = (std::int64_t{1} << 31) - 1;
constexpr const char *kKinds[] = {"arena", "weight", "port", "size", "null"};

std::string listed(const SizePool &pool, const SizeValues &values) {
  std::string words;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] != 0) words += (words.empty() ? "" : ", ") + pool.names[i] + " " + std::to_string(values[i]);
  return words;
}

}  // namespace

Launches::Launches(const SizePool &pool, const Program &program, const std::vector<KernelCode> &kernels,
                   const std::vector<CuHandle> &functions, DeviceAddress weights, std::shared_ptr<Scratch> arena,
                   const SizeValues &values)
    : program_(program), arena_(std::move(arena)), bytes_(pool.evaluate(program.arena, values)) {
  for (std::size_t i = 0; i < program.ports(); ++i) {
    Shape shape;
    for (const Size &size : program.port(i).shape) shape.sides[shape.rank++] = pool.evaluate(size, values);
    shapes_.push_back(shape);
  }
  in_ports_.resize(program.ports());
  for (const Step &step : program.steps) {
    const KernelCode &kernel = kernels[step.kernel];
    Start start;
    start.function = functions[step.kernel];
    for (std::size_t axis = 0; axis < 3; ++axis)
      start.grid[axis] = static_cast<unsigned int>(pool.evaluate(step.grid[axis], values));
    start.threads = static_cast<unsigned int>(kernel.threads);
    start.shared = static_cast<unsigned int>(kernel.shared);
    start.first = parameters_.size();
    for (const Argument &argument : step.arguments) {
      const std::int64_t found = number(pool, argument, step, values);
      const Moving moving{parameters_.size(), found};
      if (argument.kind == Argument::Kind::arena) in_arena_.push_back(moving);
      if (argument.kind == Argument::Kind::port) in_ports_[argument.port].push_back(moving);
      const bool weight = argument.kind == Argument::Kind::weight;
      parameters_.push_back((weight ? weights : 0) + static_cast<std::uint64_t>(found));
    }
    parameters_.insert(parameters_.end(), kScratchPointers, 0);
    starts_.push_back(start);
  }
  places_.reserve(parameters_.size());
  for (std::uint64_t &parameter : parameters_) places_.push_back(&parameter);
}

Shape Launches::shape(const char *name) const { return shapes_[port(name)]; }

void Launches::set_address(const char *name, DeviceAddress address) {
  for (const Moving &moving : in_ports_[port(name)])
    parameters_[moving.parameter] = address + static_cast<std::uint64_t>(moving.offset);
}

bool Launches::take_scratch() {
  arena_->reserve(static_cast<std::size_t>(bytes_));
  if (arena_version_ == arena_->version()) return false;
  for (const Moving &moving : in_arena_)
    parameters_[moving.parameter] = arena_->address() + static_cast<std::uint64_t>(moving.offset);
  arena_version_ = arena_->version();
  return true;
}

void Launches::queue(const Stream &stream) {
  const CudaDriver &driver = cuda_table();
  for (const Start &start : starts_)
    check_cuda(driver.launch(start.function, start.grid[0], start.grid[1], start.grid[2], start.threads, 1, 1,
                             start.shared, stream.handle(), &places_[start.first], nullptr),
               "starting a kernel");
}

std::size_t Launches::port(const char *name) const {
  for (std::size_t i = 0; i < program_.ports(); ++i)
    if (program_.port(i).name == name) return i;
  fail(SAMEDGE_ERROR_INTERNAL, "the engine has no '%s'", shown(name).c_str());
}

// The value of an argument; what `check_plan` could not know is checked here.
std::int64_t Launches::number(const SizePool &pool, const Argument &argument, const Step &step,
                              const SizeValues &values) const {
  const std::int64_t found = pool.evaluate(argument.value, values);
  const bool fits = argument.kind == Argument::Kind::null ||
                    (argument.kind == Argument::Kind::size ? found >= -kInt32 - 1 && found <= kInt32
                                                           : found % kPointerAlignment == 0);
  if (!fits || (argument.kind == Argument::Kind::arena && found >= bytes_))
    fail(SAMEDGE_ERROR_DEVICE,
         "the engine's launch %s has %s %lld for %s, beyond its arena of %lld bytes or not aligned; report this, "
         "and use another backend", shown(step.label).c_str(), kKinds[static_cast<std::size_t>(argument.kind)],
         static_cast<long long>(found), listed(pool, values).c_str(), static_cast<long long>(bytes_));
  return found;
}

SizeValues sizes_of(const SizePool &pool, const std::vector<Port> &ports, const Bindings &inputs) {
  SizeValues values(pool.names.size(), 0);
  for (const Port &port : ports) {
    const auto binding = std::find_if(inputs.begin(), inputs.end(),
                                      [&](const Binding &input) { return port.name == input.name; });
    if (binding == inputs.end())
      fail(SAMEDGE_ERROR_INTERNAL, "the input '%s' is missing", shown(port.name).c_str());
    const Shape &shape = binding->tensor.shape;
    bool fits = shape.rank == port.shape.size();
    std::string came, wanted;
    for (std::size_t axis = 0; fits && axis < shape.rank; ++axis) {
      const Size &size = port.shape[axis];
      const std::int64_t side = shape[axis];
      if (size.kind == Size::Kind::number) {
        fits = side >= 1 && side == size.value;
        continue;
      }
      std::int64_t &value = values[static_cast<std::size_t>(size.value)];
      if (value == 0) value = side;
      fits = side >= 1 && side == value;
    }
    if (fits) continue;
    for (const std::int64_t side : shape) came += (came.empty() ? "" : ", ") + std::to_string(side);
    for (const Size &size : port.shape)
      wanted += (wanted.empty() ? "" : ", ") + (size.kind == Size::Kind::number
                                                    ? std::to_string(size.value)
                                                    : pool.names[static_cast<std::size_t>(size.value)]);
    fail(SAMEDGE_ERROR_BUNDLE, "the input '%s' came as [%s], expected [%s] with %s; export the bundle again with "
         "this version of samedge", shown(port.name).c_str(), came.c_str(), wanted.c_str(),
         listed(pool, values).c_str());
  }
  return values;
}

const Program &program_for(const SizePool &pool, const std::vector<const Program *> &programs,
                           const SizeValues &values) {
  const auto too_large = [&](const std::pair<std::int64_t, std::int64_t> &limit) {
    return values[static_cast<std::size_t>(limit.first)] > limit.second;
  };
  for (const Program *program : programs)
    if (std::none_of(program->limits.begin(), program->limits.end(), too_large)) return *program;
  const Program &last = *programs.back();
  const auto limit = std::find_if(last.limits.begin(), last.limits.end(), too_large);
  const std::string &name = pool.names[static_cast<std::size_t>(limit->first)];
  const bool side = name == "height" || name == "width";
  fail(SAMEDGE_ERROR_NOT_SUPPORTED, "the %s has %lld %s; this engine takes 1 to %lld. %s, or use "
       "SAMEDGE_BACKEND_OPENVINO", last.encoder ? "encoder" : "decoder",
       static_cast<long long>(values[static_cast<std::size_t>(limit->first)]), name.c_str(),
       static_cast<long long>(limit->second),
       side ? "Build it for larger frames (samedge build --max-side)"
            : "Prompt fewer objects or points at a time (samedge_set_frame once, samedge_predict often)");
}

}  // namespace samedge
