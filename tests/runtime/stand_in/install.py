"""Puts the stand-ins where samedge looks for the libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from samedge.runtime.gpu import driver as cuda
from samedge.runtime.tensorrt import engine as tensorrt_engine
from samedge.runtime.tensorrt import library as tensorrt_library
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.tensorrt import make_module

VERSIONS = ("tensorrt 10.3.0", "tensorrt 11.4.0.106", "tensorrt_rtx 1.7.1.116")


@contextmanager
def installed(version: str = VERSIONS[0], **driver: Any) -> Iterator[ModuleType]:
    """The stand-in of one library and a driver, for as long as the block lasts.

    Yields:
        the library's module; its `world` has the driver and switches for failures.
    """
    stand_in = Driver(**driver)
    module = make_module(version, stand_in)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cuda", "cuda.bindings"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, "cuda.bindings.driver", stand_in)
        patch.setattr(cuda, "_has_driver", lambda: True)
        for name in ("tensorrt", "tensorrt_rtx"):
            patch.setitem(sys.modules, name, module if name == module.__name__ else None)
        patch.setattr(tensorrt_library.NvidiaLibrary, "cuda_major", lambda _self: None)
        _forget()
        yield module
    _forget()


def _forget() -> None:
    """What was found out about another driver or library."""
    for cached in (cuda.driver, tensorrt_library._imported, tensorrt_library._log_class):
        cached.cache_clear()
    tensorrt_engine._shared.clear()
