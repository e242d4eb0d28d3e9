"""`layer_norm` against torch in float64, in the interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from samedge.errors import DeviceError
from tests.kernels.interpreted import Guarded, interpreted

ACTIVATIONS: dict[str, Any] = {"": lambda x: x, "gelu": F.gelu, "relu": F.relu}


def norm(
    shape: tuple[int, ...],
    width: int,
    inputs: str = "fp32",
    dtype: str = "fp32",
    residual: int = 0,
    activation: str = "",
    columns: bool = False,
    in_place: bool = False,
    offset: float = 1.0,
    forget: str = "",
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's answer, and the right one."""
    from samedge.kernels.layers.layer_norm import layer_norm
    from samedge.kernels.torch_runner import DTYPES

    run, generator = Guarded(), torch.Generator().manual_seed(width)
    space = 16 if columns else 0
    x = torch.randn(*shape, width + 2 * space, generator=generator) * 3 + offset
    x = x.to(DTYPES[inputs])
    weight, bias = (torch.randn(width, generator=generator) for _ in range(2))
    given = run.given(x).columns(space, space + width)
    exact = x[..., space : space + width].double().reshape(-1, width)
    options: dict[str, Any] = {"activation": activation}
    if residual:
        beside = torch.randn(residual, width, generator=generator)
        options["residual"] = run.given(beside)
        if forget != "residual":
            exact = exact + beside.double().repeat(len(exact) // residual, 1)
    if in_place:
        options["out"] = given
    elif columns:
        options["out"] = run.empty((*shape, width + 32), dtype).columns(16, 16 + width)
    got = layer_norm(run, given, run.given(weight), run.given(bias), 1e-6, dtype=dtype, **options)
    shift = torch.zeros(width) if forget == "bias" else bias
    exact = F.layer_norm(exact, (width,), weight.double(), shift.double(), 1e-6)
    return run.result(got).double(), ACTIVATIONS[activation](exact).reshape(*shape, width)


CASES: dict[str, dict[str, Any]] = {
    "one": {"shape": (1,), "width": 1},
    "odd": {"shape": (3,), "width": 7},
    "batch": {"shape": (2, 3, 11), "width": 64},
    "wide": {"shape": (65,), "width": 1280},
    "residual": {"shape": (50,), "width": 33, "residual": 50},
    "repeated": {"shape": (5, 10), "width": 33, "residual": 10, "activation": "relu"},
    "gelu": {"shape": (70,), "width": 16, "activation": "gelu"},
    "columns": {"shape": (2, 20), "width": 48, "columns": True},
    "in place": {"shape": (20,), "width": 48, "in_place": True},
}


@pytest.mark.parametrize("case", CASES)
def test_whole_rows_are_normalised(case: str) -> None:
    got, want = interpreted(norm, **CASES[case])
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", ["batch", "repeated", "columns"])
def test_half_precision(case: str) -> None:
    got, want = interpreted(norm, **CASES[case], inputs="fp16", dtype="fp16")
    torch.testing.assert_close(got, want, atol=4e-3, rtol=4e-3)


def test_a_large_mean_does_not_cancel() -> None:
    got, want = interpreted(norm, (20,), 300, offset=300.0)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("forget", ["residual", "bias"])
def test_expectations_that_are_wrong_are_seen(forget: str) -> None:
    got, want = interpreted(norm, (50,), 33, residual=10, forget=forget)
    assert float((got - want).abs().max()) > 0.1


def refused(case: str) -> str:
    """The message that a call with one wrong argument gets."""
    from samedge.kernels.layers.layer_norm import layer_norm

    run = Guarded()

    def some(*shape: int) -> Any:
        return run.given(torch.zeros(*shape))

    given: dict[str, Any] = {
        "x": some(6, 32),
        "weight": some(32),
        "bias": some(32),
        "dtype": "fp32",
    }
    wrong: dict[str, Any] = {
        "weight": some(31),
        "bias": some(1, 32),
        "residual": some(4, 32),
        "activation": "tanh",
        "dtype": "i8",
        "out": some(6, 31),
    }
    try:
        layer_norm(run, **(given | {case: wrong[case]}), eps=1e-6)
    except DeviceError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("weight", "weight came as [31], expected [32]"),
        ("bias", "bias came as [1, 32], expected [32]"),
        ("residual", "residual came with 4 rows, expected 6 or a number that divides it"),
        ("activation", "activation came as 'tanh'"),
        ("dtype", "dtype came as 'i8'"),
        ("out", "out came as [6, 31], expected [6, 32]"),
    ],
)
def test_what_does_not_fit_is_named(case: str, words: str) -> None:
    message = interpreted(refused, case)
    assert message.startswith("layer_norm: ")
    assert words in message
