"""How much OpenVINO's CPU plugin remembers of the sizes that it met.

The pre-processing and the decoder take frames and prompts of any size. OpenVINO keeps what it made
for each size it met in two places: up to 5000 executors per compiled graph, and up to 1024 kernels
in oneDNN, which the whole process shares. A device that is sent ever new sizes would give them
gigabytes, for nothing: frames of one size, one after the other, need neither, because every node
keeps what it used last.

So no executors are kept, and 64 kernels. What that costs: a frame of another size than the one
before makes its executors anew (docs/performance.md has the figures).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from samedge._openvino import ops, ov

# Properties of every graph that is compiled for the CPU.
CPU_SHAPES: dict[str, Any] = {"CPU_RUNTIME_CACHE_CAPACITY": "0"}

_CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_OLDER = "DNNL_PRIMITIVE_CACHE_CAPACITY"
_KERNELS = 64


def bound_kernels(core: ov.Core) -> None:
    """Let the oneDNN inside OpenVINO keep few kernels; of use before the first graph is compiled.

    It reads its bound from the environment when it makes its first kernel, and never again, so the
    variable is set while a small product is compiled. A value that the user has set stands. Other
    copies of oneDNN (PyTorch's) do not see it, unless they make their first kernel meanwhile.
    """
    if _CAPACITY in os.environ or _OLDER in os.environ:
        return
    left, right = ops.parameter([8, 8], np.float32), ops.parameter([8, 8], np.float32)
    product = ov.Model([ops.matmul(left, right, False, False)], [left, right], "product")
    with _set(_CAPACITY, str(_KERNELS)):
        core.compile_model(product, "CPU", {"INFERENCE_NUM_THREADS": 1})


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
