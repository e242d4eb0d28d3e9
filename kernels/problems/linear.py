"""Problems of linear layers and norms."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from samedge.kernels import reference
from samedge.kernels.launch import Array, Runner
from samedge.kernels.layers.layer_norm import layer_norm
from samedge.kernels.layers.linear import linear
from samedge.kernels.layers.linear_parts import RowNorm
from samedge.kernels.layers.row_statistics import row_statistics
from samedge.kernels.problems.problem import Arrays, Case, Draw, Problem, Tensors

EPS = 1e-6


def statistics(draw: Draw, rows: int, width: int) -> Problem:
    """Mean and reciprocal deviation of rows."""
    given = {"x": draw.half(rows, width, scale=3.0)}

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        return (row_statistics(run, x["x"], EPS),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        variance, mean = torch.var_mean(x["x"], 1, correction=0)
        return (torch.stack([mean, (variance + EPS).rsqrt()], 1),)

    return Problem(given, solve, right)


def norm(draw: Draw, rows: int, width: int) -> Problem:
    """LayerNorm of a sum."""
    given = {
        "x": draw.half(rows, width),
        "residual": draw.full(rows, width),
        "weight": draw.full(width),
        "bias": draw.full(width),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        parts = x["x"], x["weight"], x["bias"]
        return (layer_norm(run, *parts, EPS, residual=x["residual"], dtype=x["x"].dtype),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        return (reference.layer_norm(x["x"] + x["residual"], x["weight"], x["bias"], EPS),)

    return Problem(given, solve, right)


def normalised(draw: Draw, rows: int, width: int, columns: int) -> Problem:
    """norm1 + qkv: fp32 tokens, normalised while they are loaded."""
    given = {
        "x": draw.full(rows, width, scale=3.0),
        "norm_weight": 1 + draw.full(width, scale=0.5),
        "norm_bias": draw.full(width),
        "weight": draw.weight(width, columns),
        "bias": draw.full(columns),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        found = row_statistics(run, x["x"], EPS)
        own = RowNorm(found, x["norm_weight"], x["norm_bias"])
        dtype = x["weight"].dtype
        return _arrays(linear(run, x["x"], x["weight"], x["bias"], norm=own, dtype=dtype))

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        y = reference.layer_norm(x["x"], x["norm_weight"], x["norm_bias"], EPS)
        return (reference.linear(y, x["weight"], x["bias"]),)

    return Problem(given, solve, right)


def activated(draw: Draw, rows: int, width: int, columns: int, few: bool = False) -> Problem:
    """A linear layer and GELU."""
    given = {
        "x": draw.half(rows, width),
        "weight": draw.weight(width, columns),
        "bias": draw.full(columns),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        parts, dtype = (x["x"], x["weight"], x["bias"]), x["x"].dtype
        return _arrays(linear(run, *parts, activation="gelu", dtype=dtype, few=few))

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        return (F.gelu(reference.linear(x["x"], x["weight"], x["bias"])),)

    return Problem(given, solve, right)


def added(draw: Draw, rows: int, width: int, columns: int, table: int = 0) -> Problem:
    """A linear layer, added to fp32 tokens; with a table of as many rows that is repeated."""
    given = {
        "x": draw.half(rows, width),
        "weight": draw.weight(width, columns),
        "bias": draw.full(columns),
        "residual": draw.full(rows, columns),
    }
    if table:
        given["table"] = draw.full(table, columns)

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        parts = x["x"], x["weight"], x["bias"]
        own, rows_added = x["residual"], x.get("table")
        return _arrays(linear(run, *parts, residual=own, table=rows_added, dtype="fp32"))

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        y = reference.linear(x["x"], x["weight"], x["bias"]) + x["residual"]
        if table:
            y = y + x["table"].repeat(rows // table, 1)
        return (y,)

    return Problem(given, solve, right)


def parted(draw: Draw, rows: int, width: int, columns: int, split: int) -> Problem:
    """A projection with an adapter's pre-activation as further columns."""
    given = {
        "x": draw.half(rows, width),
        "weight": draw.weight(width, columns),
        "bias": draw.full(columns),
        "residual": draw.full(rows, split),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        parts, residual = (x["x"], x["weight"], x["bias"]), x["residual"]
        return _arrays(linear(run, *parts, residual=residual, split=split, dtype="fp32"))

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        y = reference.linear(x["x"], x["weight"], x["bias"])
        return y[:, :split] + x["residual"], F.gelu(y[:, split:])

    return Problem(given, solve, right)


def _arrays(result: Array | tuple[Array, Array]) -> tuple[Array, ...]:
    return result if isinstance(result, tuple) else (result,)


CASES = (
    Case("row_statistics", statistics, {"rows": 37, "width": 100}, {"rows": 4096, "width": 768}),
    Case("layer_norm", norm, {"rows": 37, "width": 100}, {"rows": 4096, "width": 256}),
    Case(
        "linear.norm", normalised,
        {"rows": 37, "width": 100, "columns": 72}, {"rows": 4096, "width": 768, "columns": 2304},
    ),
    Case(
        "linear.gelu", activated,
        {"rows": 37, "width": 48, "columns": 136}, {"rows": 4096, "width": 768, "columns": 3264},
    ),
    Case(
        "linear.few", activated,
        {"rows": 7, "width": 48, "columns": 72, "few": True},
        {"rows": 7, "width": 256, "columns": 2048, "few": True},
    ),
    Case(
        "linear.residual", added,
        {"rows": 36, "width": 136, "columns": 40, "table": 12},
        {"rows": 4096, "width": 3264, "columns": 768},
    ),
    Case(
        "linear.split", parted,
        {"rows": 37, "width": 48, "columns": 72, "split": 40},
        {"rows": 4096, "width": 768, "columns": 960, "split": 768},
    ),
)  # fmt: skip
