"""CUDA without torch: devices, memory, streams, graphs, and arrays of other libraries."""
