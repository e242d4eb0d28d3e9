// A stand-in for libnvinfer: objects whose methods ask one function, which a test gives it.
//
// tests/capi/gpu.py builds it and answers with tests.runtime.stand_in.tensorrt_runtime. Objects are numbers
// there.
#include <NvInfer.h>

#include <cstring>
#include <string>

namespace {

using Handler = std::int64_t (*)(const char *method, std::int64_t object, const char *name, std::int64_t first,
                                 std::int64_t second, std::int64_t *sizes);

Handler handler = nullptr;

std::int64_t ask(const char *method, std::int64_t object, const char *name = "", std::int64_t first = 0,
                 std::int64_t second = 0, std::int64_t *sizes = nullptr) noexcept {
  return handler == nullptr ? -1 : handler(method, object, name, first, second, sizes);
}

// Answers are the rank, and the sizes where they were asked for.
nvinfer1::Dims ask_dims(const char *method, std::int64_t object, const char *name, std::int64_t first = 0) noexcept {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<std::int32_t>(ask(method, object, name, first, 0, dims.d));
  return dims;
}

std::int64_t number_of(const void *pointer) noexcept {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(pointer));
}

class Context : public nvinfer1::IExecutionContext {
 public:
  explicit Context(std::int64_t object) : object_(object) {}
  ~Context() noexcept override { ask("delete", object_); }

  bool setInputShape(char const *name, nvinfer1::Dims const &dims) noexcept override {
    nvinfer1::Dims copy = dims;
    return ask("set_input_shape", object_, name, dims.nbDims, 0, copy.d) != 0;
  }
  std::int32_t inferShapes(std::int32_t, char const **) noexcept override {
    return static_cast<std::int32_t>(ask("infer_shapes", object_));
  }
  nvinfer1::Dims getTensorShape(char const *name) const noexcept override {
    return ask_dims("get_tensor_shape", object_, name);
  }
  bool setTensorAddress(char const *name, void *data) noexcept override {
    return ask("set_tensor_address", object_, name, number_of(data)) != 0;
  }
  std::size_t updateDeviceMemorySizeForShapes() noexcept override {
    return static_cast<std::size_t>(ask("update_device_memory_size_for_shapes", object_));
  }
  void setDeviceMemoryV2(void *memory, std::int64_t size) noexcept override {
    ask("set_device_memory", object_, "", number_of(memory), size);
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    return ask("execute_async_v3", object_, "", number_of(stream)) != 0;
  }

 private:
  std::int64_t object_;
};

class Engine : public nvinfer1::ICudaEngine {
 public:
  explicit Engine(std::int64_t object) : object_(object) {}
  ~Engine() noexcept override { ask("delete", object_); }

  std::int32_t getNbIOTensors() const noexcept override {
    return static_cast<std::int32_t>(ask("num_io_tensors", object_));
  }
  char const *getIOTensorName(std::int32_t index) const noexcept override {
    return reinterpret_cast<const char *>(static_cast<std::uintptr_t>(ask("get_tensor_name", object_, "", index)));
  }
  nvinfer1::TensorIOMode getTensorIOMode(char const *name) const noexcept override {
    return static_cast<nvinfer1::TensorIOMode>(ask("get_tensor_mode", object_, name));
  }
  nvinfer1::DataType getTensorDataType(char const *name) const noexcept override {
    return static_cast<nvinfer1::DataType>(ask("get_tensor_dtype", object_, name));
  }
  nvinfer1::TensorLocation getTensorLocation(char const *) const noexcept override {
    return nvinfer1::TensorLocation::kDEVICE;
  }
  nvinfer1::Dims getTensorShape(char const *name) const noexcept override {
    return ask_dims("get_engine_shape", object_, name);
  }
  nvinfer1::Dims getProfileShape(char const *name, std::int32_t, nvinfer1::OptProfileSelector select) const noexcept override {
    return ask_dims("get_tensor_profile_shape", object_, name, static_cast<std::int64_t>(select));
  }
  nvinfer1::IExecutionContext *createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override {
    const std::int64_t made = ask("create_execution_context", object_, "", static_cast<std::int64_t>(strategy));
    return made > 0 ? new Context(made) : nullptr;
  }

 private:
  std::int64_t object_;
};

class Runtime : public nvinfer1::IRuntime {
 public:
  explicit Runtime(std::int64_t object) : object_(object) {}
  ~Runtime() noexcept override { ask("delete", object_); }

  nvinfer1::ICudaEngine *deserializeCudaEngine(void const *blob, std::size_t size) noexcept override {
    const std::int64_t made =
        ask("deserialize_cuda_engine", object_, "", number_of(blob), static_cast<std::int64_t>(size));
    return made > 0 ? new Engine(made) : nullptr;
  }
  void setEngineHostCodeAllowed(bool allowed) noexcept override {
    ask("set_engine_host_code_allowed", object_, "", allowed ? 1 : 0);
  }

 private:
  std::int64_t object_;
};

}  // namespace

extern "C" void stand_in_set(Handler given) { handler = given; }

extern "C" void stand_in_log(void *logger, std::int32_t severity, const char *message) {
  static_cast<nvinfer1::ILogger *>(logger)->log(static_cast<nvinfer1::ILogger::Severity>(severity), message);
}

extern "C" void *createInferRuntime_INTERNAL(void *logger, std::int32_t version) noexcept {
  const std::int64_t made = ask("create_runtime", 0, "", number_of(logger), version);
  return made > 0 ? static_cast<nvinfer1::IRuntime *>(new Runtime(made)) : nullptr;
}

extern "C" std::int32_t getInferLibVersion() noexcept {
  return handler == nullptr ? NV_TENSORRT_VERSION : static_cast<std::int32_t>(ask("version", 0));
}
