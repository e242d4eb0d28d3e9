"""Attention over the whole grid against float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch

from samedge.errors import DeviceError
from samedge.fold.attention import relative_table
from samedge.kernels import reference
from tests.kernels.interpreted import Guarded, interpreted

LIMITS = {torch.float32: 1e-5, torch.float16: 4e-3}


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem(
    rows: int, cols: int, heads: int, dim: int, batch: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """qkv as its product leaves it, with queries of a usual size, and both tables of a folded
    model."""
    qkv = normal(0, batch, rows * cols, 3 * heads * dim)
    qkv[..., : heads * dim] /= dim**0.5
    rel_h = relative_table(normal(1, 2 * rows - 1, dim), rows)
    return qkv, rel_h, relative_table(normal(2, 2 * cols - 1, dim), cols)


def found(
    qkv: torch.Tensor, rel_h: torch.Tensor, rel_w: torch.Tensor, heads: int, arch: int = 0
) -> torch.Tensor:
    """The kernel's answer; `arch` chooses the tile."""
    from samedge.kernels.attention.global_attention import global_attention
    from samedge.kernels.attention.relative_positions import tables

    run = Guarded()
    run.arch = arch
    given = (run.given(x) for x in (qkv, tables(rel_h), tables(rel_w)))
    return run.result(global_attention(run, *given, heads, len(rel_h), len(rel_w)))


def right(qkv: torch.Tensor, rel_h: torch.Tensor, rel_w: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = qkv.double().chunk(3, -1)
    return reference.relative_attention(q, k, v, rel_h.double(), rel_w.double(), heads)


def distance(result: torch.Tensor, expected: torch.Tensor) -> float:
    assert result.shape == expected.shape
    difference = (result.double() - expected).abs().max()
    return float(difference) if difference.isfinite() else float("inf")


def error(
    rows: int,
    cols: int,
    heads: int = 1,
    dim: int = 16,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    arch: int = 0,
) -> float:
    x = [a.to(dtype) for a in problem(rows, cols, heads, dim, batch)]
    return distance(interpreted(found, *x, heads, arch), right(*x, heads))


@pytest.mark.parametrize(
    ("rows", "cols", "dim"),
    [
        (3, 16, 64),
        (28, 28, 16),
        (32, 32, 16),
        (7, 7, 32),
        (17, 16, 24),
        (3, 33, 16),
        (33, 3, 16),
        (1, 1, 16),
        (2, 70, 16),
    ],
)
def test_equals_the_reference(rows: int, cols: int, dim: int) -> None:
    assert error(rows, cols, dim=dim) < LIMITS[torch.float32]


@pytest.mark.parametrize(("rows", "cols"), [(16, 16), (9, 21)])
def test_half_precision_and_batches(rows: int, cols: int) -> None:
    dtype = torch.float16
    assert error(rows, cols, heads=2, batch=2, dtype=dtype) < LIMITS[dtype]


@pytest.mark.parametrize(("rows", "cols"), [(16, 16), (2, 64), (17, 20)])
def test_with_the_tiles_of_a_gpu(rows: int, cols: int) -> None:
    assert error(rows, cols, dtype=torch.float16, arch=87) < LIMITS[torch.float16]


@pytest.mark.parametrize(("rows", "cols"), [(7, 16), (3, 34)])
def test_with_the_float32_tiles_of_a_gpu(rows: int, cols: int) -> None:
    assert error(rows, cols, arch=87) < LIMITS[torch.float32]


@pytest.mark.parametrize("wrong", ["no height", "no width", "swapped", "mirrored", "base e"])
def test_the_limits_tell_wrong_biases_apart(wrong: str) -> None:
    qkv, rel_h, rel_w = (x.half() for x in problem(9, 9, 2, 16, 1))
    result = interpreted(found, qkv, rel_h, rel_w, 2)
    assert distance(result, right(qkv, rel_h, rel_w, 2)) < LIMITS[torch.float16]
    mistaken = {
        "no height": (rel_h * 0, rel_w),
        "no width": (rel_h, rel_w * 0),
        "swapped": (rel_w, rel_h),
        "mirrored": (rel_h, rel_w.flip(0, 2)),
        "base e": (rel_h * 1.4427, rel_w * 1.4427),  # the bias without its log2(e), turned round
    }
    assert distance(result, right(qkv, *mistaken[wrong], 2)) > 10 * LIMITS[torch.float16]


def share_of_the_bias(grid: int, dtype: str, arch: int) -> float:
    """Of the tensor cores' work, in parts of that of QK and PV."""
    from samedge.kernels.attention.global_attention import tensor_core_work, tile_of_grid

    bias, rest = tensor_core_work(grid, grid, 64, tile_of_grid(grid, dtype, arch))
    return bias / rest


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("arch", [80, 86, 87, 89, 90, 110, 120])
def test_the_bias_takes_little_of_the_tensor_cores(arch: int, dtype: str) -> None:
    """Products with one-hot matrices, for every tile of keys, would take 0.56 on a grid of 32."""
    for grid in (16, 28, 32, 64):
        assert interpreted(share_of_the_bias, grid, dtype, arch) <= 0.1


def refused(qkv: tuple[int, ...], rel_h: tuple[int, int], rel_w: tuple[int, int]) -> str:
    from samedge.kernels.attention.global_attention import global_attention

    run = Guarded()
    given = (run.given(torch.zeros(shape)) for shape in (qkv, rel_h, rel_w))
    with pytest.raises(DeviceError) as caught:
        global_attention(run, *given, 2, 4, 3)
    return str(caught.value)


@pytest.mark.parametrize(
    ("qkv", "rel_h", "rel_w", "message"),
    [
        ((1, 11, 96), (7, 16), (5, 16), "qkv came as [1, 11, 96], expected [*, 12, *]"),
        ((1, 12, 92), (7, 16), (5, 16), "92 columns, which 3 x 2 heads do not divide"),
        ((1, 12, 96), (7, 16), (6, 16), "rel_w has 6 rows, expected 2 S - 1"),
        ((1, 12, 96), (5, 16), (7, 16), "tables of a grid of 3 x 4 tokens came, expected 4 x 3"),
    ],
)
def test_what_does_not_fit_is_refused(
    qkv: tuple[int, ...], rel_h: tuple[int, int], rel_w: tuple[int, int], message: str
) -> None:
    assert message in interpreted(refused, qkv, rel_h, rel_w)
