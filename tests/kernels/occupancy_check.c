/* NVIDIA's own occupancy calculator, from the header in Triton's package, to compare with. */
#include <stddef.h>
#include <stdint.h>

#include "cuda_occupancy.h"

/* Resident blocks per multiprocessor, or a negative error code. */
int resident_blocks(int major, int minor, int threads_per_sm, int shared_per_sm,
                    int shared_per_block, int registers, int threads, int shared) {
  cudaOccDeviceProp device = {0};
  device.computeMajor = major;
  device.computeMinor = minor;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = threads_per_sm;
  device.regsPerBlock = 65536;
  device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 * 1024;
  device.sharedMemPerMultiprocessor = (size_t)shared_per_sm;
  device.sharedMemPerBlockOptin = (size_t)shared_per_block;
  device.reservedSharedMemPerBlock = 1024;
  device.numSms = 1;

  cudaOccFuncAttributes kernel = {0};
  kernel.maxThreadsPerBlock = 1024;
  kernel.numRegs = registers;
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = (size_t)shared;

  cudaOccDeviceState state = {0};
  state.cacheConfig = CACHE_PREFER_NONE;
  state.carveoutConfig = SHAREDMEM_CARVEOUT_DEFAULT;

  cudaOccResult result;
  cudaOccError error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state,
                                                               threads, (size_t)shared);
  return error ? -(int)error : result.activeBlocksPerMultiprocessor;
}
