#include "runtime/gpu/replay.hpp"

#include <cstring>

#include "base/clock.hpp"
#include "base/failure.hpp"
#include "base/log.hpp"

namespace samedge {

namespace {

DeviceAddress address_of(const Tensor &tensor) noexcept {
  return static_cast<DeviceAddress>(reinterpret_cast<std::uintptr_t>(tensor.data));
}

}  // namespace

void Scratch::reserve(std::size_t size) {
  if (version_ != 0 && size <= memory_.size()) return;
  memory_ = DeviceMemory();  // first: there may not be room for both
  memory_ = DeviceMemory(*device_, size, "the network's intermediate results");
  ++version_;
}

Replay::Replay(std::unique_ptr<Work> work, const GraphIO &io, const Device &device, std::size_t alignment,
               const Bindings &inputs, const Bindings &outputs)
    : alignment_(alignment), work_(std::move(work)) {
  places_.reserve(io.inputs.size() + io.outputs.size());
  for (const TensorSpec &spec : io.inputs) place(spec, true, find(inputs, spec.name.c_str()), device);
  for (const TensorSpec &spec : io.outputs) place(spec, false, find(outputs, spec.name.c_str()), device);
}

bool Replay::fits(const Bindings &inputs, const Bindings &outputs) const noexcept {
  for (const Place &place : places_) {
    const Binding *binding = find(place.input ? inputs : outputs, place.name);
    if (kind_of(binding, alignment_) != place.kind) return false;
    if (binding != nullptr &&
        (binding->tensor.shape != place.shape || binding->tensor.element != place.element))
      return false;
  }
  return true;
}

RunTimes Replay::run(const Stream &stream, const Bindings &inputs, const Bindings &outputs) {
  RunTimes times;
  const auto begin = Clock::now();
  auto staged = begin;
  try {
    if (work_->take_scratch()) drop_graph();
    for (Place &place : places_) {
      const Binding *binding = find(place.input ? inputs : outputs, place.name);
      if (place.kind == Kind::bound || place.kind == Kind::copied) take(stream, place, address_of(binding->tensor));
      if (!place.input) continue;
      if (place.kind == Kind::host) {
        std::memcpy(place.pinned.data(), binding->tensor.data, place.bytes);
      } else if (place.kind == Kind::constant && place.constant != binding->constant) {
        place.memory.fill(binding->tensor.data, place.bytes);
        place.constant = binding->constant;
      }
    }
    staged = Clock::now();
    start(stream);
  } catch (...) {
    // Nothing may be under way when the caller frees what it reads or writes.
    stream.settle();
    throw;
  }
  stream.synchronise();
  const auto done = Clock::now();
  for (const Place &place : places_)
    if (!place.input && place.kind == Kind::host)
      std::memcpy(find(outputs, place.name)->tensor.data, place.pinned.data(), place.bytes);
  times.copy_in = milliseconds(begin, staged);
  times.compute = milliseconds(staged, done);
  times.copy_out = milliseconds(done, Clock::now());
  return times;
}

Replay::Kind Replay::kind_of(const Binding *binding, std::size_t alignment) noexcept {
  if (binding == nullptr) return Kind::none;
  if (binding->tensor.memory == Memory::cuda)
    return address_of(binding->tensor) % alignment == 0 ? Kind::bound : Kind::copied;
  return binding->constant == 0 ? Kind::host : Kind::constant;
}

const Binding *Replay::find(const Bindings &bindings, const char *name) noexcept {
  for (const Binding &binding : bindings)
    if (std::strcmp(binding.name, name) == 0) return &binding;
  return nullptr;
}

// Buffers for one input or output, or its own memory if it lies on the device.
void Replay::place(const TensorSpec &spec, bool input, const Binding *binding, const Device &device) {
  if (input && binding == nullptr) fail(SAMEDGE_ERROR_INTERNAL, "the input '%s' is missing", shown(spec.name).c_str());
  Place made;
  made.name = spec.name.c_str();
  made.input = input;
  made.kind = kind_of(binding, alignment_);
  made.element = spec.element;
  made.shape = work_->shape(made.name);
  made.bytes = made.shape.elements() * size_of(spec.element);
  if (binding != nullptr && binding->tensor.element != spec.element)
    fail(SAMEDGE_ERROR_BUNDLE, "'%s' is of another type than the bundle says; export the bundle again with this "
         "version of samedge", shown(spec.name).c_str());
  if (binding != nullptr && binding->tensor.shape != made.shape)
    fail(SAMEDGE_ERROR_BUNDLE, "'%s' came as %s, expected %s; the bundle does not fit this version of samedge: "
         "export it again", shown(spec.name).c_str(), text(made.shape).c_str(),
         text(binding->tensor.shape).c_str());
  if (!input && made.kind == Kind::copied)
    fail(SAMEDGE_ERROR_INTERNAL, "'%s' cannot be written where it is to go: it is not aligned", shown(spec.name).c_str());
  if (made.kind != Kind::bound) {
    made.memory = DeviceMemory(device, made.bytes, "'" + shown(spec.name) + "' " + text(made.shape));
    work_->set_address(made.name, made.memory.address());
  }
  if (made.kind == Kind::host) made.pinned = PinnedMemory(made.bytes);
  places_.push_back(std::move(made));
}

// Read or write an array where it lies; a copy within the device if it cannot be used as it is.
void Replay::take(const Stream &stream, Place &place, DeviceAddress address) {
  if (place.kind == Kind::copied) {
    stream.copy_rows(place.memory.address(), address, place.bytes, 1, place.bytes);
  } else if (place.bound != address) {
    drop_graph();  // it holds the address before, and is wrong for this one
    work_->set_address(place.name, address);
    place.bound = address;
  }
}

// Queue the work: by the graph, or one by one where there is none (yet).
void Replay::start(const Stream &stream) {
  if (!graph_ && runs_ > 0 && capturable_) {
    try {
      graph_.capture(stream, [&] { queue(stream); });
    } catch (const Failure &failure) {
      capturable_ = false;
      log(SAMEDGE_LOG_WARNING, "no CUDA graph (%s): every frame starts its kernels one by one", failure.what());
    }
  }
  if (graph_)
    graph_.launch(stream);
  else
    queue(stream);
  ++runs_;
}

void Replay::queue(const Stream &stream) {
  for (const Place &place : places_)
    if (place.input && place.kind == Kind::host)
      stream.upload(place.memory.address(), place.pinned.data(), place.bytes);
  work_->queue(stream);
  for (const Place &place : places_)
    if (!place.input && place.kind == Kind::host)
      stream.download(place.pinned.data(), place.memory.address(), place.bytes);
}

// The graph no longer fits; the next run is queued as it is, the one after captured.
void Replay::drop_graph() noexcept {
  graph_.clear();
  runs_ = 0;
}

}  // namespace samedge
