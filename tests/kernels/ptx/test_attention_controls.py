"""Attention in machine code that is broken on purpose: each break is found."""

from __future__ import annotations

import re
from typing import Any

import pytest

from samedge.kernels.compile import signature_of
from tests.kernels.ptx.cases import PRODUCTS, Case
from tests.kernels.ptx.edits import BARRIER, MMA, WAIT, drop
from tests.kernels.ptx.memory import Misaligned, OutOfBounds, Race
from tests.kernels.ptx.runner import PtxRunner, machine_code

WINDOW = Case("a window", "ptx.relative:windows", {"grid": 14, "window": 14, "heads": 1, "dim": 64})
ATTENTION = next(case for case in PRODUCTS if case.name == "attention")
LIMIT = 4e-3


def run(case: Case, **broken: Any) -> tuple[float, PtxRunner]:
    runner = PtxRunner(87, **broken)
    return case.error(runner, "fp16"), runner


def found_in(case: Case, pattern: str) -> int:
    _, runner = run(case)
    ptx, _ = machine_code(signature_of(runner.launches[-1]), 87)
    return len(re.findall(pattern, ptx))


def race(case: Case, pattern: str, number: int) -> bool:
    try:
        run(case, edit=drop(pattern, number))
    except Race:
        return True
    return False


@pytest.mark.parametrize("name", ["qkv_ptr", "out_ptr", "rel_w_ptr"])
def test_short_arrays(name: str) -> None:
    with pytest.raises(OutOfBounds, match=rf"behind {name} at \w+\.py:\d+"):
        run(WINDOW, short={name: 16})


def test_shifted_pointer() -> None:
    with pytest.raises(Misaligned):
        run(WINDOW, shift={"qkv_ptr": 2})


@pytest.mark.parametrize("number", [0, -1])
def test_dropped_product(number: int) -> None:
    assert run(WINDOW, edit=drop(MMA, number))[0] > 2 * LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("case", [WINDOW, ATTENTION], ids=str)
def test_every_dropped_barrier_but_few_is_a_race(case: Case) -> None:
    """A few are redundant: the accesses on either side of them touch different addresses."""
    barriers = found_in(case, BARRIER)
    assert barriers > 3
    unseen = [number for number in range(barriers) if not race(case, BARRIER, number)]
    assert len(unseen) <= barriers // 4, f"{unseen} of {barriers}"


@pytest.mark.slow
@pytest.mark.parametrize("case", [WINDOW, ATTENTION], ids=str)
def test_a_dropped_wait_for_copies_is_a_race(case: Case) -> None:
    waits = found_in(case, WAIT)
    assert waits > 0
    assert any(race(case, WAIT, number) for number in range(waits))
