"""Which tiles are fastest on the GPU of this machine: `python -m samedge.kernels.tune`."""
