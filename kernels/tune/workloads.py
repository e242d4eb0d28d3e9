"""What encoders and decoders of official size ask of each kernel: launches to compile, and to time.

Sizes are those of SAM ViT-B at 1024 px (a grid of 64), of SAMUS and MSA at 256 px (32 and 16), and
of the decoder that they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from samedge.kernels.launch import Array, Launch, contiguous_strides
from samedge.kernels.problems import Case, Draw, Problem, attention, images, linear
from samedge.kernels.torch_runner import DTYPES, NAMES
from samedge.runtime.triton.sizes import Size

CASES = {case.name: case for case in (*attention.CASES, *linear.CASES, *images.CASES)}


@dataclass(frozen=True)
class Workload:
    """One call of a launcher.

    Attributes:
        kernel: name of its tile in the table, "linear.large".
        case: what is computed.
        sizes: those that are not the true ones of the case.
    """

    kernel: str
    case: Case
    sizes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For people: the case, and sizes that are special."""
        special = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
        return f"{self.case.name} ({special})" if special else self.case.name

    def problem(self, draw: Draw) -> Problem:
        """With its inputs."""
        return self.case.make(draw, **{**self.case.true, **self.sizes})


@dataclass
class Outline(Draw):
    """Inputs without numbers or memory."""

    device: str = "meta"

    def full(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Of float32."""
        return torch.empty(shape, device=self.device)

    def integers(self, low: int, high: int, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Of `dtype`."""
        return torch.empty(shape, dtype=dtype, device=self.device)


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

    def given(self, tensor: torch.Tensor, name: str = "") -> Array:
        """A tensor as a launcher takes it; its numbers do not matter."""
        dtype = NAMES[tensor.dtype]
        return Array(tensor, dtype, tuple(tensor.shape), tuple(tensor.stride()), 0, name)

    def empty(self, shape: Sequence[Size], dtype: str, name: str = "") -> Array:
        """An array of no memory."""
        nothing = torch.empty(0, dtype=DTYPES[dtype])
        return Array(nothing, dtype, tuple(shape), contiguous_strides(shape), 0, name)

    def launch(self, launch: Launch) -> None:
        """Keep it."""
        self.launches.append(launch)


def recorded(workload: Workload, dtype: str, arch: int) -> list[Launch]:
    """The launches of a workload."""
    run, problem = Recorder(arch), workload.problem(Outline(dtype))
    problem.solve(run, {name: run.given(x, name) for name, x in problem.given.items()})
    return run.launches


def _workload(kernel: str, case: str, **sizes: Any) -> Workload:
    return Workload(kernel, CASES[case], sizes)


WORKLOADS = (
    _workload("row_statistics", "row_statistics"),
    _workload("layer_norm", "layer_norm"),
    _workload("linear.large", "linear.norm"),
    _workload("linear.large", "linear.gelu"),
    _workload("linear.large", "linear.residual"),
    _workload("linear", "linear.residual", rows=1024, width=768),
    _workload("linear", "linear.residual", rows=256, width=3072),
    _workload("linear", "linear.gelu", rows=256, width=768, columns=3072),
    _workload("linear.few", "linear.few"),
    _workload("window_attention", "window_attention"),
    _workload("window_attention", "window_attention", grid=32),
    _workload("global_attention", "global_attention"),
    _workload("global_attention.narrow", "global_attention", rows=32, cols=32),
    _workload("global_attention.narrow", "global_attention", rows=16, cols=16),
    _workload("depth_attention", "depth_attention"),
    _workload("attention", "attention"),
    _workload("attention", "attention.one_more"),
    _workload("attention.few_queries", "attention.few_queries"),
    _workload("attention.few_keys", "attention.few_keys"),
    _workload("conv3x3", "conv3x3"),
    _workload("conv3x3", "conv3x3", side=64, channels=256, columns=256),
    _workload("conv3x3.narrow", "conv3x3.first"),
    _workload("patch_embed", "patch_embed"),
    _workload("patch_embed", "patch_embed.adapter"),
    _workload("rms_norm", "rms_norm.pool"),
    _workload("rms_norm.planes", "rms_norm.planes"),
    _workload("resize", "resize"),
)
