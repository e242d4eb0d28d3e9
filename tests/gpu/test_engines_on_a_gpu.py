"""What only a GPU can tell: these run by themselves where one is, with one of the libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.runtime.choice import named_backend
from samedge.runtime.gpu.arrays import DeviceArray
from samedge.runtime.gpu.driver import Device, Stream, problem
from samedge.runtime.parity.drift import locate
from samedge.runtime.parity.verify import verify
from samedge.runtime.tensorrt.backend import TENSORRT, TENSORRT_RTX
from samedge.runtime.tensorrt.engine import layer_information
from samedge.runtime.tensorrt.library import NVIDIA_LIBRARIES
from samedge.runtime.triton.backend import TRITON
from samedge.runtime.triton.compiling import cannot_compile

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(problem() is not None, reason="needs a GPU")]


def unusable(name: str) -> str | None:
    backend = {"tensorrt": TENSORRT, "tensorrt_rtx": TENSORRT_RTX, "triton": TRITON}[name]
    return backend.unavailable() or (cannot_compile() if name == "triton" else None)


@pytest.fixture(params=(*sorted(NVIDIA_LIBRARIES), "triton"))
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    reason = unusable(request.param)
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))
    return str(request.param)


@pytest.fixture
def session(backend: str, tiny_bundle: Path) -> Iterator[Any]:
    with samedge.load(tiny_bundle, backend, "fp32") as opened:
        yield opened


def pixels(seed: int = 0, size: tuple[int, int] = (90, 120)) -> Any:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def test_it_computes_what_the_reference_computed(backend: str, tiny_bundle: Path) -> None:
    rows = verify(tiny_bundle, backend, "fp32")
    assert all(row.passed for row in rows), rows


def test_graphs_compute_what_single_kernels_do(session: Any, tiny_bundle: Path) -> None:
    """The first run of a size is queued, the second captured, the others replayed."""
    with samedge.load(tiny_bundle, "openvino", "fp32", threads=2) as reference:
        for size in ((90, 120), (300, 200), (90, 120)):
            for seed in range(4):
                frame = pixels(seed, size)
                got = session.segment(frame, points=[(40, 30)])
                want = reference.segment(frame, points=[(40, 30)])
                np.testing.assert_allclose(got.low_res_logits, want.low_res_logits, atol=1e-3)
    assert not [note for note in session.describe()["notes"] if "no CUDA graph" in note]


def test_a_frame_on_the_gpu(session: Any) -> None:
    frame = pixels()
    want = session.segment(frame, points=[(40, 30)])
    device = Device(0)
    with device:
        memory = device.allocate(frame.nbytes, "a frame")
        memory.fill(frame)
        try:
            there = DeviceArray(memory.address, frame.shape, frame.dtype, device)
            for _ in range(3):
                got = session.segment(there, points=[(40, 30)])
                np.testing.assert_allclose(got.low_res_logits, want.low_res_logits, atol=1e-4)
            masks = session.on_device("masks").copy()
            np.testing.assert_array_equal(masks[0], got.masks)
        finally:
            memory.free()
    device.close()


def test_memory_is_given_back(backend: str, tiny_bundle: Path) -> None:
    device = Device(0)
    with device:
        free = []
        for _ in range(4):
            with samedge.load(tiny_bundle, backend, "fp32") as session:
                session.segment(pixels(), points=[(40, 30)])
            free.append(device.free_memory()[0])
    device.close()
    assert free[-1] >= free[1] - 32 * 2**20


def test_build_and_load(backend: str, tiny_bundle: Path, tmp_path: Path) -> None:
    target = backend.replace("_", "-")
    assert (
        run(["build", str(tiny_bundle), "--target", target, "-o", str(tmp_path / "e"), "-q"]) == 0
    )
    # One for each graph, or one for both.
    assert len(list((tmp_path / "e").glob("*.engine"))) >= (1 if backend == "triton" else 2)


def test_layers_are_known(backend: str, tiny_bundle: Path, tmp_path: Path) -> None:
    if backend == "triton":
        pytest.skip("its engines are looked into without a GPU")
    samedge.load(tiny_bundle, backend, "fp32").close()
    engines = sorted(tmp_path.rglob("*.engine"))
    assert engines
    assert all(layer_information(path, backend)["Layers"] for path in engines)


def test_tensors_from_inside(backend: str, tiny_bundle: Path) -> None:
    """What the float32 engine computes on its way is what OpenVINO computes."""
    if backend == "triton":
        pytest.skip("its engines give out nothing from inside")
    for drift in locate(Bundle.open(tiny_bundle), named_backend(backend), "fp32", thorough=True):
        assert drift.first is None, drift.verdict
        assert len(drift.checkpoints) > 50


def test_streams_order_copies() -> None:
    device = Device(0)
    with device:
        stream, other = Stream(), Stream()
        source, target = device.allocate(1 << 20, "a"), device.allocate(1 << 20, "b")
        source.fill(np.arange(1 << 20, dtype=np.uint8))
        other.copy(target.address, source.address, 1 << 20)
        stream.wait_for(other.number)
        stream.synchronise()
        got = DeviceArray(target.address, (1 << 20,), np.uint8, device).copy()
        np.testing.assert_array_equal(got, np.arange(1 << 20, dtype=np.uint8))
        for memory in (source, target):
            memory.free()
        stream.close()
        other.close()
    device.close()
