"""Problems of the attention kernels."""

from __future__ import annotations

import torch

from samedge.kernels import reference
from samedge.kernels.attention.depth_attention import depth_attention
from samedge.kernels.attention.global_attention import global_attention
from samedge.kernels.attention.plain import attention
from samedge.kernels.attention.window_attention import window_attention
from samedge.kernels.launch import Array, Runner
from samedge.kernels.problems.problem import Arrays, Case, Draw, Problem, Tensors

SCALE = 0.35  # of queries and tables: scores that make a softmax neither flat nor a maximum


def dense(compact: torch.Tensor) -> torch.Tensor:
    """[2 S - 1, d] -> the folded model's [S, d, S]: entry [i, :, j] is row i - j + S - 1."""
    size = (len(compact) + 1) // 2
    index = torch.arange(size)[:, None] - torch.arange(size)[None] + size - 1
    return compact[index.to(compact.device)].transpose(1, 2)


def _qkv(draw: Draw, batch: int, tokens: int, heads: int, dim: int) -> torch.Tensor:
    qkv = draw.full(batch, tokens, 3, heads, dim)
    qkv[:, :, 0] *= SCALE
    return qkv.reshape(batch, tokens, -1).to(draw.half(1).dtype)


def windowed(draw: Draw, batch: int, heads: int, dim: int, grid: int, window: int) -> Problem:
    """Attention in windows."""
    given = {
        "qkv": _qkv(draw, batch, grid * grid, heads, dim),
        "rel_h": draw.half(2 * window - 1, dim, scale=SCALE),
        "rel_w": draw.half(2 * window - 1, dim, scale=SCALE),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        return (window_attention(run, x["qkv"], x["rel_h"], x["rel_w"], heads, grid),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        tables = dense(x["rel_h"]), dense(x["rel_w"])
        return (reference.window_attention(x["qkv"], *tables, heads, grid),)

    return Problem(given, solve, right)


def whole(draw: Draw, batch: int, heads: int, dim: int, rows: int, cols: int) -> Problem:
    """Attention over a whole grid."""
    given = {
        "qkv": _qkv(draw, batch, rows * cols, heads, dim),
        "rel_h": draw.half(2 * rows - 1, dim, scale=SCALE),
        "rel_w": draw.half(2 * cols - 1, dim, scale=SCALE),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        return (global_attention(run, x["qkv"], x["rel_h"], x["rel_w"], heads, rows, cols),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        q, k, v = x["qkv"].chunk(3, -1)
        tables = dense(x["rel_h"]), dense(x["rel_w"])
        return (reference.relative_attention(q, k, v, *tables, heads),)

    return Problem(given, solve, right)


def plain(
    draw: Draw, batch: int, heads: int, dim: int, queries: int, keys: int, one_more: bool = False,
    few_queries: bool = False, few_keys: bool = False,
) -> Problem:  # fmt: skip
    """Attention without positions."""
    given = {
        "q": draw.half(batch, queries, heads * dim, scale=SCALE),
        "k": draw.half(batch, keys, heads * dim),
        "v": draw.half(batch, keys, heads * dim),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        options = {"few_queries": few_queries, "few_keys": few_keys}
        return (attention(run, x["q"], x["k"], x["v"], heads, one_more, **options),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        answer = reference.one_more_attention if one_more else reference.attention
        return (answer(x["q"], x["k"], x["v"], heads),)

    return Problem(given, solve, right)


def along(
    draw: Draw, images: int, heads: int, dim: int, grid: int, window: int, side: tuple[int, int]
) -> Problem:
    """Attention along the batch axis, groups of `side` images laid out as a small grid."""
    depth = side[0] * side[1]
    given = {
        "qkv": _qkv(draw, images, grid * grid, heads, dim),
        "rel_h": draw.half(2 * side[0] - 1, dim, scale=SCALE),
        "rel_w": draw.half(2 * side[1] - 1, dim, scale=SCALE),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        tables = x["rel_h"], x["rel_w"]
        return (depth_attention(run, x["qkv"], *tables, heads, grid, window, depth),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        tables = dense(x["rel_h"]), dense(x["rel_w"])
        return (reference.depth_attention(x["qkv"], *tables, heads, grid, window, depth),)

    return Problem(given, solve, right)


CASES = (
    Case(
        "window_attention", windowed,
        {"batch": 2, "heads": 2, "dim": 16, "grid": 9, "window": 7},
        {"batch": 1, "heads": 12, "dim": 64, "grid": 64, "window": 14},
    ),
    Case(
        "global_attention", whole,
        {"batch": 2, "heads": 1, "dim": 16, "rows": 5, "cols": 19},
        {"batch": 1, "heads": 12, "dim": 64, "rows": 64, "cols": 64},
    ),
    Case(
        "depth_attention", along,
        {"images": 4, "heads": 2, "dim": 16, "grid": 9, "window": 7, "side": (2, 2)},
        {"images": 4, "heads": 12, "dim": 64, "grid": 16, "window": 14, "side": (2, 2)},
    ),
    Case(
        "attention", plain,
        {"batch": 2, "heads": 2, "dim": 16, "queries": 33, "keys": 70},
        {"batch": 1, "heads": 12, "dim": 64, "queries": 1024, "keys": 1024},
    ),
    Case(
        "attention.one_more", plain,
        {"batch": 1, "heads": 2, "dim": 16, "queries": 33, "keys": 70, "one_more": True},
        {"batch": 1, "heads": 8, "dim": 64, "queries": 1024, "keys": 11, "one_more": True},
    ),
    Case(
        "attention.few_queries", plain,
        {"batch": 2, "heads": 2, "dim": 16, "queries": 7, "keys": 300, "few_queries": True},
        {"batch": 1, "heads": 8, "dim": 16, "queries": 7, "keys": 4096, "few_queries": True},
    ),
    Case(
        "attention.few_keys", plain,
        {"batch": 2, "heads": 2, "dim": 16, "queries": 130, "keys": 7, "few_keys": True},
        {"batch": 1, "heads": 8, "dim": 16, "queries": 4096, "keys": 7, "few_keys": True},
    ),
)  # fmt: skip
