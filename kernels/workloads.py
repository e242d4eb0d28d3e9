"""What encoders and decoders of official size ask of each kernel: launches to compile, and to tune.

Sizes are those of SAM ViT-B at 1024 px (a grid of 64), of SAMUS and MSA at 256 px (32 and 16), and
of the decoder that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F

from samedge.kernels import reference
from samedge.kernels.attention import attention
from samedge.kernels.conv3x3 import conv3x3
from samedge.kernels.launch import Array, Launch, Runner, contiguous_strides
from samedge.kernels.linear import linear
from samedge.kernels.linear_parts import RowNorm
from samedge.kernels.patch_embed import patch_embed
from samedge.kernels.rms_norm import rms_norm
from samedge.kernels.row_statistics import row_statistics
from samedge.kernels.window_attention import window_attention
from samedge.runtime.triton.sizes import Size

EPS = 1e-6
DIM, HEADS = 768, 12  # ViT-B
PROMPT = 256  # channels of the decoder

Arrays: TypeAlias = Mapping[str, Array]
Tensors: TypeAlias = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Input:
    """An array that a kernel reads.

    Attributes:
        shape: its sizes.
        dtype: of its elements; "": that of the workload.
        scale: deviation of the random numbers that it is filled with.
    """

    shape: tuple[int, ...]
    dtype: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class Workload:
    """One call of a launcher.

    Attributes:
        name: what it is in the networks.
        kernel: name of its tile in the table, "linear.large".
        inputs: by name.
        call: the launcher: runner, arrays, element type of products -> its (first) output.
        expected: what it computes, from the inputs as float64 (of `inputs`' values, rounded).
    """

    name: str
    kernel: str
    inputs: Mapping[str, Input]
    call: Callable[[Runner, Arrays, str], Array]
    expected: Callable[[Tensors], torch.Tensor]


class Recorder:
    """A `Runner` that keeps launches and carries nothing out.

    Args:
        arch: compute capability that tiles are chosen for.

    Attributes:
        launches: in order.
    """

    def __init__(self, arch: int) -> None:
        self.arch = arch
        self.launches: list[Launch] = []

    def empty(self, shape: Sequence[Size], dtype: str, name: str = "") -> Array:
        """An array of no memory."""
        return Array(None, dtype, tuple(shape), contiguous_strides(shape), 0, name)

    def launch(self, launch: Launch) -> None:
        """Keep it."""
        self.launches.append(launch)


def recorded(workload: Workload, dtype: str, arch: int) -> list[Launch]:
    """The launches of a workload."""
    run = Recorder(arch)
    arrays = {
        name: run.empty(given.shape, given.dtype or dtype, name)
        for name, given in workload.inputs.items()
    }
    workload.call(run, arrays, dtype)
    return run.launches


def _weight(inner: int, columns: int) -> Input:
    return Input((inner, columns), "", inner**-0.5)


def _linear(
    name: str,
    kernel: str,
    rows: int,
    inner: int,
    columns: int,
    *,
    norm: bool = False,
    gelu: bool = False,
    residual: bool = False,
) -> Workload:
    """x @ weight + bias; the stream of tokens (normalised, added) is fp32, all else a half."""
    inputs = {
        "x": Input((rows, inner), "fp32" if norm else ""),
        "weight": _weight(inner, columns),
        "bias": Input((columns,), "fp32"),
    }
    if residual:
        inputs["residual"] = Input((rows, columns), "fp32")

    def call(run: Runner, a: Arrays, dtype: str) -> Array:
        out = linear(
            run,
            a["x"],
            a["weight"],
            a["bias"],
            norm=RowNorm(row_statistics(run, a["x"], EPS)) if norm else None,
            activation="gelu" if gelu else "",
            residual=a.get("residual"),
            dtype="fp32" if residual else dtype,
            few=kernel == "linear.few",
        )
        assert isinstance(out, Array)
        return out

    def expected(t: Tensors) -> torch.Tensor:
        x = F.layer_norm(t["x"], (inner,), eps=EPS) if norm else t["x"]
        y = reference.linear(x, t["weight"], t["bias"])
        y = F.gelu(y) if gelu else y
        return y + t["residual"] if residual else y

    return Workload(name, kernel, inputs, call, expected)


def _dense(compact: torch.Tensor) -> torch.Tensor:
    """A table [2 S - 1, d] of `relative_positions.tables` as [S, d, S]."""
    side = (len(compact) + 1) // 2
    place = torch.arange(side, device=compact.device)
    return compact[place[:, None] - place + side - 1].transpose(1, 2)


def _windows(grid: int, window: int) -> Workload:
    table = Input((2 * window - 1, DIM // HEADS), "", 0.1)
    return Workload(
        f"window attention, grid {grid}",
        "window_attention",
        {"qkv": Input((1, grid * grid, 3 * DIM)), "rel_h": table, "rel_w": table},
        lambda run, a, _: window_attention(run, a["qkv"], a["rel_h"], a["rel_w"], HEADS, grid),
        lambda t: reference.window_attention(
            t["qkv"], _dense(t["rel_h"]), _dense(t["rel_w"]), HEADS, grid
        ),
    )


def _attention(
    name: str, case: str, queries: int, keys: int, heads: int, dim: int, one_more: bool = False
) -> Workload:
    of_queries, of_keys = (Input((1, n, heads * dim), "", dim**-0.25) for n in (queries, keys))
    right = reference.one_more_attention if one_more else reference.attention
    return Workload(
        name,
        "attention" + case,
        {"q": of_queries, "k": of_keys, "v": of_keys},
        lambda run, a, _: attention(
            run,
            a["q"],
            a["k"],
            a["v"],
            heads,
            one_more,
            few_queries=case == ".few_queries",
            few_keys=case == ".few_keys",
        ),
        lambda t: right(t["q"], t["k"], t["v"], heads),
    )


def _convolution(name: str, kernel: str, side: int, inputs: int, outputs: int) -> Workload:
    return Workload(
        name,
        kernel,
        {
            "x": Input((1, side, side, inputs)),
            "weight": Input((3, 3, inputs, outputs), "", (9 * inputs) ** -0.5),
        },
        lambda run, a, dtype: conv3x3(run, a["x"], a["weight"], dtype=dtype),
        lambda t: reference.conv3x3(t["x"], t["weight"].permute(3, 2, 0, 1)),
    )


def _patches(name: str, side: int, channels: int, size: int, stride: int) -> Workload:
    grid = (side - size) // stride + 1

    def call(run: Runner, a: Arrays, _: str) -> Array:
        tokens = patch_embed(run, a["pixels"], a["weight"], stride, size, a["pos"])
        assert isinstance(tokens, Array)
        return tokens

    def expected(t: Tensors) -> torch.Tensor:
        kernel = t["weight"].t().reshape(DIM, channels, size, size)
        y = F.conv2d(t["pixels"], kernel, stride=stride)
        return y.flatten(2).transpose(1, 2) + t["pos"]

    inputs = {
        "pixels": Input((1, channels, side, side)),
        "weight": _weight(channels * size * size, DIM),
        "pos": Input((grid * grid, DIM), "fp32"),
    }
    return Workload(name, "patch_embed", inputs, call, expected)


def _statistics(rows: int) -> Workload:
    def expected(t: Tensors) -> torch.Tensor:
        variance, mean = torch.var_mean(t["x"], 1, correction=0)
        return torch.stack([mean, (variance + EPS).rsqrt()], 1)

    return Workload(
        "row statistics",
        "row_statistics",
        {"x": Input((rows, DIM), "fp32")},
        lambda run, a, _: row_statistics(run, a["x"], EPS),
        expected,
    )


def _norm(name: str, side: int, channels: int, planes: bool) -> Workload:
    def expected(t: Tensors) -> torch.Tensor:
        y = F.gelu(reference.rms_norm(t["x"], t["weight"], t["bias"], EPS))
        return y.permute(0, 3, 1, 2) if planes else y

    row = Input((channels,), "fp32")
    return Workload(
        name,
        "rms_norm.planes" if planes else "rms_norm",
        {"x": Input((1, side, side, channels)), "weight": row, "bias": row},
        lambda run, a, dtype: rms_norm(
            run,
            a["x"],
            a["weight"],
            a["bias"],
            EPS,
            activation="gelu",
            planes=planes,
            dtype="fp32" if planes else dtype,
        ),
        expected,
    )


WORKLOADS: tuple[Workload, ...] = (
    _statistics(4096),
    _linear("qkv, grid 64", "linear.large", 4096, DIM, 3 * DIM, norm=True),
    _linear("fc1, grid 64", "linear.large", 4096, DIM, 4 * DIM, norm=True, gelu=True),
    _linear("fc2 and adapter, grid 64", "linear.large", 4096, 4 * DIM + 192, DIM, residual=True),
    _linear("projection, grid 32", "linear", 1024, DIM, DIM, residual=True),
    _linear("fc2, grid 16", "linear", 256, 4 * DIM, DIM, residual=True),
    _linear("keys of the decoder", "linear", 4096, PROMPT, PROMPT // 2),
    _linear("tokens of the decoder", "linear.few", 7, PROMPT, 2048),
    _windows(64, 14),
    _windows(32, 14),
    _attention("cross-branch", "", 1024, 1024, HEADS, 64),
    _attention("one more, many to many", "", 1024, 1024, 8, 32, one_more=True),
    _attention("tokens to image", ".few_queries", 7, 4096, 8, 16),
    _attention("image to tokens", ".few_keys", 4096, 7, 8, 16),
    _convolution("convolution of the neck", "conv3x3", 64, PROMPT, PROMPT),
    _convolution("convolution of a frame", "conv3x3.narrow", 256, 3, 64),
    _patches("patches of 1024 px", 1024, 3, 16, 16),
    _patches("patches that overlap", 264, 1, 16, 8),
    _norm("norm of the CNN branch", 128, 128, planes=False),
    _norm("norm of the neck", 64, PROMPT, planes=True),
)
