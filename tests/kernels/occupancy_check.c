/* NVIDIA's own occupancy calculator, from the header in Triton's package, to compare with. */
#include <stddef.h>
#include <cuda_occupancy.h>

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
    device.sharedMemPerMultiprocessor = shared_per_sm;
    device.numSms = 1;
    device.sharedMemPerBlockOptin = shared_per_block;
    device.reservedSharedMemPerBlock = 1024;
    cudaOccFuncAttributes function = {0};
    function.maxThreadsPerBlock = 1024;
    function.numRegs = registers;
    function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    function.maxDynamicSharedSizeBytes = shared_per_block;
    cudaOccDeviceState state = {0};
    state.cacheConfig = CACHE_PREFER_SHARED;
    state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult result;
    int status = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state,
                                                         threads, shared);
    return status == CUDA_OCC_SUCCESS ? result.activeBlocksPerMultiprocessor : -1;
}
