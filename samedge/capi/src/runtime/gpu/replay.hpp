// One graph at one set of sizes: its buffers, and the CUDA graph of its work. samedge/runtime/gpu/replay.py.
//
// Everything is allocated when sizes are first seen, nothing per frame. Work is queued on one stream: inputs
// from pinned memory to the device, the network, results to pinned memory. The first run is queued as it is
// (a library sets itself up), the second is captured into a CUDA graph, and all later ones start that graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bundle/manifest.hpp"
#include "runtime/backend.hpp"
#include "runtime/gpu/driver.hpp"

namespace samedge {

// What a library does for one graph at one set of sizes. Made and destroyed with its device current.
class Work {
 public:
  virtual ~Work() = default;
  // Of an input or output.
  virtual Shape shape(const char *name) const = 0;
  // Where an input or output lies.
  virtual void set_address(const char *name, DeviceAddress address) = 0;
  // Have scratch memory; whether it is in another place than before.
  virtual bool take_scratch() = 0;
  virtual void queue(const Stream &stream) = 0;
};

// Device memory for what an engine computes in between, shared by all its sets of sizes.
class Scratch {
 public:
  explicit Scratch(std::shared_ptr<const Device> device) : device_(std::move(device)) {}

  DeviceAddress address() const noexcept { return memory_.address(); }
  std::size_t size() const noexcept { return memory_.size(); }
  // Changes whenever the memory moves, so that graphs are made anew.
  std::uint64_t version() const noexcept { return version_; }
  // Have at least `size` bytes. Nothing may be running.
  void reserve(std::size_t size);

 private:
  std::shared_ptr<const Device> device_;
  DeviceMemory memory_;
  std::uint64_t version_ = 0;
};

class Replay {
 public:
  // The bindings' types, shapes and kinds of memory hold from here on. alignment: of the addresses that the
  // work takes, in bytes.
  Replay(std::unique_ptr<Work> work, const GraphIO &io, const Device &device, std::size_t alignment,
         const Bindings &inputs, const Bindings &outputs);

  bool fits(const Bindings &inputs, const Bindings &outputs) const noexcept;

  // Compute `outputs` from `inputs`; done when it returns.
  RunTimes run(const Stream &stream, const Bindings &inputs, const Bindings &outputs);

 private:
  enum class Kind {
    none,      // an output that nobody wants
    host,      // comes and goes with every frame
    constant,  // comes once, and again when its content is another one
    bound,     // lies on the device, and is used there
    copied,    // lies on the device, where it cannot be used
  };
  struct Place {
    const char *name = "";  // of the graph's
    bool input = false;
    Kind kind = Kind::none;
    Element element = Element::u8;
    Shape shape;
    std::size_t bytes = 0;
    DeviceMemory memory;
    PinnedMemory pinned;
    DeviceAddress bound = 0;
    std::uint64_t constant = 0;
  };

  static Kind kind_of(const Binding *binding, std::size_t alignment) noexcept;
  static const Binding *find(const Bindings &bindings, const char *name) noexcept;
  void place(const TensorSpec &spec, bool input, const Binding *binding, const Device &device);
  void take(const Stream &stream, Place &place, DeviceAddress address);
  void start(const Stream &stream);
  void queue(const Stream &stream);
  void drop_graph() noexcept;

  std::size_t alignment_;
  std::vector<Place> places_;
  std::unique_ptr<Work> work_;  // goes before the memory that it was told of
  CudaGraph graph_;
  bool capturable_ = true;
  std::uint64_t runs_ = 0;  // since an address was last changed
};

}  // namespace samedge
