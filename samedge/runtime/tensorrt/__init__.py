"""TensorRT and TensorRT-RTX: engines built, loaded and run on NVIDIA GPUs."""
