"""Attention in windows against float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch

from samedge.errors import DeviceError
from samedge.fold.attention import relative_table
from samedge.kernels import reference
from tests.kernels.interpreted import Guarded, interpreted

LIMITS = {"fp32": 1e-5, "fp16": 4e-3}


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem(
    grid: int, window: int, heads: int, dim: int, batch: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """qkv as its product leaves it, with queries of a usual size, and both tables of a folded
    model."""
    qkv = normal(0, batch, grid * grid, 3 * heads * dim)
    qkv[..., : heads * dim] /= dim**0.5
    rel_h, rel_w = (relative_table(normal(i, 2 * window - 1, dim), window) for i in (1, 2))
    return qkv, rel_h, rel_w


def found(
    qkv: torch.Tensor,
    rel_h: torch.Tensor,
    rel_w: torch.Tensor,
    heads: int,
    grid: int,
    arch: int = 0,
) -> torch.Tensor:
    """The kernel's answer; `arch` chooses the tile."""
    from samedge.kernels.attention.relative_positions import tables
    from samedge.kernels.attention.window_attention import window_attention

    run = Guarded()
    run.arch = arch
    given = (run.given(x) for x in (qkv, tables(rel_h), tables(rel_w)))
    return run.result(window_attention(run, *given, heads, grid))


def error(
    grid: int,
    window: int,
    heads: int = 1,
    dim: int = 16,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    arch: int = 0,
) -> float:
    x = [a.to(dtype) for a in problem(grid, window, heads, dim, batch)]
    expected = reference.window_attention(*(a.double() for a in x), heads, grid)
    return distance(interpreted(found, *x, heads, grid, arch), expected)


def distance(result: torch.Tensor, expected: torch.Tensor) -> float:
    assert result.shape == expected.shape
    difference = (result.double() - expected).abs().max()
    return float(difference) if difference.isfinite() else float("inf")


@pytest.mark.parametrize(
    ("grid", "window", "dim"),
    [
        (16, 14, 16),
        (14, 14, 64),
        (8, 14, 32),
        (17, 14, 24),
        (9, 4, 16),
        (10, 7, 16),
        (3, 1, 16),
        (16, 15, 16),
        (16, 16, 16),
        (18, 17, 16),
    ],
)
def test_equals_the_reference(grid: int, window: int, dim: int) -> None:
    assert error(grid, window, dim=dim) < LIMITS["fp32"]


@pytest.mark.parametrize(("grid", "window"), [(16, 14), (11, 7), (5, 14)])
def test_half_precision_and_batches(grid: int, window: int) -> None:
    assert error(grid, window, heads=2, batch=2, dtype=torch.float16) < LIMITS["fp16"]


@pytest.mark.parametrize(("grid", "window"), [(16, 14), (9, 5), (6, 14)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_with_the_tiles_of_a_gpu(grid: int, window: int, dtype: torch.dtype) -> None:
    limit = LIMITS["fp32" if dtype == torch.float32 else "fp16"]
    assert error(grid, window, heads=1, dtype=dtype, arch=87) < limit


@pytest.mark.parametrize("wrong", ["no height", "no width", "swapped", "mirrored", "padding"])
def test_the_limits_tell_wrong_biases_apart(wrong: str) -> None:
    qkv, rel_h, rel_w = (x.half() for x in problem(16, 14, 2, 16, 1))
    result = interpreted(found, qkv, rel_h, rel_w, 2, 16)
    exact = qkv.double(), rel_h.double(), rel_w.double()
    assert distance(result, reference.window_attention(*exact, 2, 16)) < LIMITS["fp16"]
    q, h, w = exact
    if wrong == "padding":
        mistaken = without_padding(q, h, w)
        result = result.unflatten(1, (16, 16))[:, 14:, 14:]  # windows of 2 x 2 tokens
    else:
        tables = {
            "no height": (h * 0, w),
            "no width": (h, w * 0),
            "swapped": (w, h),
            "mirrored": (h.flip(0, 2), w),
        }
        mistaken = reference.window_attention(q, *tables[wrong], 2, 16)
    assert distance(result, mistaken) > 10 * LIMITS["fp16"]


def without_padding(qkv: torch.Tensor, rel_h: torch.Tensor, rel_w: torch.Tensor) -> torch.Tensor:
    """The window in the lower right corner of `problem(16, 14, 2, ..)`, if zeros were left out."""
    corner = qkv.unflatten(1, (16, 16))[:, 14:, 14:].flatten(1, 2)
    tables = rel_h[:2, :, :2], rel_w[:2, :, :2]
    return reference.relative_attention(*corner.chunk(3, -1), *tables, 2).unflatten(1, (2, 2))


def share_of_the_bias(grid: int, window: int, dtype: str, arch: int) -> float:
    """Of the tensor cores' work, in parts of that of QK and PV."""
    from samedge.kernels.attention.window_attention import tensor_core_work
    from samedge.kernels.tiles import tile_of

    bias, rest = tensor_core_work(grid, window, 64, tile_of("window_attention", dtype, arch))
    return bias / rest


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("arch", [80, 86, 87, 89, 90, 110, 120])
def test_the_bias_takes_little_of_the_tensor_cores(arch: int, dtype: str) -> None:
    """Products with one-hot matrices, for every tile of keys, would take 0.39 in windows of 14."""
    for grid in (5, 14, 16, 17, 32, 64):
        assert interpreted(share_of_the_bias, grid, 14, dtype, arch) <= 0.1


def tables_of(rel: torch.Tensor) -> torch.Tensor:
    from samedge.kernels.attention.relative_positions import tables

    return tables(rel)


@pytest.mark.parametrize("size", [1, 2, 14])
def test_tables_keep_the_rows_of_the_checkpoint(size: int) -> None:
    rows = normal(0, 2 * size - 1, 4)
    assert torch.equal(interpreted(tables_of, relative_table(rows, size)), rows)


def test_a_table_of_places_is_refused() -> None:
    with pytest.raises(DeviceError, match="more than the distance"):
        interpreted(tables_of, normal(0, 4, 8, 4))


def refused(qkv: tuple[int, ...], rel_h: tuple[int, int], rel_w: tuple[int, int]) -> str:
    from samedge.kernels.attention.window_attention import window_attention

    run = Guarded()
    given = (run.given(torch.zeros(shape)) for shape in (qkv, rel_h, rel_w))
    with pytest.raises(DeviceError) as caught:
        window_attention(run, *given, 2, 4)
    return str(caught.value)


@pytest.mark.parametrize(
    ("qkv", "rel_h", "rel_w", "message"),
    [
        ((1, 15, 96), (5, 16), (5, 16), "qkv came as [1, 15, 96], expected [*, 16, *]"),
        ((1, 16, 92), (5, 16), (5, 16), "92 columns, which 3 x 2 heads do not divide"),
        ((1, 16, 96), (6, 16), (5, 16), "rel_h has 6 rows, expected 2 S - 1"),
        ((1, 16, 96), (5, 16), (7, 16), "rel_w came with 7 rows, rel_h has 5"),
        ((1, 16, 96), (5, 8), (5, 16), "rel_h came as [5, 8], expected [*, 16]"),
    ],
)
def test_what_does_not_fit_is_refused(
    qkv: tuple[int, ...], rel_h: tuple[int, int], rel_w: tuple[int, int], message: str
) -> None:
    assert message in interpreted(refused, qkv, rel_h, rel_w)
