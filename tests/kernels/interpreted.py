"""Kernels in Triton's interpreter, which lives in a process of its own.

TRITON_INTERPRET is read when `triton.jit` decorates a function: a process interprets its kernels or
compiles them, never both. `interpreted(case, ...)` calls a function of a module of tests over
there and gives its result, or raises what it raised.

With SAMEDGE_TEST_KERNELS=cuda in the environment that process compiles instead, and the same cases
run on a GPU: tests/gpu starts all of this folder's tests that way.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

# Around inputs NaN, so that a stray read poisons the output; around the output a finite value, so
# that a stray write is seen even when it writes NaN. The interpreter itself does not complain.
GUARD = 4096  # bytes
ON_A_GPU = "SAMEDGE_TEST_KERNELS"


def device() -> str:
    """Where kernels run: "cpu" in the interpreter, or "cuda"."""
    return os.environ.get(ON_A_GPU, "cpu")


def interpreted(case: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """`case(*args, **kwargs)` in the interpreter's process; `case` stands in a module that imports
    no kernels at its top."""
    name = f"{case.__module__}:{case.__qualname__}"
    return _process().submit(_call, name, args, kwargs).result(timeout=600)


def _call(name: str, args: Any, kwargs: Any) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)(*args, **kwargs)


@cache
def _process() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, get_context("spawn"), _set_up)
    atexit.register(pool.shutdown, wait=False, cancel_futures=True)
    return pool


def _set_up() -> None:
    if device() == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    import torch

    torch.set_num_threads(1)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True)


class Guarded:
    """A `TorchRunner` whose arrays stand between guards, and which looks at them afterwards."""

    def __init__(self) -> None:
        from samedge.kernels.torch_runner import TorchRunner

        self._inner = TorchRunner(device())
        self.arch = self._inner.arch
        self._written: list[tuple[Any, int]] = []

    def given(self, tensor: Any, name: str = "") -> Any:
        """An input: NaN (or the type's largest value) before and behind it."""
        return self._inner.array(self._between(tensor, float("nan"))[0], name)

    def empty(self, shape: Any, dtype: str, name: str = "") -> Any:
        """An output: unwritten elements are NaN (or the largest value)."""
        import torch

        from samedge.kernels.torch_runner import DTYPES

        kind = DTYPES[dtype]
        unwritten = float("nan") if kind.is_floating_point else torch.iinfo(kind).max
        tensor = torch.full(tuple(shape), unwritten, dtype=kind)
        view, whole, count = self._between(tensor, 77)
        self._written.append((whole, count))
        return self._inner.array(view, name)

    def launch(self, launch: Any) -> None:
        """Start a kernel."""
        self._inner.launch(launch)

    def result(self, array: Any) -> Any:
        """An output as a tensor.

        Raises:
            AssertionError: something was written outside of an output.
        """
        for whole, count in self._written:
            outside = (whole[:count], whole[-count:])
            assert all(bool((part == 77).all()) for part in outside), "written outside"
        return self._inner.tensor(array).clone().cpu()

    def _between(self, tensor: Any, value: float) -> tuple[Any, Any, int]:
        import torch

        if not tensor.dtype.is_floating_point and value != value:
            value = torch.iinfo(tensor.dtype).max
        count = GUARD // tensor.element_size()
        size = tensor.numel() + 2 * count
        whole = torch.full((size,), value, dtype=tensor.dtype, device=device())
        view = whole[count : count + tensor.numel()].view(tensor.shape)
        view.copy_(tensor)
        return view, whole, count
