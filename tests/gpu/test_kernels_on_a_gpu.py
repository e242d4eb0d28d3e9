"""samedge's own kernels and engine where a GPU is: numerics, graphs, memory, frames on the GPU.

The problems are those of `tests/kernels/test_problems.py`, which solves the small ones of them in
Triton's interpreter; here they have the sizes of real networks. Then all the interpreter's tests
run once more, compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.kernels.problems import error
from samedge.runtime.gpu.arrays import DeviceArray
from samedge.runtime.gpu.driver import Device, problem
from samedge.runtime.parity.verify import verify
from samedge.runtime.triton.backend import TRITON
from samedge.runtime.triton.compiling import cannot_compile
from tests.gpu.driver_calls import assert_frames_only_replay, recorded
from tests.gpu.kernel_cases import CASES, BorrowedCase
from tests.kernels.interpreted import ON_A_GPU
from tests.kernels.test_problems import LIMITS, NAMES, solved
from tests.packaging.tree import ROOT

pytestmark = pytest.mark.gpu

DEMO = ROOT / "samedge" / "data" / "samus-demo.samedge"
POINTS = [(40, 30)]
# Those that work on the CPU, compile for machines that are not there, or have a clock of paper.
ELSEWHERE = (
    *("test_compile.py", "test_resources.py", "test_reference.py", "test_chunks.py"),
    "test_tune.py",
)


def on_a_gpu() -> list[Path]:
    """Files of tests whose cases run where `interpreted` sends them."""
    files = sorted((ROOT / "tests" / "kernels").rglob("test_*.py"))
    return [
        f
        for f in files
        if f.name not in ELSEWHERE and f.parent.name != "ptx" and "interpreted(" in f.read_text()
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_problems_of_true_sizes(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ON_A_GPU, "cuda")
    found, _ = solved(name, dtype, true=True)
    assert found < LIMITS[dtype]


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{case.name}-{dtype}")
        for case in CASES
        for dtype in case.dtypes
    ],
)
def test_cases_of_true_sizes(
    case: BorrowedCase, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ON_A_GPU, "cuda")
    function, arguments, options = case.called(dtype)
    result = function(*arguments, **options)
    for found, right in result if isinstance(result, list) else [result]:
        assert error((found,), (right.double(),)) < LIMITS[dtype or "fp32"]


@pytest.mark.parametrize("file", on_a_gpu(), ids=lambda file: file.stem)
def test_what_passes_in_the_interpreter_passes_compiled(file: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-x", str(file)]
    environment = {**os.environ, ON_A_GPU: "cuda"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.fixture
def usable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The backend, with a cache of its own, where it can compile."""
    reason = problem() or TRITON.unavailable() or cannot_compile()
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))


@pytest.fixture
def session(usable: None, tiny_bundle: Path) -> Iterator[Any]:
    with samedge.load(tiny_bundle, "triton", "fp16") as opened:
        yield opened


def pixels(seed: int = 0, size: tuple[int, ...] = (90, 120)) -> Any:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_it_computes_what_the_reference_computed(
    usable: None, tiny_bundle: Path, precision: str
) -> None:
    rows = verify(tiny_bundle, "triton", precision)
    assert rows
    assert all(row.passed for row in rows), rows


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_the_demo_model(usable: None, precision: str) -> None:
    if precision == "int8" and "int8" not in Bundle.open(DEMO).manifest.graphs["encoder"]:
        pytest.skip("the demo's bundle has no INT8 encoder")
    rows = verify(DEMO, "triton", precision)
    assert rows
    assert all(row.passed for row in rows), rows


def test_graphs_compute_what_single_kernels_do(usable: None, tiny_bundle: Path) -> None:
    """The first run of a size is queued, the second captured, the others replayed."""
    with (
        samedge.load(tiny_bundle, "triton", "fp32") as session,
        samedge.load(tiny_bundle, "openvino", "fp32", threads=2) as reference,
    ):
        for size in ((90, 120), (300, 200), (90, 120)):
            for seed in range(4):
                got, want = (s.segment(pixels(seed, size), points=POINTS)
                             for s in (session, reference))  # fmt: skip
                np.testing.assert_allclose(got.low_res_logits, want.low_res_logits, atol=1e-3)
        assert not [note for note in session.describe()["notes"] if "no CUDA graph" in note]


def test_nothing_is_set_up_after_two_frames(usable: None, tiny_bundle: Path) -> None:
    with recorded() as calls, samedge.load(tiny_bundle, "triton", "fp16") as session:
        assert_frames_only_replay(lambda seed: session.segment(pixels(seed), points=POINTS), calls)
    assert calls["cuModuleLoadData"] > 0


def test_a_frame_on_the_gpu(session: Any) -> None:
    """By `__cuda_array_interface__`."""
    frame = pixels()
    want = session.segment(frame, points=POINTS)
    device = Device(0)
    with device:
        memory = device.allocate(frame.nbytes, "a frame")
        memory.fill(frame)
        try:
            there = DeviceArray(memory.address, frame.shape, frame.dtype, device)
            for _ in range(3):
                got = session.segment(there, points=POINTS)
                np.testing.assert_array_equal(got.low_res_logits, want.low_res_logits)
            masks = session.on_device("masks").copy()
            np.testing.assert_array_equal(masks[0], got.masks)
        finally:
            memory.free()
    device.close()


class OnlyDlpack:
    """What is left of a tensor if it speaks DLPack alone."""

    def __init__(self, tensor: Any) -> None:
        self.__dlpack__, self.__dlpack_device__ = tensor.__dlpack__, tensor.__dlpack_device__


@pytest.mark.parametrize("size", [(90, 120), (90, 120, 3)])
def test_a_tensor_of_torch_on_the_gpu(session: Any, size: tuple[int, ...]) -> None:
    """By DLPack; torch's stream is waited for."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch has no GPU here")
    want = session.segment(pixels(1, size), points=POINTS)
    there = torch.from_numpy(pixels(1, size)).cuda()
    for frame in (there, OnlyDlpack(there)):
        got = session.segment(frame, points=POINTS)
        np.testing.assert_array_equal(got.low_res_logits, want.low_res_logits)


def test_memory_is_given_back(usable: None, tiny_bundle: Path) -> None:
    device = Device(0)
    with device:
        free = []
        for _ in range(4):
            with samedge.load(tiny_bundle, "triton", "fp16") as session:
                session.segment(pixels(), points=POINTS)
            free.append(device.free_memory()[0])
    device.close()
    assert free[-1] >= free[1] - 32 * 2**20


def test_build_and_load(usable: None, tiny_bundle: Path, tmp_path: Path) -> None:
    device = Device(0)
    capability = str(device.compute_capability)
    device.close()
    folder = tmp_path / "e"
    options = ["--target", "triton", "--sm", capability, "--precision", "fp16", "-q"]
    assert run(["build", str(tiny_bundle), *options, "-o", str(folder)]) == 0
    assert list(folder.iterdir())
    with samedge.load(tiny_bundle, "triton", "fp16", engines=folder) as session:
        assert session.segment(pixels(), points=POINTS).masks.shape == (1, 90, 120)
