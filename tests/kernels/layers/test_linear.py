"""`linear` against torch in float64, in the interpreter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from samedge.errors import DeviceError
from samedge.runtime.triton.sizes import evaluate, named
from tests.kernels.interpreted import Guarded, interpreted
from tests.kernels.layers.linear_case import error, product

# fp16: the rounding of the output, of normalised rows, and of K products' inputs; see `error`.
LIMITS = {"fp32": 1e-5, "fp16": 4e-3}


def check_case(limit: float, **case: Any) -> None:
    assert error(interpreted(product, **case)) < limit


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"bias": False},
    "bias": {},
    "batch": {"shape": (2, 3, 7)},
    "affine norm": {"norm": "affine"},
    "norm": {"norm": "plain"},
    "add": {"add": 50},
    "add repeated": {"add": 10},
    "norm and add": {"norm": "affine", "add": 25},
    "gelu": {"activation": "gelu"},
    "relu": {"activation": "relu"},
    "residual": {"residual": 50},
    "residual repeated": {"residual": 5, "activation": "relu"},
    "residual normalised": {"residual": 50, "residual_norm": True},
    "residual normalised, repeated": {"residual": 10, "residual_norm": True},
    "in place": {"residual": 50, "in_place": True},
    "table": {"table": 50},
    "table repeated": {"table": 25},
    "everything": {
        "norm": "affine",
        "add": 10,
        "activation": "gelu",
        "table": 5,
        "residual": 25,
        "residual_norm": True,
    },
    "split": {"split": 20},
    "split at a tile": {"columns": 300, "split": 256, "shape": (20,)},
    "split, residual, table": {"split": 16, "residual": 50, "table": 10, "norm": "affine"},
    "sliced": {"sliced": True, "columns": 40},
    "sliced, two outputs": {"sliced": True, "columns": 40, "split": 16},
    "few": {"few": True, "shape": (7,), "inner": 256, "columns": 256},
}


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_options(case: str, dtype: str) -> None:
    """Every option alone, and the combinations that networks have."""
    given = {"weights": dtype, "inputs": dtype, "dtype": "fp32"} | OPTIONS[case]
    check_case(LIMITS[dtype], **given)


@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(1, 1, 1), (1, 27, 4), (129, 48, 257), (128, 256, 256), (300, 257, 5), (17, 600, 130)],
)
def test_ragged_sizes(rows: int, inner: int, columns: int) -> None:
    check_case(1e-5, shape=(rows,), inner=inner, columns=columns, weights="fp32", inputs="fp32")


@pytest.mark.parametrize(
    "case",
    [
        {"inputs": "fp32", "norm": "affine", "activation": "gelu", "dtype": "fp16"},  # norm2 + lin1
        {"inputs": "fp16", "residual": 50, "dtype": "fp32"},  # lin2
        {"residual": 50, "residual_dtype": "fp16", "dtype": "fp16"},
    ],
)
def test_mixed_types(case: dict[str, Any]) -> None:
    check_case(LIMITS["fp16"], **case)


def test_long_sums_in_half_precision() -> None:
    """lin2 of a block with an adapter's columns."""
    check_case(LIMITS["fp16"], shape=(64,), inner=3264, columns=48, residual=64, dtype="fp16")


@pytest.mark.parametrize(
    ("forget", "case"),
    [
        ("bias", {}),
        ("add", {"add": 10}),
        ("table rows", {"table": 10}),
        ("residual norm", {"residual": 50, "residual_norm": True}),
    ],
)
def test_expectations_that_are_wrong_are_seen(forget: str, case: dict[str, Any]) -> None:
    assert error(interpreted(product, forget=forget, **case)) > 0.05


def values_of_gelu() -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's GELU through a product with the identity, and torch's in float64."""
    from samedge.kernels.layers.linear import linear

    run = Guarded()
    x = torch.linspace(-9, 9, 64 * 64).reshape(64, 64)
    w = run.given(torch.eye(64))
    got = run.result(linear(run, run.given(x), w, activation="gelu", dtype="fp32"))
    return got.double(), F.gelu(x.double())


def test_gelu_is_the_exact_one() -> None:
    got, want = interpreted(values_of_gelu)
    torch.testing.assert_close(got, want, atol=5e-7, rtol=0)
    tanh = F.gelu(torch.linspace(-9, 9, 64 * 64).double(), approximate="tanh").reshape(64, 64)
    assert float((tanh - want).abs().max()) > 1e-4


class Recorder:
    """A runner that carries nothing out."""

    arch = 87

    def __init__(self) -> None:
        self.launches: list[Any] = []

    def empty(self, shape: Any, dtype: str, name: str = "") -> Any:
        return recorded(*shape, dtype=dtype)

    def launch(self, launch: Any) -> None:
        self.launches.append(launch)


def recorded(*shape: Any, dtype: str = "fp32") -> Any:
    from samedge.kernels.launch import Array, contiguous_strides

    return Array(None, dtype, shape, contiguous_strides(shape))


def test_sizes_may_be_known_only_when_a_plan_runs() -> None:
    from samedge.kernels.layers.linear import linear

    run, batch = Recorder(), named("batch")
    x, w = recorded(batch, 64, 96), recorded(96, 200, dtype="fp16")
    code, table = recorded(1, 64, 96), recorded(64, 128)
    residual = recorded(batch, 64, 128)
    first, second = linear(
        run, x, w, add=code, table=table, residual=residual, split=128, dtype="fp32"
    )
    (launch,) = run.launches
    assert (first.shape, first.dtype) == ((batch, 64, 128), "fp32")
    assert (second.shape, second.dtype) == ((batch, 64, 72), "fp16")
    assert (launch.arguments["add_rows"], launch.arguments["table_rows"]) == (64, 64)
    assert launch.arguments["residual_rows"] is None  # all its rows are there
    blocks = launch.constants
    tiles = -(-192 // blocks["BLOCK_M"]) * sum(-(-n // blocks["BLOCK_N"]) for n in (128, 72))
    assert evaluate(launch.grid[0], {"batch": 3}) == tiles
    assert evaluate(launch.flops, {"batch": 3}) == 2 * 192 * 96 * 200


def test_tiles_go_by_the_size_of_the_product() -> None:
    from samedge.kernels.layers.linear import linear
    from samedge.kernels.tiles import tile_of

    run, batch = Recorder(), named("batch")
    for tokens, few in ((4096, False), (64, False), (7, True)):
        linear(
            run,
            recorded(batch, tokens, 768),
            recorded(768, 768, dtype="fp16"),
            dtype="fp16",
            few=few,
        )
    cases = ("linear.large", "linear", "linear.few")
    assert [launch.tile for launch in run.launches] == [tile_of(c, "fp16", 87) for c in cases]


def nothing_is_hidden() -> tuple[torch.Tensor, torch.Tensor]:
    """NaN in one row, through relu."""
    from samedge.kernels.layers.linear import linear

    run = Guarded()
    x = torch.zeros(20, 40)
    x[7, 3] = float("nan")
    w = run.given(torch.ones(40, 33))
    got = run.result(linear(run, run.given(x), w, activation="relu", dtype="fp32"))
    return got.isnan().any(1), x.isnan().any(1)


def test_nan_stays_nan_and_in_its_row() -> None:
    got, want = interpreted(nothing_is_hidden)
    assert bool((got == want).all())


def refused(case: str) -> str:
    """The message that a call with one wrong argument gets."""
    from samedge.kernels.layers.linear import linear
    from samedge.kernels.layers.linear_parts import RowNorm

    run = Guarded()

    def some(*shape: int, dtype: torch.dtype = torch.float32) -> Any:
        return run.given(torch.zeros(*shape, dtype=dtype))

    x, w = some(6, 32), some(32, 48)
    calls: dict[str, Any] = {
        "inner": lambda: linear(run, some(6, 31), w, dtype="fp32"),
        "weight type": lambda: linear(run, x, some(32, 48, dtype=torch.int8), dtype="fp32"),
        "bias": lambda: linear(run, x, w, some(47), dtype="fp32"),
        "add": lambda: linear(run, x, w, add=some(4, 32), dtype="fp32"),
        "residual": lambda: linear(run, x, w, residual=some(6, 47), dtype="fp32"),
        "table type": lambda: linear(
            run, x, w, table=some(6, 48, dtype=torch.float16), dtype="fp32"
        ),
        "statistics": lambda: linear(run, x, w, norm=RowNorm(some(5, 2)), dtype="fp32"),
        "norm alone": lambda: linear(run, x, w, residual_norm=RowNorm(some(6, 2)), dtype="fp32"),
        "activation": lambda: linear(run, x, w, activation="tanh", dtype="fp32"),
        "split": lambda: linear(run, x, w, split=48, dtype="fp32"),
        "second": lambda: linear(run, x, w, second_out=some(6, 48), dtype="fp32"),
        "dtype": lambda: linear(run, x, w, dtype="i8"),
        "out": lambda: linear(run, x, w, out=some(6, 47), dtype="fp32"),
        "one axis": lambda: linear(run, some(32), w, dtype="fp32"),
        "rows apart": lambda: linear(
            run, replace(some(3, 4, 32), shape=(3, 2, 32)), w, dtype="fp32"
        ),
        "alignment": lambda: linear(run, some(6, 33).columns(1, 33), w, dtype="fp32"),
    }
    try:
        calls[case]()
    except DeviceError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("inner", "x came as [6, 31], expected [*, 32]"),
        ("weight type", "weight came as i8"),
        ("bias", "bias came as [47], expected [48]"),
        ("add", "add came with 4 rows, expected 6 or a number that divides it"),
        ("residual", "residual came as [6, 47], expected [*, 48]"),
        ("table type", "table came as fp16, expected fp32"),
        ("statistics", "norm.statistics came as [5, 2], expected [6, 2]"),
        ("norm alone", "residual_norm came without a residual"),
        ("activation", "activation came as 'tanh'"),
        ("split", "split came as 48, expected 1 to 47"),
        ("second", "second_out came without a split"),
        ("dtype", "dtype came as i8"),
        ("out", "out came as [6, 47], expected [6, 48]"),
        ("one axis", "expected rows"),
        ("rows apart", "equally far apart"),
        ("alignment", "behind a multiple of 16"),
    ],
)
def test_what_does_not_fit_is_named(case: str, words: str) -> None:
    message = interpreted(refused, case)
    assert message.startswith("linear: ")
    assert words in message
