"""The machine code of every kernel of products, carried out on the CPU: numbers, bounds, races, and
how many products its tensor cores are given."""

from __future__ import annotations

import pytest

from tests.kernels.ptx.cases import OTHERS, PRODUCTS, Case
from tests.kernels.ptx.edits import MMA, drop
from tests.kernels.ptx.runner import PtxRunner

LIMITS = {"fp16": 4e-3, "bf16": 3e-2, "fp32": 1e-5}
QUICK = ("linear with two outputs", "few queries", "attention", "windows", "convolution")


def check(case: Case, arch: int, dtype: str) -> None:
    run = PtxRunner(arch)
    assert case.error(run, dtype) < LIMITS[dtype]
    expected = case.expected_flops(run)
    assert expected is None or run.counts["mma_flops"] == (0 if dtype == "fp32" else expected)


@pytest.mark.parametrize("case", [c for c in PRODUCTS + OTHERS if c.name in QUICK], ids=str)
def test_sm_87(case: Case) -> None:
    check(case, 87, "fp16")


# 86 and 89 get the PTX of 87, as `test_gpus_of_carts_get_one_ptx` compares. Both element types are
# carried out on 87; 80 and 120 differ in how loads and steps are arranged.
RUNS = [(87, "fp16"), (87, "bf16"), (80, "fp16"), (120, "bf16")]
REST = [
    pytest.param(case, arch, dtype, id=f"{case}-{arch}-{dtype}")
    for case in PRODUCTS
    for arch, dtype in RUNS
    if (arch, dtype) != (87, "fp16") or case.name not in QUICK
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "arch", "dtype"), REST)
def test_products(case: Case, arch: int, dtype: str) -> None:
    check(case, arch, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_other_kernels(case: Case, dtype: str) -> None:
    check(case, 87, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "attention", "RMS norm"])
def test_single_precision(name: str) -> None:
    """At IEEE precision: on the ordinary units, not on tensor cores."""
    case = next(c for c in PRODUCTS + OTHERS if c.name == name)
    check(case, 87, "fp32")


@pytest.mark.parametrize("name", ["attention", "linear with two outputs"])
def test_a_dropped_product_is_seen(name: str) -> None:
    """The limits tell rounding from a lost instruction, and so do the counts."""
    case = next(c for c in PRODUCTS if c.name == name)
    run = PtxRunner(87, edit=drop(MMA, 0))
    assert case.error(run, "fp16") > 2 * LIMITS["fp16"]
    assert run.counts["mma_flops"] != case.expected_flops(run)
