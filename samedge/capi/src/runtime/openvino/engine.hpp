// One graph of a bundle in OpenVINO, in parts that run one after the other:
// samedge/runtime/openvino/engine.py.
#pragma once

#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "runtime/backend.hpp"

namespace samedge {

// A compiled part, shared by sessions.
struct CompiledPart {
  ov::CompiledModel model;
  const char *name = "";  // "preprocess", "encoder", "decoder"
};

class OpenVinoEngine final : public Engine {
 public:
  // parts: in the order in which they run. io: of the whole graph, as the manifest has it.
  // Throws Failure(BUNDLE): a port has a name that the manifest does not list. DEVICE, MEMORY.
  OpenVinoEngine(const std::vector<CompiledPart> &parts, const GraphIO &io);

  RunTimes run(const Bindings &inputs, const Bindings &outputs) override;
  Tensor buffer(const char *name) override;

 private:
  // Tensors over memory of the caller's that was bound before, so that sizes which take turns allocate
  // nothing.
  struct Bound {
    void *data = nullptr;
    Element element = Element::u8;
    Shape shape;
    ov::Tensor tensor;
  };
  struct Port {
    std::string name;
    std::size_t index = 0;
    std::vector<Bound> bound;
    std::size_t current = 0;  // of `bound`, plus 1; 0: nothing yet, or memory of the engine's
    std::size_t next = 0;     // of `bound`, to be replaced when it is full
    bool own = false;         // bound to memory of the engine's for good
  };
  struct Part {
    ov::InferRequest request;
    const char *name = "";
    std::vector<Port> inputs, outputs;
  };

  static bool bind(Port &port, const Tensor &tensor);
  static void forget(Part &part) noexcept;
  static void run_part(Part &part, const Bindings &inputs, const Bindings &outputs);

  std::vector<Part> parts_;
  std::vector<ov::Tensor> owned_;
};

}  // namespace samedge
