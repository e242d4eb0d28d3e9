"""Attention along the batch axis against float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch

from samedge.errors import DeviceError
from samedge.fold.attention import relative_table
from samedge.kernels import reference
from samedge.models.config import depth_grid
from tests.kernels.interpreted import Guarded, interpreted

LIMITS = {torch.float32: 1e-5, torch.float16: 4e-3}


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem(
    batch: int, grid: int, depth: int, heads: int, dim: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """qkv as its product leaves it, with queries of a usual size, and both tables."""
    qkv = normal(0, batch, grid * grid, 3 * heads * dim)
    qkv[..., : heads * dim] /= dim**0.5
    rows, cols = depth_grid(depth)
    rel_h = relative_table(normal(1, 2 * rows - 1, dim), rows)
    return qkv, rel_h, relative_table(normal(2, 2 * cols - 1, dim), cols)


def found(
    qkv: torch.Tensor,
    rel_h: torch.Tensor,
    rel_w: torch.Tensor,
    heads: int,
    grid: int,
    window: int,
    arch: int = 0,
) -> torch.Tensor:
    """The kernel's answer; `arch` chooses the tile."""
    from samedge.kernels.attention.depth_attention import depth_attention
    from samedge.kernels.attention.relative_positions import tables

    run = Guarded()
    run.arch = arch
    given = (run.given(x) for x in (qkv, tables(rel_h), tables(rel_w)))
    depth = len(rel_h) * len(rel_w)
    return run.result(depth_attention(run, *given, heads, grid, window, depth))


def right(
    qkv: torch.Tensor,
    rel_h: torch.Tensor,
    rel_w: torch.Tensor,
    heads: int,
    grid: int,
    window: int,
    depth: int = 0,
) -> torch.Tensor:
    x = (a.double() for a in (qkv, rel_h, rel_w))
    depth = depth or len(rel_h) * len(rel_w)
    return reference.depth_attention(*x, heads, grid, window, depth)


def distance(result: torch.Tensor, expected: torch.Tensor) -> float:
    assert result.shape == expected.shape
    difference = (result.double() - expected).abs().max()
    return float(difference) if difference.isfinite() else float("inf")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("batch", "grid", "window", "depth", "dim"),
    [
        (6, 5, 5, 3, 24),
        (3, 5, 3, 6, 16),  # four windows of each image, three of which stick out
        (4, 2, 14, 4, 5),
    ],
)
def test_equals_the_reference(
    batch: int, grid: int, window: int, depth: int, dim: int, dtype: torch.dtype
) -> None:
    x = [a.to(dtype) for a in problem(batch, grid, depth, 2, dim)]
    result = interpreted(found, *x, 2, grid, window)
    assert distance(result, right(*x, 2, grid, window)) < LIMITS[dtype]


def test_with_the_tile_of_a_gpu() -> None:
    x = problem(2, 6, 2, 1, 16)
    result = interpreted(found, *x, 1, 6, 6, arch=87)
    assert distance(result, right(*x, 1, 6, 6)) < LIMITS[torch.float32]


@pytest.mark.parametrize("wrong", ["no height", "no width", "mirrored", "order"])
def test_the_limits_tell_mistakes_apart(wrong: str) -> None:
    qkv, rel_h, rel_w = (x.half() for x in problem(6, 3, 6, 1, 16))
    result = interpreted(found, qkv, rel_h, rel_w, 1, 3, 3)
    assert distance(result, right(qkv, rel_h, rel_w, 1, 3, 3)) < LIMITS[torch.float16]
    mistaken = {
        "no height": (qkv, rel_h * 0, rel_w),
        "no width": (qkv, rel_h, rel_w * 0),
        "mirrored": (qkv, rel_h.flip(0, 2), rel_w),
        "order": (qkv.roll(1, 0), rel_h, rel_w),
    }
    mistake = right(*mistaken[wrong], 1, 3, 3)
    assert distance(result, mistake) > 10 * LIMITS[torch.float16]


def test_padding_is_attended() -> None:
    """The last place of a window is a token in the first window only: the other three are zero."""
    qkv, rel_h, rel_w = problem(1, 7, 4, 1, 16)
    result = interpreted(found, qkv, rel_h, rel_w, 1, 7, 4).unflatten(1, (7, 7))[0, 3, 3]
    expected = right(qkv, rel_h, rel_w, 1, 7, 4).unflatten(1, (7, 7))[0, 3, 3]
    assert distance(result, expected) < LIMITS[torch.float32]
    alone = qkv.unflatten(1, (7, 7))[0, 3, 3].double().chunk(3)[2]  # its value, if zeros were out
    assert distance(result, alone) > 0.1


def refused(batch: int, depth: int, rel_h: tuple[int, int], rel_w: tuple[int, int]) -> str:
    from samedge.kernels.attention.depth_attention import depth_attention

    run = Guarded()
    given = (run.given(torch.zeros(shape)) for shape in ((batch, 9, 96), rel_h, rel_w))
    with pytest.raises(DeviceError) as caught:
        depth_attention(run, *given, 2, 3, 3, depth)
    return str(caught.value)


@pytest.mark.parametrize(
    ("batch", "depth", "rel_h", "rel_w", "message"),
    [
        (6, 4, (3, 16), (5, 16), "tables of a grid of 2 x 3 came, expected 4 places"),
        (4, 6, (3, 16), (5, 16), "4 windows came, expected a multiple of 6"),
        (6, 6, (4, 16), (5, 16), "rel_h has 4 rows"),
    ],
)
def test_what_does_not_fit_is_refused(
    batch: int, depth: int, rel_h: tuple[int, int], rel_w: tuple[int, int], message: str
) -> None:
    assert message in interpreted(refused, batch, depth, rel_h, rel_w)
