"""samedge's own engine: Triton kernels compiled ahead of time, replayed through the CUDA driver."""
