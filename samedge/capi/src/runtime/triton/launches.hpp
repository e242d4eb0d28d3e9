// A program of an engine at one set of sizes: its launches with their arguments, ready to queue.
// samedge/runtime/triton/launches.py, and `Start` of samedge/runtime/gpu/modules.py.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.hpp"
#include "runtime/gpu/replay.hpp"
#include "runtime/triton/plan.hpp"

namespace samedge {

class Launches : public Work {
 public:
  // pool, program and kernels live as long as this. functions: of the kernels on the device, in order.
  // weights: address of their memory. values: of the named sizes.
  // Throws Failure(DEVICE): a launch would reach beyond the arena.
  Launches(const SizePool &pool, const Program &program, const std::vector<KernelCode> &kernels,
           const std::vector<CuHandle> &functions, DeviceAddress weights, std::shared_ptr<Scratch> arena,
           const SizeValues &values);

  Shape shape(const char *name) const override;
  void set_address(const char *name, DeviceAddress address) override;
  bool take_scratch() override;
  void queue(const Stream &stream) override;

 private:
  struct Start {
    CuHandle function = nullptr;
    unsigned int grid[3] = {1, 1, 1};
    unsigned int threads = 0, shared = 0;
    std::size_t first = 0;  // of its parameters
  };
  struct Moving {  // a parameter that is an address in the arena or in a port
    std::size_t parameter = 0;
    std::int64_t offset = 0;
  };

  std::size_t port(const char *name) const;
  std::int64_t number(const SizePool &pool, const Argument &argument, const Step &step,
                      const SizeValues &values) const;

  const Program &program_;
  std::shared_ptr<Scratch> arena_;
  std::uint64_t arena_version_ = 0;
  std::int64_t bytes_ = 0;  // of the arena
  std::vector<Shape> shapes_;
  std::vector<Start> starts_;
  // Parameters of all launches, one behind the other. The driver reads as many bytes of each as the kernel
  // declares, the lowest first.
  std::vector<std::uint64_t> parameters_;
  std::vector<void *> places_;
  std::vector<Moving> in_arena_;
  std::vector<std::vector<Moving>> in_ports_;
};

// The named sizes, from the shapes of inputs.
// Throws Failure(BUNDLE, INTERNAL): one is missing, or its shape does not fit the others.
SizeValues sizes_of(const SizePool &pool, const std::vector<Port> &ports, const Bindings &inputs);

// The first program of those that takes these sizes.
// Throws Failure(NOT_SUPPORTED): with the size that does not fit, and the sizes that do.
const Program &program_for(const SizePool &pool, const std::vector<const Program *> &programs,
                           const SizeValues &values);

}  // namespace samedge
