"""Every problem is solved in the interpreter, and its limit tells a wrong answer apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from samedge.kernels.problems.problem import LIMITS, error
from tests.kernels.interpreted import Guarded, interpreted

MODULES = ("attention", "linear", "images")
NAMES = (
    *("window_attention", "global_attention", "depth_attention"),
    *("attention", "attention.one_more", "attention.few_queries", "attention.few_keys"),
    *("row_statistics", "layer_norm", "linear.norm", "linear.gelu", "linear.few"),
    *("linear.residual", "linear.split"),
    *("conv3x3", "conv3x3.first", "rms_norm.pool", "rms_norm.planes"),
    *("patch_embed", "patch_embed.adapter", "resize"),
)


def cases() -> dict[str, Any]:
    """All cases by name."""
    from samedge.kernels.problems import attention, images, linear

    found = (*attention.CASES, *linear.CASES, *images.CASES)
    return {case.name: case for case in found}


def names() -> list[str]:
    return list(cases())


def solved(name: str, dtype: str, true: bool = False) -> tuple[float, dict[str, float]]:
    """Error of a launcher's answer; and, by name of an input, how far the right answer moves when
    that input is another one."""
    from samedge.kernels.problems.problem import Draw

    case = cases()[name]
    problem = case.make(Draw(dtype), **(case.true if true else case.small))
    run = Guarded()
    arrays = {key: run.given(value, key) for key, value in problem.given.items()}
    found = tuple(run.result(array) for array in problem.solve(run, arrays))
    right = problem.answer()
    moved = {}
    for key, value in problem.given.items():
        if value.is_floating_point():
            given = {**problem.given, key: value.flip(tuple(range(value.ndim)))}
            moved[key] = error(replace(problem, given=given).answer(), right)
    return error(found, right), moved


def test_names() -> None:
    assert tuple(interpreted(names)) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_solved(name: str, dtype: str) -> None:
    found, moved = interpreted(solved, name, dtype)
    assert found < LIMITS[dtype]
    assert all(distance > 3 * LIMITS["bf16"] for distance in moved.values()), moved


def test_no_number_is_no_answer() -> None:
    right = (torch.zeros(2, 2, dtype=torch.float64),)
    assert error((torch.tensor([[0.0, float("nan")], [0, 0]]),), right) == float("inf")
