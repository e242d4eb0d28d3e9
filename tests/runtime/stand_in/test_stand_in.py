"""A mistake of samedge's in using the driver or the library is found out by the stand-in.

Each test makes one in a session and expects that its frames no longer pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.runtime.gpu.driver import CudaGraph, Device, DeviceMemory, PinnedArray, Stream
from samedge.runtime.gpu.replay import Scratch
from tests.runtime.stand_in.core import CUresult, Violation
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.install import installed


@pytest.fixture
def library() -> Iterator[ModuleType]:
    with installed() as module:
        yield module


@pytest.fixture
def frames(library: ModuleType, tiny_bundle: Path) -> Any:
    """Segments frames of two sizes, each queued, captured and replayed; all must be given back."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)

    def run() -> None:
        with samedge.load(tiny_bundle, "tensorrt", "fp32") as session:
            for frame in (pixels, pixels, pixels, pixels[:40, :50], pixels[:40, :50], pixels):
                session.segment(frame, points=[(30, 20)])
        library.world.driver.assert_clean()

    run()  # as it is, nothing is wrong
    return run


def nothing(*_: Any) -> None:
    """In place of what must not be forgotten."""


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (DeviceMemory, "free"),
        (PinnedArray, "free"),
        (CudaGraph, "close"),
        (Stream, "close"),
        (Device, "close"),
        (Scratch, "close"),
        (Stream, "synchronise"),
        (Device, "__enter__"),
    ],
)
def test_what_is_forgotten_is_found_out(
    frames: Any, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.setattr(owner, name, nothing)
    with pytest.raises(Violation):
        frames()


def test_memory_that_is_too_small_is_found_out(
    frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scratch, "size", property(lambda _self: 1))
    with pytest.raises(Violation, match="scratch memory of 1 bytes"):
        frames()


def test_memory_that_is_written_under_way_is_found_out(
    frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Stream.upload

    def too_early(self: Stream, device: int, host: PinnedArray) -> None:
        upload(self, device, host)
        host.array += 1

    monkeypatch.setattr(Stream, "upload", too_early)
    with pytest.raises(Violation, match="written while"):
        frames()


def test_a_copy_of_memory_that_is_not_pinned_is_found_out(
    frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PinnedArray, "address", property(lambda self: self.array.ctypes.data + 1))
    with pytest.raises(Violation, match="not pinned"):
        frames()


@pytest.mark.parametrize(("mode", "others"), [(0, False), (1, True)])
def test_a_capture_in_thread_local_mode_binds_its_own_thread_alone(mode: int, others: bool) -> None:
    driver = Driver()
    _, context = driver.cuDevicePrimaryCtxRetain(0)

    def allocated() -> bool:
        driver.cuCtxPushCurrent(context)
        status, _ = driver.cuMemAlloc(16)
        driver.cuCtxPopCurrent()
        return status == CUresult.CUDA_SUCCESS

    driver.cuStreamBeginCapture(1, mode)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(allocated).result() is others
    assert driver.cuStreamEndCapture(1)[0] == (
        CUresult.CUDA_SUCCESS if others else CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
    )
    driver.cuStreamBeginCapture(1, mode)
    assert not allocated()
    assert driver.cuStreamEndCapture(1)[0] == CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED


def test_calls_that_a_version_does_not_have(library: ModuleType) -> None:
    class Log(library.ILogger):  # type: ignore[misc, name-defined]
        def log(self, severity: Any, msg: str) -> None: ...

    builder = library.Builder(Log())
    config = builder.create_builder_config()
    with pytest.raises(Violation, match=r"10\.3\.0 has no IBuilderConfig\.set_compute_capability"):
        config.set_compute_capability(1, 0)
    with pytest.raises(Violation, match="num_compute_capabilities"):
        config.num_compute_capabilities = 1
    with pytest.raises(Violation, match="it is called with"):
        config.set_flag(1, 2)
    with pytest.raises(AttributeError):
        assert library.BuilderFlag.FP16
    with pytest.raises(Violation, match="not initialised"):
        library.Builder(object())
