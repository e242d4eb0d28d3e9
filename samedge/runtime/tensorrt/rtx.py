"""TensorRT-RTX: GeForce and workstation GPUs. As TensorRT, but its engines are built for a kind of
GPU, also on a machine without one, and compiled to the end on the device."""

from __future__ import annotations

from samedge.runtime.tensorrt.backend import TensorRtBackend


class TensorRtRtxBackend(TensorRtBackend):
    """One graph of a bundle in TensorRT-RTX. See `samedge.runtime.backend.Backend`."""

    name = "tensorrt_rtx"
