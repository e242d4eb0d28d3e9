"""Cases of attention with relative positions, with the type and the tiles of a GPU."""

from __future__ import annotations

import torch

from samedge.kernels import reference
from tests.kernels.interpreted import Guarded

Pair = tuple[torch.Tensor, torch.Tensor]


def windows(dtype: str, grid: int, window: int, heads: int, dim: int, batch: int = 1) -> Pair:
    """The window kernel's answer, and the right one."""
    from samedge.kernels.attention.relative_positions import tables
    from samedge.kernels.attention.window_attention import window_attention
    from samedge.kernels.torch_runner import DTYPES
    from tests.kernels.attention.test_window_attention import problem

    qkv, rel_h, rel_w = (x.to(DTYPES[dtype]) for x in problem(grid, window, heads, dim, batch))
    run = Guarded()
    given = (run.given(x) for x in (qkv, tables(rel_h), tables(rel_w)))
    out = run.result(window_attention(run, *given, heads, grid))
    exact = qkv.double(), rel_h.double(), rel_w.double()
    return out, reference.window_attention(*exact, heads, grid)


def everywhere(dtype: str, rows: int, cols: int, heads: int, dim: int, batch: int = 1) -> Pair:
    """The global kernel's answer, and the right one."""
    from samedge.kernels.attention.global_attention import global_attention
    from samedge.kernels.attention.relative_positions import tables
    from samedge.kernels.torch_runner import DTYPES
    from tests.kernels.attention.test_global_attention import problem, right

    qkv, rel_h, rel_w = (x.to(DTYPES[dtype]) for x in problem(rows, cols, heads, dim, batch))
    run = Guarded()
    given = (run.given(x) for x in (qkv, tables(rel_h), tables(rel_w)))
    out = run.result(global_attention(run, *given, heads, rows, cols))
    return out, right(qkv, rel_h, rel_w, heads)


def slices(dtype: str, batch: int, grid: int, window: int, depth: int, heads: int) -> Pair:
    """The answer of the kernel for volumes, and the right one."""
    from samedge.kernels.attention.depth_attention import depth_attention
    from samedge.kernels.attention.relative_positions import tables
    from samedge.kernels.torch_runner import DTYPES
    from tests.kernels.attention.test_depth_attention import problem, right

    qkv, rel_h, rel_w = (x.to(DTYPES[dtype]) for x in problem(batch, grid, depth, heads, 16))
    run = Guarded()
    given = (run.given(x) for x in (qkv, tables(rel_h), tables(rel_w)))
    out = run.result(depth_attention(run, *given, heads, grid, window, depth))
    return out, right(qkv, rel_h, rel_w, heads, grid, window)
