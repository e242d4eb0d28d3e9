"""`linear_int8` against integer arithmetic, in the interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from samedge.errors import DeviceError
from tests.kernels.interpreted import Guarded, interpreted
from tests.kernels.layers.linear_case import error, product


def integers(
    rows: int,
    inner: int,
    columns: int,
    inputs: str = "fp32",
    along_k: bool = True,
    few: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's sums and the right ones; scales are powers of two, so all is exact.

    x stands at halves of a step and reaches beyond the range: roundings and saturation count.
    """
    from samedge.kernels.layers.linear_int8 import linear_int8
    from samedge.kernels.torch_runner import DTYPES

    run, generator = Guarded(), torch.Generator().manual_seed(inner)
    halves = torch.randint(-300, 301, (rows, inner), generator=generator)
    w = torch.randint(-127, 128, (inner, columns), generator=generator, dtype=torch.int8)
    weight = run.given(w.t().contiguous()).transposed() if along_k else run.given(w)
    x = run.given((halves / 2 * 2**-6).to(DTYPES[inputs]))
    one, step = run.given(torch.ones(columns)), run.given(torch.tensor([2.0**-6]))
    got = run.result(linear_int8(run, x, weight, one, step, dtype="fp32", few=few))
    steps = (halves / 2).round().clamp(-128, 127).long()  # torch rounds halves to even
    return (got * 2**6).long(), steps @ w.long()


@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(1, 1, 1), (7, 32, 16), (33, 40, 65), (130, 256, 100), (20, 600, 33)],
)
@pytest.mark.parametrize("along_k", [True, False])
def test_sums_are_those_of_integers(rows: int, inner: int, columns: int, along_k: bool) -> None:
    got, want = interpreted(integers, rows, inner, columns, along_k=along_k)
    assert bool((got == want).all())


def test_few_rows_of_half_precision() -> None:
    got, want = interpreted(integers, 7, 256, 64, inputs="fp16", few=True)
    assert bool((got == want).all())


# The rounding of a value that stands a hair's breadth from a half may go either way.
LIMIT = 2e-3

OPTIONS: dict[str, dict[str, Any]] = {
    "bias": {},
    "batch": {"shape": (2, 3, 7)},
    "norm": {"norm": "affine", "inputs": "fp32"},
    "norm and add": {"norm": "plain", "add": 25, "inputs": "fp32"},
    "everything": {
        "norm": "affine",
        "add": 10,
        "activation": "gelu",
        "table": 5,
        "residual": 25,
        "residual_norm": True,
    },
    "split": {"split": 16, "residual": 50, "table": 10},
    "sliced": {"sliced": True, "columns": 48, "inner": 48},
    "sliced, two outputs": {"sliced": True, "columns": 48, "inner": 48, "split": 16},
    "half": {"inputs": "fp16", "dtype": "fp16", "residual": 50, "residual_dtype": "fp16"},
    "ragged": {"inner": 301, "columns": 5, "shape": (130,)},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(case: str) -> None:
    given = {"inputs": "fp32"} | OPTIONS[case]
    assert error(interpreted(product, int8=True, **given)) < (4e-3 if case == "half" else LIMIT)


@pytest.mark.parametrize("forget", ["bias", "saturation"])
def test_expectations_that_are_wrong_are_seen(forget: str) -> None:
    assert error(interpreted(product, int8=True, inputs="fp32", forget=forget)) > 10 * LIMIT


def refused(case: str) -> str:
    """The message that a call with one wrong argument gets."""
    from samedge.kernels.layers.linear_int8 import linear_int8

    run = Guarded()

    def some(*shape: int, dtype: torch.dtype = torch.float32) -> Any:
        return run.given(torch.zeros(*shape, dtype=dtype))

    given = {
        "x": some(6, 32),
        "weight": some(48, 32, dtype=torch.int8).transposed(),
        "weight_scale": some(48),
        "x_scale": some(1),
    }
    wrong: dict[str, dict[str, Any]] = {
        "inner": {"x": some(6, 31)},
        "weight type": {"weight": some(32, 48)},
        "weight axes": {"weight": some(32, 6, 8, dtype=torch.int8)},
        "weight strides": {"weight": some(48, 32, 2, dtype=torch.int8).columns(0, 1).transposed()},
        "weight_scale": {"weight_scale": some(47)},
        "x_scale": {"x_scale": some(6)},
    }
    try:
        linear_int8(run, **(given | wrong[case]), dtype="fp32")
    except DeviceError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("inner", "x came as [6, 31], expected [*, 32]"),
        ("weight type", "weight came as fp32, expected i8"),
        ("weight axes", "weight came as [32, 6, 8], expected [*, *]"),
        ("weight strides", "weight came as"),
        ("weight_scale", "weight_scale came as [47], expected [48]"),
        ("x_scale", "x_scale came as [6], expected [1]"),
    ],
)
def test_what_does_not_fit_is_named(case: str, words: str) -> None:
    message = interpreted(refused, case)
    assert message.startswith("linear_int8: ")
    assert words in message
