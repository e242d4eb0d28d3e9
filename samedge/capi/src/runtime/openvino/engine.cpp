#include "runtime/openvino/engine.hpp"

#include <cstring>

#include "base/clock.hpp"
#include "base/failure.hpp"
#include "runtime/openvino/core.hpp"

namespace samedge {

namespace {

constexpr const char *kNetworkInput = "network_input";
constexpr std::size_t kMostBound = 16;  // tensors that are kept for each port

ov::element::Type type_of(Element element) noexcept {
  switch (element) {
    case Element::u8: return ov::element::u8;
    case Element::i32: return ov::element::i32;
    case Element::i64: return ov::element::i64;
    case Element::f16: return ov::element::f16;
    case Element::f32: return ov::element::f32;
  }
  return ov::element::u8;
}

Element element_of(const ov::element::Type &type) {
  for (const Element element : {Element::u8, Element::i32, Element::i64, Element::f16, Element::f32})
    if (type_of(element) == type) return element;
  fail(SAMEDGE_ERROR_BUNDLE,
       "the bundle's graph has a tensor of the type %s; export the bundle again with this "
       "version of samedge",
       type.get_type_name().c_str());
}

bool same(const ov::Shape &shape, const Shape &expected) noexcept {
  if (shape.size() != expected.rank) return false;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (static_cast<std::int64_t>(shape[i]) != expected[i]) return false;
  return true;
}

// The manifest's name of a port: OpenVINO may have given it those of elided nodes as well.
std::string name_in(const ov::Output<const ov::Node> &port, const GraphIO &io) {
  std::string found;
  int count = 0;
  for (const std::string &name : port.get_names()) {
    if (io.input(name) == nullptr && io.output(name) == nullptr && name != kNetworkInput) continue;
    found = name;
    ++count;
  }
  if (count != 1)
    fail(SAMEDGE_ERROR_BUNDLE,
         "a tensor of the graph is none that the manifest lists; export the bundle again "
         "with this version of samedge");
  return found;
}

}  // namespace

OpenVinoEngine::OpenVinoEngine(const std::vector<CompiledPart> &parts, const GraphIO &io) try {
  for (const CompiledPart &compiled : parts) {
    Part part;
    part.name = compiled.name;
    ov::CompiledModel model = compiled.model;
    part.request = model.create_infer_request();
    const auto ports = [&](const std::vector<ov::Output<const ov::Node>> &all, std::vector<Port> &made) {
      for (std::size_t i = 0; i < all.size(); ++i) {
        made.emplace_back();
        made.back().name = name_in(all[i], io);
        made.back().index = i;
        made.back().bound.reserve(kMostBound);
      }
    };
    ports(model.inputs(), part.inputs);
    ports(model.outputs(), part.outputs);
    parts_.push_back(std::move(part));
  }
  // What one part writes, the next one reads.
  for (std::size_t i = 1; i < parts_.size(); ++i)
    for (Port &from : parts_[i - 1].outputs)
      for (Port &to : parts_[i].inputs) {
        if (from.name != to.name) continue;
        ov::CompiledModel model = parts[i].model;
        const auto port = model.input(to.index);
        ov::Tensor tensor(port.get_element_type(), port.get_shape());
        std::memset(tensor.data(), 0, tensor.get_byte_size());
        parts_[i - 1].request.set_output_tensor(from.index, tensor);
        parts_[i].request.set_input_tensor(to.index, tensor);
        from.own = to.own = true;
        owned_.push_back(std::move(tensor));
      }
} catch (const Failure &) {
  throw;
} catch (const std::exception &error) {
  openvino_failed(error, SAMEDGE_ERROR_DEVICE, "making ready for a session");
}

RunTimes OpenVinoEngine::run(const Bindings &inputs, const Bindings &outputs) {
  RunTimes times;
  for (Part &part : parts_) {
    const auto start = Clock::now();
    run_part(part, inputs, outputs);
    (&part == &parts_.back() ? times.compute : times.preprocess) += milliseconds(start, Clock::now());
  }
  return times;
}

void OpenVinoEngine::run_part(Part &part, const Bindings &inputs, const Bindings &outputs) {
  try {
    for (Port &port : part.inputs) {
      for (const Binding &binding : inputs)
        if (port.name == binding.name && bind(port, binding.tensor))
          part.request.set_input_tensor(port.index, port.bound[port.current - 1].tensor);
      if (port.current == 0 && !port.own)
        fail(SAMEDGE_ERROR_BUNDLE,
             "the %s part wants an input '%s' that this version of samedge does not know; "
             "export the bundle again",
             part.name, shown(port.name).c_str());
    }
    for (Port &port : part.outputs)
      for (const Binding &binding : outputs)
        if (port.name == binding.name && bind(port, binding.tensor))
          part.request.set_output_tensor(port.index, port.bound[port.current - 1].tensor);
    part.request.infer();
    for (const Port &port : part.outputs) {
      if (port.current == 0) continue;
      const Shape &expected = port.bound[port.current - 1].shape;
      const ov::Tensor got = part.request.get_output_tensor(port.index);
      if (!same(got.get_shape(), expected))
        fail(SAMEDGE_ERROR_DEVICE,
             "the output '%s' came as %s, expected %s; the bundle does not fit this version of "
             "samedge: export it again",
             shown(port.name).c_str(), got.get_shape().to_string().c_str(), text(expected).c_str());
    }
  } catch (const Failure &) {
    forget(part);
    throw;
  } catch (const std::exception &error) {
    forget(part);
    openvino_failed(error, SAMEDGE_ERROR_DEVICE, text("computing the %s part", part.name).c_str());
  }
}

// After a failure it is not known for sure what is bound, and tensors may have another shape.
void OpenVinoEngine::forget(Part &part) noexcept {
  for (std::vector<Port> *ports : {&part.inputs, &part.outputs})
    for (Port &port : *ports) {
      port.bound.clear();
      port.current = port.next = 0;
    }
}

// Let a port be a tensor's memory; false if it is that already.
bool OpenVinoEngine::bind(Port &port, const Tensor &tensor) {
  const auto fits = [&](const Bound &bound) {
    return bound.data == tensor.data && bound.element == tensor.element && bound.shape == tensor.shape;
  };
  if (port.current != 0 && fits(port.bound[port.current - 1])) return false;
  for (std::size_t i = 0; i < port.bound.size(); ++i)
    if (fits(port.bound[i])) {
      port.current = i + 1;
      return true;
    }
  ov::Shape shape(tensor.shape.begin(), tensor.shape.end());
  Bound made{tensor.data, tensor.element, tensor.shape,
             ov::Tensor(type_of(tensor.element), shape, tensor.data)};
  if (port.bound.size() < kMostBound) {
    port.bound.push_back(std::move(made));
    port.current = port.bound.size();
  } else {
    port.current = port.next + 1;
    port.bound[port.next] = std::move(made);
    port.next = (port.next + 1) % kMostBound;
  }
  return true;
}

Tensor OpenVinoEngine::buffer(const char *name) {
  Part &part = parts_.back();
  for (const Port &port : part.outputs) {
    if (port.name != name) continue;
    try {
      const auto output = part.request.get_compiled_model().output(port.index);
      if (output.get_partial_shape().is_dynamic()) break;
      ov::Tensor tensor(output.get_element_type(), output.get_shape());
      std::memset(tensor.data(), 0, tensor.get_byte_size());
      Tensor view{tensor.data(), element_of(output.get_element_type()), {}, Memory::host};
      for (const std::size_t side : output.get_shape())
        view.shape.sides[view.shape.rank++] = static_cast<std::int64_t>(side);
      owned_.push_back(std::move(tensor));
      return view;
    } catch (const Failure &) {
      throw;
    } catch (const std::exception &error) {
      openvino_failed(error, SAMEDGE_ERROR_DEVICE, "making ready for a session");
    }
  }
  fail(SAMEDGE_ERROR_BUNDLE,
       "the graph has no output '%s' of fixed shape; export the bundle again with this "
       "version of samedge",
       name);
}

}  // namespace samedge
