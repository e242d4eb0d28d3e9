/* As much of CUDA's runtime header as NvInfer.h needs; the backend calls nothing of it. */
#pragma once

struct CUstream_st;
typedef struct CUstream_st *cudaStream_t;
