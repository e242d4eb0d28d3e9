"""Problems of kernels that work on images: convolutions, their norms, patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from samedge.geometry.filters import bilinear_matrix
from samedge.kernels import reference
from samedge.kernels.launch import Array, Runner
from samedge.kernels.layers.conv3x3 import conv3x3
from samedge.kernels.layers.patch_embed import patch_embed
from samedge.kernels.layers.resize import resize, taps
from samedge.kernels.layers.rms_norm import rms_norm
from samedge.kernels.problems.problem import Arrays, Case, Draw, Problem, Tensors

EPS = 1e-6


def convolved(draw: Draw, batch: int, side: int, channels: int, columns: int) -> Problem:
    """A 3x3 convolution."""
    given = {
        "x": draw.half(batch, side, side + 1, channels),
        "weight": draw.weight(3, 3, channels, columns),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        return (conv3x3(run, x["x"], x["weight"], dtype=x["x"].dtype),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        return (reference.conv3x3(x["x"], x["weight"].permute(3, 2, 0, 1)),)

    return Problem(given, solve, right)


def normalised(
    draw: Draw, batch: int, side: int, channels: int, pool: bool = False, planes: bool = False
) -> Problem:
    """RMS norm and GELU, with pooling, or written as planes."""
    given = {
        "x": draw.half(batch, side, side, channels),
        "weight": draw.full(channels),
        "bias": draw.full(channels),
    }

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        parts, dtype = (x["x"], x["weight"], x["bias"], EPS), x["x"].dtype
        y = rms_norm(run, *parts, activation="gelu", pool=pool, planes=planes, dtype=dtype)
        return (y,)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        y = F.gelu(reference.rms_norm(x["x"], x["weight"], x["bias"], EPS))
        y = y.permute(0, 3, 1, 2)
        if pool:
            y = F.max_pool2d(y, 2)
        return (y if planes else y.permute(0, 2, 3, 1),)

    return Problem(given, solve, right)


def patches(
    draw: Draw, batch: int, side: int, channels: int, size: int, stride: int, columns: int,
    adapter: int = 0,
) -> Problem:  # fmt: skip
    """Patches to tokens."""
    grid = (side - size) // stride + 1
    given = {
        "pixels": draw.half(batch, channels, side, side),
        "weight": draw.weight(channels * size * size, columns + adapter),
        "pos": draw.full(grid * grid, columns),
    }
    if adapter:
        given["adapter_bias"] = draw.full(adapter)

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        bias = x.get("adapter_bias")
        parts = x["pixels"], x["weight"], stride, size, x["pos"]
        result = patch_embed(run, *parts, adapter_bias=bias)
        return result if isinstance(result, tuple) else (result,)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        y = F.unfold(x["pixels"], size, stride=stride).transpose(1, 2) @ x["weight"]
        tokens = y[..., :columns] + x["pos"]
        return (tokens, F.gelu(y[..., columns:] + x["adapter_bias"])) if adapter else (tokens,)

    return Problem(given, solve, right)


def enlarged(draw: Draw, batch: int, channels: int, side: int, resized: int) -> Problem:
    """The constant enlargement in front of SAMUS's patch embedding."""
    matrix = torch.from_numpy(bilinear_matrix(resized, side)).float()
    first, weights = (part.to(draw.device) for part in taps(matrix))
    given = {"pixels": draw.half(batch, channels, side, side), "first": first, "weights": weights}

    def solve(run: Runner, x: Arrays) -> tuple[Array, ...]:
        return (resize(run, x["pixels"], x["first"], x["weights"]),)

    def right(x: Tensors) -> tuple[torch.Tensor, ...]:
        m, rows = x["pixels"].new_zeros(resized, side), torch.arange(resized, device=draw.device)
        for neighbour in range(2):
            place = (x["first"] + neighbour).clamp(max=side - 1).long()
            m[rows, place] += x["weights"][:, neighbour]
        return (m @ x["pixels"] @ m.t(),)

    return Problem(given, solve, right)


CASES = (
    Case(
        "conv3x3", convolved,
        {"batch": 2, "side": 7, "channels": 20, "columns": 40},
        {"batch": 1, "side": 32, "channels": 768, "columns": 768},
    ),
    Case(
        "conv3x3.first", convolved,
        {"batch": 1, "side": 9, "channels": 1, "columns": 40},
        {"batch": 1, "side": 256, "channels": 1, "columns": 96},
    ),
    Case(
        "rms_norm.pool", normalised,
        {"batch": 2, "side": 7, "channels": 20, "pool": True},
        {"batch": 1, "side": 256, "channels": 96, "pool": True},
    ),
    Case(
        "rms_norm.planes", normalised,
        {"batch": 2, "side": 7, "channels": 20, "planes": True},
        {"batch": 1, "side": 64, "channels": 256, "planes": True},
    ),
    Case(
        "patch_embed", patches,
        {"batch": 2, "side": 32, "channels": 3, "size": 8, "stride": 8, "columns": 40},
        {"batch": 1, "side": 1024, "channels": 3, "size": 16, "stride": 16, "columns": 768},
    ),
    Case(
        "patch_embed.adapter", patches,
        {"batch": 1, "side": 40, "channels": 1, "size": 16, "stride": 8, "columns": 40,
         "adapter": 12},
        {"batch": 1, "side": 264, "channels": 1, "size": 16, "stride": 8, "columns": 768,
         "adapter": 192},
    ),
    Case(
        "resize", enlarged,
        {"batch": 2, "channels": 3, "side": 21, "resized": 24},
        {"batch": 1, "channels": 1, "side": 256, "resized": 264},
    ),
)  # fmt: skip
