// As much of TensorRT 10.3's interface as samedge calls, written from its API reference: same names and
// signatures, so that the backend compiles in CI as it does on a Jetson. Here the classes are pure interfaces
// for tests/capi/native/tensorrt_stand_in.cpp; virtual tables are NOT those of TensorRT: a library that was built
// with this header must never meet the real one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#define NV_TENSORRT_MAJOR 10
#define NV_TENSORRT_MINOR 3
#define NV_TENSORRT_PATCH 0
#define NV_TENSORRT_VERSION (NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH)

namespace nvinfer1 {

using AsciiChar = char;

enum class DataType : std::int32_t {
  kFLOAT = 0, kHALF = 1, kINT8 = 2, kINT32 = 3, kBOOL = 4, kUINT8 = 5, kFP8 = 6, kBF16 = 7, kINT64 = 8, kINT4 = 9
};
enum class TensorLocation : std::int32_t { kDEVICE = 0, kHOST = 1 };
enum class TensorIOMode : std::int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class OptProfileSelector : std::int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class ExecutionContextAllocationStrategy : std::int32_t { kSTATIC = 0, kON_PROFILE_CHANGE = 1, kUSER_MANAGED = 2 };

class Dims64 {
 public:
  static constexpr std::int32_t MAX_DIMS{8};
  std::int32_t nbDims;
  std::int64_t d[MAX_DIMS];
};
using Dims = Dims64;

class ILogger {
 public:
  enum class Severity : std::int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
  virtual void log(Severity severity, AsciiChar const *msg) noexcept = 0;
  ILogger() = default;
  virtual ~ILogger() = default;
};

class IExecutionContext {
 public:
  virtual ~IExecutionContext() noexcept = default;
  virtual bool setInputShape(char const *tensorName, Dims const &dims) noexcept = 0;
  virtual std::int32_t inferShapes(std::int32_t nbMaxNames, char const **tensorNames) noexcept = 0;
  virtual Dims getTensorShape(char const *tensorName) const noexcept = 0;
  virtual bool setTensorAddress(char const *tensorName, void *data) noexcept = 0;
  virtual std::size_t updateDeviceMemorySizeForShapes() noexcept = 0;
  virtual void setDeviceMemoryV2(void *memory, std::int64_t size) noexcept = 0;
  virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
};

class ICudaEngine {
 public:
  virtual ~ICudaEngine() noexcept = default;
  virtual std::int32_t getNbIOTensors() const noexcept = 0;
  virtual char const *getIOTensorName(std::int32_t index) const noexcept = 0;
  virtual TensorIOMode getTensorIOMode(char const *tensorName) const noexcept = 0;
  virtual DataType getTensorDataType(char const *tensorName) const noexcept = 0;
  virtual TensorLocation getTensorLocation(char const *tensorName) const noexcept = 0;
  virtual Dims getTensorShape(char const *tensorName) const noexcept = 0;
  virtual Dims getProfileShape(char const *tensorName, std::int32_t profileIndex,
                               OptProfileSelector select) const noexcept = 0;
  virtual IExecutionContext *createExecutionContext(
      ExecutionContextAllocationStrategy strategy = ExecutionContextAllocationStrategy::kSTATIC) noexcept = 0;
};

class IRuntime {
 public:
  virtual ~IRuntime() noexcept = default;
  virtual ICudaEngine *deserializeCudaEngine(void const *blob, std::size_t size) noexcept = 0;
  virtual void setEngineHostCodeAllowed(bool allowed) noexcept = 0;
};

}  // namespace nvinfer1

extern "C" void *createInferRuntime_INTERNAL(void *logger, std::int32_t version) noexcept;
extern "C" std::int32_t getInferLibVersion() noexcept;
