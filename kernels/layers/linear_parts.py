"""What `linear` and `linear_int8` share.

Which tile a program makes, what happens to rows while they are loaded and to sums before they are
stored; and the checks of all arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import FLOATS, Array, Runner, Tile, check, next_power
from samedge.kernels.layers.gelu import gelu
from samedge.kernels.layers.rows import repeated_rows, rows_of
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, cdiv, evaluate, names_in

ACTIVATIONS = ("", "gelu", "relu")
LARGE = 1 << 21  # numbers of an output from which on large tiles still fill a GPU


@triton.jit
def place_of_tile(
    rows,
    N: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    """Which tile this program makes.

    Programs that run at the same time make GROUP_M tiles below each other for all columns in turn,
    so that they find rows and weights in the cache. The columns from SPLIT on are tiled apart.

    Returns:
        (first row, first column, behind the last column, whether it is behind SPLIT).
    """
    FIRST: tl.constexpr = (SPLIT + BLOCK_N - 1) // BLOCK_N
    TILES_N: tl.constexpr = FIRST + (N - SPLIT + BLOCK_N - 1) // BLOCK_N
    tiles_m = tl.cdiv(rows, BLOCK_M)
    group = tl.program_id(0) // (GROUP_M * TILES_N)
    within = tl.program_id(0) % (GROUP_M * TILES_N)
    height = tl.minimum(tiles_m - group * GROUP_M, GROUP_M)
    tile_m = group * GROUP_M + within % height
    tile_n = within // height
    behind = tile_n >= FIRST
    if SPLIT == N:
        start, end = tile_n * BLOCK_N, N
    else:
        start = tile_n * BLOCK_N + tl.where(behind, SPLIT - FIRST * BLOCK_N, 0)
        end = tl.where(behind, N, SPLIT)
    return tile_m * BLOCK_M, start, end, behind


@triton.jit
def load_x(
    x_ptr,
    statistics_ptr,
    norm_weight_ptr,
    norm_bias_ptr,
    add_ptr,
    x_place,
    add_place,
    mean,
    deviation,
    k,
    K: tl.constexpr,
    MASKED: tl.constexpr,
):
    """A tile of rows as they are multiplied: normalised and with `add`, fp32 where that happens.

    x_place, add_place: int64 [BLOCK_M, 1], elements before the rows. Columns behind K are zero or
    at least finite: the weight is zero there.
    """
    inside = (k < K)[None, :]
    x = load_columns(x_ptr + x_place + k[None, :], inside, MASKED)
    if statistics_ptr is not None:
        x = (x.to(tl.float32) - mean) * deviation
        if norm_weight_ptr is not None:
            x *= load_columns(norm_weight_ptr + k[None, :], inside, MASKED)
        if norm_bias_ptr is not None:
            x += load_columns(norm_bias_ptr + k[None, :], inside, MASKED)
    if add_ptr is not None:
        x = x.to(tl.float32)
        x += load_columns(add_ptr + add_place + k[None, :], inside, MASKED).to(tl.float32)
    return x


@triton.jit
def load_columns(pointers, inside, MASKED: tl.constexpr):
    """Zero outside; a mask where none is needed costs registers."""
    if MASKED:
        values = tl.load(pointers, mask=inside, other=0.0)
    else:
        values = tl.load(pointers)
    return values


@triton.jit
def statistics_of(statistics_ptr, row):
    """[BLOCK_M, 1] mean and reciprocal deviation; without statistics numbers that nobody uses."""
    if statistics_ptr is not None:
        mean = tl.load(statistics_ptr + row * 2)
        deviation = tl.load(statistics_ptr + row * 2 + 1)
    else:
        mean, deviation = row, row
    return mean[:, None], deviation[:, None]


@triton.jit
def store_first(
    y,
    table_ptr,
    residual_ptr,
    statistics_ptr,
    norm_weight_ptr,
    norm_bias_ptr,
    out_ptr,
    rows,
    table_rows,
    residual_rows,
    m,
    n,
    end,
    TABLE_STRIDE: tl.constexpr,
    RESIDUAL_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """out[m, n] = activation(y + table) + (normalised) residual; y fp32 [BLOCK_M, BLOCK_N]."""
    stored = (m < rows)[:, None] & (n < end)[None, :]
    if table_ptr is not None:
        place = (m % table_rows).to(tl.int64)[:, None] * TABLE_STRIDE + n[None, :]
        y += tl.load(table_ptr + place, mask=stored, other=0.0)
    if ACTIVATION == "gelu":
        y = gelu(y)
    if ACTIVATION == "relu":
        y = tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL)
    if residual_ptr is not None:
        row = tl.minimum(m, rows - 1)
        if residual_rows is not None:
            row = row % residual_rows
        place = row.to(tl.int64)[:, None] * RESIDUAL_STRIDE + n[None, :]
        residual = tl.load(residual_ptr + place, mask=stored, other=0.0).to(tl.float32)
        if statistics_ptr is not None:
            mean, deviation = statistics_of(statistics_ptr, row)
            residual = (residual - mean) * deviation
            if norm_weight_ptr is not None:
                residual *= tl.load(norm_weight_ptr + n, mask=n < end, other=0.0)[None, :]
            if norm_bias_ptr is not None:
                residual += tl.load(norm_bias_ptr + n, mask=n < end, other=0.0)[None, :]
        y += residual
    place = m.to(tl.int64)[:, None] * OUT_STRIDE + n[None, :]
    tl.store(out_ptr + place, y.to(out_ptr.dtype.element_ty), mask=stored)


@triton.jit
def store_second(
    y, out_ptr, rows, m, n, SPLIT: tl.constexpr, N: tl.constexpr, STRIDE: tl.constexpr
):
    """out[m, n - SPLIT] = gelu(y)."""
    stored = (m < rows)[:, None] & (n < N)[None, :]
    place = m.to(tl.int64)[:, None] * STRIDE + (n - SPLIT)[None, :]
    tl.store(out_ptr + place, gelu(y).to(out_ptr.dtype.element_ty), mask=stored)


@dataclass(frozen=True)
class RowNorm:
    """A LayerNorm or RMS norm whose statistics are known.

    Attributes:
        statistics: fp32 [rows, 2], of `row_statistics`.
        weight, bias: fp32 [width]; None: 1 and 0.
    """

    statistics: Array
    weight: Array | None = None
    bias: Array | None = None


@dataclass(frozen=True)
class Options:
    """What `linear` does besides the product; see there."""

    bias: Array | None
    norm: RowNorm | None
    add: Array | None
    activation: str
    residual: Array | None
    residual_norm: RowNorm | None
    table: Array | None
    split: int | None
    dtype: str
    out: Array | None
    second_out: Array | None = None


@dataclass(frozen=True)
class Parts:
    """Checked arguments of a launch, all but the weight's.

    Attributes:
        rows: of x and of the outputs.
        arguments, constants: of the kernel.
        outputs: names of those that are written.
        first, second: the arrays that are written.
    """

    rows: Size
    arguments: Mapping[str, Array | Size | None]
    constants: Mapping[str, Any]
    outputs: tuple[str, ...]
    first: Array
    second: Array | None


def tile_for(kernel: str, dtype: str, arch: int, outputs: Size, few: bool) -> Tile:
    """The tile of a product: case "few" for few rows, "large" where many tiles fill a GPU anyway.

    Args:
        outputs: numbers that it makes; of what is dynamic, at least one is there.
    """
    least = evaluate(outputs, dict.fromkeys(names_in(outputs), 1))
    case = ".few" if few else ".large" if least >= LARGE else ""
    return tile_of(kernel + case, dtype, arch)


def blocks_of(tile: Tile, inner: int, columns: int, least_inner: int) -> dict[str, int]:
    """The tile's constants, no larger than the product itself is."""
    return {
        "BLOCK_M": tile["BLOCK_M"],
        "BLOCK_N": min(tile["BLOCK_N"], next_power(columns, 16)),
        "BLOCK_K": min(tile["BLOCK_K"], next_power(inner, least_inner)),
        "GROUP_M": tile["GROUP_M"],
    }


def tiles_in_all(rows: Size, columns: int, split: int, blocks: Mapping[str, int]) -> Size:
    """Programs of a launch; see `place_of_tile`."""
    width = blocks["BLOCK_N"]
    return cdiv(rows, blocks["BLOCK_M"]) * (cdiv(split, width) + cdiv(columns - split, width))


def prepared(
    kernel: str, run: Runner, x: Array, inner: int, columns: int, hidden: str, options: Options
) -> Parts:
    """Check everything but the weight, and make room for the outputs.

    Args:
        kernel: name for messages.
        run: gives memory.
        x: [..., K].
        inner: K of the weight.
        columns: of the weight.
        hidden: element type of the second output.
        options: of the call.

    Raises:
        DeviceError: something does not fit.
    """
    split = columns if options.split is None else options.split
    if not 0 < split <= columns or (options.split is not None and split == columns):
        raise DeviceError(f"{kernel}: split came as {split}, expected 1 to {columns - 1}")
    if options.activation not in ACTIVATIONS:
        raise DeviceError(
            f"{kernel}: activation came as {options.activation!r}, expected one of {ACTIVATIONS}"
        )
    if options.dtype not in FLOATS:
        raise DeviceError(f"{kernel}: dtype came as {options.dtype}, expected one of {FLOATS}")
    leading: tuple[Size, ...] = x.shape[:-1]
    check(x, kernel, "x", (*(None,) * len(leading), inner), *FLOATS)
    rows, x_stride = rows_of(x, kernel, "x")
    arguments: dict[str, Array | Size | None] = {"x_ptr": x, "rows": rows}
    constants: dict[str, Any] = {"X_STRIDE": x_stride, "N": columns, "K": inner, "SPLIT": split}
    arguments["bias_ptr"] = options.bias
    if options.bias is not None:
        check(options.bias, kernel, "bias", (columns,), "fp32")
    _beside(kernel, "add", options.add, inner, rows, FLOATS, arguments, constants)
    _beside(kernel, "residual", options.residual, split, rows, FLOATS, arguments, constants)
    _beside(kernel, "table", options.table, split, rows, ("fp32",), arguments, constants)
    if options.table is not None and arguments["table_rows"] is None:
        arguments["table_rows"] = rows
    _norm(kernel, "norm", options.norm, inner, rows, arguments)
    if options.residual_norm is not None and options.residual is None:
        raise DeviceError(f"{kernel}: residual_norm came without a residual")
    residual_rows = arguments["residual_rows"]
    assert not isinstance(residual_rows, Array)
    of_residual = rows if residual_rows is None else residual_rows
    _norm(kernel, "residual_norm", options.residual_norm, split, of_residual, arguments)
    constants["ACTIVATION"] = options.activation
    first, second, strides = _outputs(kernel, run, leading, split, columns, hidden, options)
    constants |= strides
    arguments |= {"out_ptr": first, "second_ptr": second}
    outputs = ("out_ptr",) if second is None else ("out_ptr", "second_ptr")
    return Parts(rows, arguments, constants, outputs, first, second)


def _outputs(
    kernel: str,
    run: Runner,
    leading: tuple[Size, ...],
    split: int,
    columns: int,
    hidden: str,
    options: Options,
) -> tuple[Array, Array | None, dict[str, int]]:
    """The arrays that are written, and how far their rows are apart."""
    first, second = options.out, options.second_out
    if first is None:
        first = run.empty((*leading, split), options.dtype, kernel)
    check(first, kernel, "out", (*leading, split), options.dtype)
    strides = {"OUT_STRIDE": rows_of(first, kernel, "out")[1], "SECOND_STRIDE": 0}
    if split < columns:
        shape = (*leading, columns - split)
        second = run.empty(shape, hidden, f"{kernel} second") if second is None else second
        check(second, kernel, "second_out", shape, hidden)
        strides["SECOND_STRIDE"] = rows_of(second, kernel, "second_out")[1]
    elif second is not None:
        raise DeviceError(f"{kernel}: second_out came without a split, expected both or none")
    return first, second, strides


def _beside(
    kernel: str,
    name: str,
    array: Array | None,
    width: int,
    rows: Size,
    dtypes: tuple[str, ...],
    arguments: dict[str, Array | Size | None],
    constants: dict[str, Any],
) -> None:
    """An array whose row `m % its rows` stands beside row m; None for its rows where it has all."""
    count, stride = None, 0
    if array is not None:
        count, stride = repeated_rows(array, kernel, name, width, rows, *dtypes)
    arguments |= {f"{name}_ptr": array, f"{name}_rows": count}
    constants[f"{name.upper()}_STRIDE"] = stride


def _norm(
    kernel: str,
    name: str,
    norm: RowNorm | None,
    width: int,
    rows: Size,
    arguments: dict[str, Array | Size | None],
) -> None:
    prefix = "" if name == "norm" else "residual_"
    if norm is None:
        norm_arrays: tuple[Array | None, ...] = (None, None, None)
    else:
        norm_arrays = (norm.statistics, norm.weight, norm.bias)
        check(norm.statistics, kernel, f"{name}.statistics", (rows, 2), "fp32")
        if not norm.statistics.contiguous:
            raise DeviceError(f"{kernel}: {name}.statistics are not contiguous, expected so")
        for part, array in (("weight", norm.weight), ("bias", norm.bias)):
            if array is not None:
                check(array, kernel, f"{name}.{part}", (width,), "fp32")
    keys = ("statistics_ptr", "norm_weight_ptr", "norm_bias_ptr")
    arguments |= {prefix + key: array for key, array in zip(keys, norm_arrays, strict=True)}
