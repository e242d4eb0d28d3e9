"""What is broken on purpose is found: in a product of matrices whose loads run ahead."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from samedge.kernels.launch import Launch, Tile
from tests.kernels.ptx.edits import BARRIER, MMA, WAIT, drop
from tests.kernels.ptx.emulator import ARCHITECTURES
from tests.kernels.ptx.memory import Misaligned, OutOfBounds, PtxError, Race
from tests.kernels.ptx.runner import PtxRunner, machine_code
from tests.kernels.samples import product_kernel, product_signature

SIZES = {"BLOCK_M": 32, "BLOCK_N": 32, "BLOCK_K": 32}


def product(
    run: PtxRunner, dtype: torch.dtype = torch.float16, bias: float = 1.0, outputs: Any = ("c_ptr",)
) -> float:
    """The error of a product [64, 128] @ [128, 128] + bias, relative to its largest number."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 128, generator=generator).to(dtype) for n in (64, 128))
    row = torch.randn(128, generator=generator)
    c = run.empty((64, 128), {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype], "c")
    arguments = {"a_ptr": run.given(a, "a"), "b_ptr": run.given(b, "b")}
    arguments |= {"bias_ptr": run.given(row * bias, "bias"), "c_ptr": c}
    constants = {"N": 128, "K": 128, **SIZES, "HAS_BIAS": True}
    run.launch(
        Launch(
            product_kernel,
            (2, 4, 1),
            arguments | {"depth": 4},
            constants,
            outputs,
            Tile(SIZES, 4, 2),
            flops=2 * 64 * 128 * 128,
        )
    )
    expected = a.double() @ b.double() + row
    return float((run.result(c).double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_product(arch: int, dtype: torch.dtype) -> None:
    run = PtxRunner(arch)
    assert product(run, dtype) < {torch.float16: 1e-3, torch.bfloat16: 6e-3}[dtype]
    assert run.counts["mma_flops"] == run.flops
    assert run.counts["cp.async"] > 0


def test_zeroed_bias() -> None:
    assert product(PtxRunner(87), bias=0.0) > 0.02


@pytest.mark.parametrize("number", [0, -1])
def test_dropped_product(number: int) -> None:
    run = PtxRunner(87, edit=drop(MMA, number))
    assert product(run) > 0.02
    assert run.counts["mma_flops"] < run.flops


def test_dropped_wait() -> None:
    """The one of the loop; behind it there is nothing left to wait for."""
    with pytest.raises(Race, match="unfinished asynchronous copy"):
        product(PtxRunner(87, edit=drop(WAIT, 0)))


def test_dropped_barriers() -> None:
    ptx, _ = machine_code(product_signature(), 87)
    barriers = len(re.findall(BARRIER, ptx))
    assert barriers >= 3
    unseen = []
    for number in range(barriers):
        try:
            product(PtxRunner(87, edit=drop(BARRIER, number)))
        except Race:
            continue
        unseen.append(number)
    # One is redundant: the accesses on either side of it touch different addresses.
    assert len(unseen) <= 1, f"{unseen} of {barriers}"


@pytest.mark.parametrize("name", ["a_ptr", "b_ptr", "bias_ptr", "c_ptr"])
def test_short_buffer(name: str) -> None:
    with pytest.raises(OutOfBounds, match=r"ends 16 bytes behind \w+_ptr at samples\.py:\d+"):
        product(PtxRunner(87, short={name: 16}))


@pytest.mark.parametrize("name", ["a_ptr", "b_ptr"])
def test_shifted_pointer(name: str) -> None:
    with pytest.raises(Misaligned):
        product(PtxRunner(87, shift={name: 2}))


def test_undeclared_output() -> None:
    with pytest.raises(PtxError, match="store to c_ptr, which the launch does not name"):
        product(PtxRunner(87), outputs=())
