"""What PyTorch offers for the problems of samedge's kernels: the others of `bench.kernels`.

Each takes the same tensors and gives the same outputs: cutting into windows, biases and changes of
layout are part of it. Operations that are nobody's business (tables made dense) happen before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from samedge._optional import importing

with importing("torch", extra="export", what="comparing kernels with PyTorch"):
    import torch
    import torch.nn.functional as F
    from torch.nn.attention.flex_attention import flex_attention

    from samedge.kernels import reference
    from samedge.kernels.problems.attention import dense
    from samedge.kernels.problems.linear import EPS
    from samedge.kernels.problems.problem import Tensors

Call = Callable[[], tuple[torch.Tensor, ...]]
Sizes = Mapping[str, Any]
Attend = Callable[..., torch.Tensor]


def contenders(name: str, given: Tensors, sizes: Sizes) -> dict[str, Call]:
    """Calls by name, for one of the `Case`s of samedge.kernels.problems.

    Args:
        name: of the case.
        given: the problem's inputs.
        sizes: that it was made with.
    """
    if name in ("window_attention", "global_attention"):
        return _relative(name == "window_attention", given, sizes)
    if name.startswith("attention"):
        return _plain(given, sizes)
    eager = _LINEAR[name]
    compiled = torch.compile(eager)
    return {
        "eager": lambda: eager(given, sizes),
        "torch.compile": lambda: compiled(given, sizes),
    }


def known() -> tuple[str, ...]:
    """Names of cases that PyTorch has something for."""
    return ("window_attention", "global_attention", "attention", *_LINEAR)


def _relative(windowed: bool, given: Tensors, sizes: Sizes) -> dict[str, Call]:
    heads, tables = sizes["heads"], (dense(given["rel_h"]), dense(given["rel_w"]))
    grid = (sizes["grid"],) * 2 if windowed else (sizes["rows"], sizes["cols"])
    window = sizes["window"] if windowed else 0

    def with_(attend: Attend) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(qkv: torch.Tensor) -> torch.Tensor:
            x = qkv.reshape(len(qkv), *grid, -1)
            cut, count = _windows(x, window) if window else (x, grid)
            n, rows, cols, _ = cut.shape
            q, k, v = cut.reshape(n, rows * cols, 3, heads, -1).permute(2, 0, 3, 1, 4)
            square = q.reshape(n, heads, rows, cols, -1)
            high = torch.einsum("nhyxd,ydj->nhyxj", square, tables[0])
            wide = torch.einsum("nhyxd,xdj->nhyxj", square, tables[1])
            biases = (b.reshape(n, heads, rows * cols, -1) for b in (high, wide))
            y = attend(q, k, v, *biases).transpose(1, 2).reshape(n, rows, cols, -1)
            y = _joined(y, window, count, grid) if window else y
            return y.reshape(len(qkv), grid[0] * grid[1], -1)

        return run

    qkv = given["qkv"]
    eager, masked = with_(_softmax), with_(_sdpa)
    return {
        "eager": lambda: (eager(qkv),),
        "SDPA, additive mask": lambda: (masked(qkv),),
        "FlexAttention": _one(torch.compile(with_(_flex)), qkv),
        "torch.compile": _one(torch.compile(eager), qkv),
    }


def _one(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Call:
    return lambda: (call(x),)


def _windows(x: torch.Tensor, side: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """[B, H, W, C] -> padded windows [N, side, side, C], and how many there are down and across."""
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    down, across = x.shape[1] // side, x.shape[2] // side
    x = x.reshape(b, down, side, across, side, c).transpose(2, 3)
    return x.reshape(-1, side, side, c), (down, across)


def _joined(
    x: torch.Tensor, side: int, count: tuple[int, int], grid: tuple[int, int]
) -> torch.Tensor:
    """The way back of `_windows`."""
    x = x.reshape(-1, *count, side, side, x.shape[-1]).transpose(2, 3)
    x = x.reshape(len(x), count[0] * side, count[1] * side, -1)
    return x[:, : grid[0], : grid[1]]


def _bias(high: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    """[n, h, T, rows] and [n, h, T, cols] -> [n, h, T, rows * cols]."""
    return (high[..., :, None] + wide[..., None, :]).flatten(-2)


def _softmax(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, high: torch.Tensor, wide: torch.Tensor
) -> torch.Tensor:
    scores = q @ k.transpose(-1, -2) + _bias(high, wide)
    return torch.softmax(scores, -1) @ v


def _sdpa(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, high: torch.Tensor, wide: torch.Tensor
) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_bias(high, wide), scale=1.0)


def _flex(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, high: torch.Tensor, wide: torch.Tensor
) -> torch.Tensor:
    cols = wide.shape[-1]

    def add(score: Any, b: Any, h: Any, query: Any, key: Any) -> Any:
        return score + high[b, h, query, key // cols] + wide[b, h, query, key % cols]

    result = flex_attention(q, k, v, score_mod=add, scale=1.0)
    assert isinstance(result, torch.Tensor)
    return result


def _plain(given: Tensors, sizes: Sizes) -> dict[str, Call]:
    heads = sizes["heads"]

    def eager(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return reference.attention(q, k, v, heads)

    def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (reference.split_heads(x, heads) for x in (q, k, v))
        return reference.merge_heads(F.scaled_dot_product_attention(q, k, v, scale=1.0))

    q, k, v = (given[name] for name in "qkv")
    compiled = torch.compile(eager)
    return {
        "eager": lambda: (eager(q, k, v),),
        "SDPA": lambda: (fused(q, k, v),),
        "torch.compile": lambda: (compiled(q, k, v),),
    }


def _norm(x: Tensors, _: Sizes) -> tuple[torch.Tensor, ...]:
    width = x["x"].shape[-1:]
    y = F.layer_norm(x["x"], width, x["norm_weight"], x["norm_bias"], EPS)
    return (_product(y.to(x["weight"].dtype), x),)


def _gelu(x: Tensors, _: Sizes) -> tuple[torch.Tensor, ...]:
    return (F.gelu(_product(x["x"], x)),)


def _residual(x: Tensors, _: Sizes) -> tuple[torch.Tensor, ...]:
    y = _product(x["x"], x) + x["residual"]
    return (y + x["table"].repeat(len(y) // len(x["table"]), 1),) if "table" in x else (y,)


def _split(x: Tensors, sizes: Sizes) -> tuple[torch.Tensor, ...]:
    y = _product(x["x"], x)
    first, second = y[:, : sizes["split"]], y[:, sizes["split"] :]
    return first + x["residual"], F.gelu(second)


def _product(y: torch.Tensor, x: Tensors) -> torch.Tensor:
    return torch.addmm(x["bias"].to(y.dtype), y, x["weight"])


_LINEAR: dict[str, Callable[[Tensors, Sizes], tuple[torch.Tensor, ...]]] = {
    "linear.norm": _norm,
    "linear.gelu": _gelu,
    "linear.residual": _residual,
    "linear.split": _split,
}
