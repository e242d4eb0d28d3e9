"""One case of `linear` or `linear_int8` in the interpreter, beside the same in float64."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tests.kernels.interpreted import Guarded

EPS = 1e-6


class Numbers:
    """Random inputs of a case: rounded to their type, and in float64."""

    def __init__(self, run: Guarded, seed: int) -> None:
        self.run, self.generator = run, torch.Generator().manual_seed(seed)

    def some(self, *shape: int, dtype: str = "fp32", scale: float = 1.0) -> Any:
        """(array, exact values)."""
        from samedge.kernels.torch_runner import DTYPES

        x = (torch.randn(*shape, generator=self.generator) * scale).to(DTYPES[dtype])
        return self.run.given(x), x.double()

    def steps(self, inner: int, columns: int) -> Any:
        """An int8 weight, stored along its inner axis: (array, exact values)."""
        x = torch.randint(-127, 128, (columns, inner), generator=self.generator, dtype=torch.int8)
        return self.run.given(x).transposed(), x.double().t()


def exact_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, (x.shape[-1],), weight, bias, EPS)


def product(
    shape: tuple[int, ...] = (50,),
    inner: int = 40,
    columns: int = 33,
    weights: str = "fp16",
    inputs: str = "fp16",
    dtype: str = "fp32",
    bias: bool = True,
    norm: str = "",  # "", "plain", "affine"
    add: int = 0,  # rows
    activation: str = "",
    residual: int = 0,  # rows
    residual_dtype: str = "fp32",
    residual_norm: bool = False,
    table: int = 0,  # rows
    split: int | None = None,
    few: bool = False,
    sliced: bool = False,  # x, weight and out are columns of wider arrays
    in_place: bool = False,  # the output replaces the residual
    int8: bool = False,  # weights and rows in int8
    forget: str = "",  # what the expectation leaves out: then it must not agree
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(answer, right answer) of the output, or of both outputs."""
    from samedge.kernels.layers.linear import linear
    from samedge.kernels.layers.linear_int8 import linear_int8
    from samedge.kernels.layers.linear_parts import RowNorm
    from samedge.kernels.layers.row_statistics import row_statistics
    from samedge.kernels.torch_runner import DTYPES

    run = Guarded()
    numbers = Numbers(run, inner * columns)
    first = columns if split is None else split
    options: dict[str, Any] = {"activation": activation, "split": split, "few": few}
    extra = 16 if sliced else 0
    x, exact = numbers.some(*shape, inner + 2 * extra, dtype=inputs, scale=2.0)
    if int8:
        w, exact_w = numbers.steps(inner, columns + 2 * extra)
    else:
        w, exact_w = numbers.some(inner, columns + 2 * extra, dtype=weights, scale=inner**-0.5)
    if sliced:
        x, exact = x.columns(16, 16 + inner), exact[..., 16 : 16 + inner]
        w, exact_w = w.columns(16, 16 + columns), exact_w[:, 16 : 16 + columns]
    exact = exact.reshape(-1, inner)
    rows = len(exact)

    if norm:
        g, exact_g = numbers.some(inner)
        b, exact_b = numbers.some(inner)
        affine = norm == "affine"
        statistics = row_statistics(run, x, EPS)
        options["norm"] = RowNorm(statistics, g, b) if affine else RowNorm(statistics)
        one, zero = torch.ones_like(exact_g), torch.zeros_like(exact_b)
        exact = exact_norm(exact, exact_g if affine else one, exact_b if affine else zero)
    if add:
        options["add"], exact_add = numbers.some(add, inner, dtype=inputs)
        if forget != "add":
            exact = exact + exact_add.repeat(rows // add, 1)
    if int8:
        x_scale = torch.tensor([float(exact.abs().max()) * 0.7 / 127])
        columns_scale = torch.rand(columns, generator=numbers.generator) * 1e-3 + 1e-4
        scales = (run.given(columns_scale), run.given(x_scale))
        steps = (exact / x_scale.double()).round().clamp(-128, 127)
        if forget == "saturation":
            steps = (exact / x_scale.double()).round()
        sums = (steps @ exact_w) * x_scale.double() * columns_scale.double()
    else:
        # The one rounding that is part of the definition: to the weight's type.
        rounded = exact.to(DTYPES[weights]).double() if norm or add else exact
        sums = rounded @ exact_w
    if bias:
        options["bias"], exact_bias = numbers.some(columns)
        if forget != "bias":
            sums = sums + exact_bias
    y = sums[:, :first]
    if table:
        options["table"], exact_table = numbers.some(table, first)
        if forget == "table rows":
            exact_table = exact_table.roll(1, 0)
        y = y + exact_table.repeat(rows // table, 1)
    y = {"": lambda v: v, "gelu": F.gelu, "relu": F.relu}[activation](y)
    if residual:
        r, exact_r = numbers.some(residual, first, dtype=residual_dtype, scale=3.0)
        if in_place:
            options["out"] = r
        options["residual"] = r
        if residual_norm:
            g, exact_g = numbers.some(first)
            b, exact_b = numbers.some(first)
            options["residual_norm"] = RowNorm(row_statistics(run, r, EPS), g, b)
            if forget != "residual norm":
                exact_r = exact_norm(exact_r, exact_g, exact_b)
        y = y + exact_r.repeat(rows // residual, 1)
    if sliced:
        wide = run.empty((*shape, first + 32), dtype)
        options["out"] = wide.columns(16, 16 + first)
        if split is not None:
            behind = run.empty((*shape, columns), inputs if int8 else weights)
            options["second_out"] = behind.columns(0, columns - split)
    if int8:
        got = linear_int8(run, x, w, *scales, dtype=dtype, **options)
    else:
        got = linear(run, x, w, dtype=dtype, **options)
    outputs = list(got) if split is not None else [got]
    wanted = [y] if split is None else [y, F.gelu(sums[:, first:])]
    results = [run.result(array) for array in outputs]
    if sliced:
        beside = run.result(wide)[..., [*range(16), *range(16 + first, 32 + first)]]
        assert bool(beside.isnan().all()), "written beside the columns"
    assert all(tuple(r.shape[:-1]) == shape for r in results)
    return [(r.double().reshape(rows, -1), v) for r, v in zip(results, wanted, strict=True)]


def error(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The largest error over the values' scale."""
    return max(float((got - want).abs().max() / want.abs().max()) for got, want in pairs)
