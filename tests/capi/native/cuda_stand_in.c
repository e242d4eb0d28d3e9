/* A stand-in for libcuda.so.1: whatever is called goes to one function, which a test gives it.
 *
 * tests/capi/gpu.py builds it and answers with tests.runtime.stand_in.driver.Driver. Without a test it is a
 * driver that finds no GPU. */
#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

typedef int (*stand_in_handler)(const char *name, const uint64_t *arguments);

static stand_in_handler handler;

EXPORTED void stand_in_set(stand_in_handler given) { handler = given; }

#define NO_DEVICE 100
#define N(value) ((uint64_t)(value))
#define P(value) ((uint64_t)(uintptr_t)(value))
#define ANSWER(name, ...)                                 \
  do {                                                    \
    const uint64_t arguments[] = {__VA_ARGS__};           \
    return handler ? handler(name, arguments) : NO_DEVICE; \
  } while (0)

EXPORTED int cuInit(unsigned int flags) { ANSWER("cuInit", N(flags)); }
EXPORTED int cuDriverGetVersion(int *version) { ANSWER("cuDriverGetVersion", P(version)); }
EXPORTED int cuDeviceGetCount(int *count) { ANSWER("cuDeviceGetCount", P(count)); }
EXPORTED int cuDeviceGet(int *device, int ordinal) { ANSWER("cuDeviceGet", P(device), N(ordinal)); }
EXPORTED int cuDeviceGetName(char *name, int length, int device) {
  ANSWER("cuDeviceGetName", P(name), N(length), N(device));
}
EXPORTED int cuDeviceGetAttribute(int *value, int attribute, int device) {
  ANSWER("cuDeviceGetAttribute", P(value), N(attribute), N(device));
}
EXPORTED int cuDevicePrimaryCtxRetain(void **context, int device) {
  ANSWER("cuDevicePrimaryCtxRetain", P(context), N(device));
}
EXPORTED int cuDevicePrimaryCtxRelease_v2(int device) { ANSWER("cuDevicePrimaryCtxRelease", N(device)); }
EXPORTED int cuCtxPushCurrent_v2(void *context) { ANSWER("cuCtxPushCurrent", P(context)); }
EXPORTED int cuCtxPopCurrent_v2(void **context) { ANSWER("cuCtxPopCurrent", P(context)); }
EXPORTED int cuMemGetInfo_v2(size_t *unused, size_t *total) { ANSWER("cuMemGetInfo", P(unused), P(total)); }
EXPORTED int cuMemAlloc_v2(unsigned long long *address, size_t size) { ANSWER("cuMemAlloc", P(address), N(size)); }
EXPORTED int cuMemFree_v2(unsigned long long address) { ANSWER("cuMemFree", N(address)); }
EXPORTED int cuMemHostAlloc(void **address, size_t size, unsigned int flags) {
  ANSWER("cuMemHostAlloc", P(address), N(size), N(flags));
}
EXPORTED int cuMemFreeHost(void *address) { ANSWER("cuMemFreeHost", P(address)); }
EXPORTED int cuPointerGetAttribute(void *value, int attribute, unsigned long long address) {
  ANSWER("cuPointerGetAttribute", P(value), N(attribute), N(address));
}
EXPORTED int cuMemcpyHtoD_v2(unsigned long long target, const void *source, size_t size) {
  ANSWER("cuMemcpyHtoD", N(target), P(source), N(size));
}
EXPORTED int cuMemcpyDtoH_v2(void *target, unsigned long long source, size_t size) {
  ANSWER("cuMemcpyDtoH", P(target), N(source), N(size));
}
EXPORTED int cuMemcpyHtoDAsync_v2(unsigned long long target, const void *source, size_t size, void *stream) {
  ANSWER("cuMemcpyHtoDAsync", N(target), P(source), N(size), P(stream));
}
EXPORTED int cuMemcpyDtoHAsync_v2(void *target, unsigned long long source, size_t size, void *stream) {
  ANSWER("cuMemcpyDtoHAsync", P(target), N(source), N(size), P(stream));
}
EXPORTED int cuMemcpy2DAsync_v2(const void *job, void *stream) { ANSWER("cuMemcpy2DAsync", P(job), P(stream)); }
EXPORTED int cuStreamCreate(void **stream, unsigned int flags) { ANSWER("cuStreamCreate", P(stream), N(flags)); }
EXPORTED int cuStreamDestroy_v2(void *stream) { ANSWER("cuStreamDestroy", P(stream)); }
EXPORTED int cuStreamSynchronize(void *stream) { ANSWER("cuStreamSynchronize", P(stream)); }
EXPORTED int cuStreamWaitEvent(void *stream, void *event, unsigned int flags) {
  ANSWER("cuStreamWaitEvent", P(stream), P(event), N(flags));
}
EXPORTED int cuStreamBeginCapture_v2(void *stream, int mode) { ANSWER("cuStreamBeginCapture", P(stream), N(mode)); }
EXPORTED int cuStreamEndCapture(void *stream, void **graph) { ANSWER("cuStreamEndCapture", P(graph), P(stream)); }
EXPORTED int cuEventCreate(void **event, unsigned int flags) { ANSWER("cuEventCreate", P(event), N(flags)); }
EXPORTED int cuEventRecord(void *event, void *stream) { ANSWER("cuEventRecord", P(event), P(stream)); }
EXPORTED int cuEventDestroy_v2(void *event) { ANSWER("cuEventDestroy", P(event)); }
EXPORTED int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  ANSWER("cuGraphInstantiate", P(executable), P(graph), N(flags));
}
EXPORTED int cuGraphLaunch(void *executable, void *stream) { ANSWER("cuGraphLaunch", P(executable), P(stream)); }
EXPORTED int cuGraphDestroy(void *graph) { ANSWER("cuGraphDestroy", P(graph)); }
EXPORTED int cuGraphExecDestroy(void *executable) { ANSWER("cuGraphExecDestroy", P(executable)); }
EXPORTED int cuModuleLoadData(void **module, const void *image) { ANSWER("cuModuleLoadData", P(module), P(image)); }
EXPORTED int cuModuleUnload(void *module) { ANSWER("cuModuleUnload", P(module)); }
EXPORTED int cuModuleGetFunction(void **function, void *module, const char *name) {
  ANSWER("cuModuleGetFunction", P(function), P(module), P(name));
}
EXPORTED int cuFuncSetAttribute(void *function, int attribute, int value) {
  ANSWER("cuFuncSetAttribute", P(function), N(attribute), N(value));
}
EXPORTED int cuLaunchKernel(void *function, unsigned int x, unsigned int y, unsigned int z, unsigned int threads_x,
                            unsigned int threads_y, unsigned int threads_z, unsigned int shared, void *stream,
                            void **parameters, void **extra) {
  ANSWER("cuLaunchKernel", P(function), N(x), N(y), N(z), N(threads_x), N(threads_y), N(threads_z), N(shared),
         P(stream), P(parameters), P(extra));
}
EXPORTED int cuGetErrorName(int result, const char **name) {
  if (!handler) {
    *name = "CUDA_ERROR_NO_DEVICE";
    return 0;
  }
  ANSWER("cuGetErrorName", N(result), P(name));
}
