"""What a problem is, and how its solution is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from samedge.kernels.launch import Array, Runner
from samedge.kernels.torch_runner import DTYPES

Tensors = Mapping[str, torch.Tensor]
Arrays = Mapping[str, Array]
# Largest error of a solution, as a share of the right answer's largest value (`error`).
LIMITS = {"fp32": 1e-5, "fp16": 4e-3, "bf16": 3e-2}


@dataclass(frozen=True)
class Problem:
    """Inputs, the launcher that is to be tried, and the right answer.

    Attributes:
        given: inputs by name.
        solve: calls the launcher with the inputs as arrays; gives its outputs.
        right: the same outputs from the inputs as float64 tensors (integers stay as they are).
    """

    given: Tensors
    solve: Callable[[Runner, Arrays], tuple[Array, ...]]
    right: Callable[[Tensors], tuple[torch.Tensor, ...]]

    def answer(self) -> tuple[torch.Tensor, ...]:
        """The right answer, in float64."""
        return self.right(
            {k: x.double() if x.is_floating_point() else x for k, x in self.given.items()}
        )


@dataclass
class Draw:
    """Random inputs.

    Attributes:
        dtype: element type that is tried: "fp32", "fp16" or "bf16".
        device: torch's name of where they are to be.
    """

    dtype: str
    device: str = "cpu"
    _generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(1))

    def full(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Normal float32 numbers."""
        return (torch.randn(*shape, generator=self._generator) * scale).to(self.device)

    def half(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Normal numbers of the type that is tried."""
        return self.full(*shape, scale=scale).to(DTYPES[self.dtype])

    def weight(self, *shape: int) -> torch.Tensor:
        """A matrix [K, ..., N] which keeps the size of what it multiplies."""
        return self.half(*shape, scale=torch.Size(shape[:-1]).numel() ** -0.5)

    def integers(self, low: int, high: int, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Integers from low to high - 1."""
        numbers = torch.randint(low, high, shape, generator=self._generator)
        return numbers.to(self.device, dtype)


@dataclass(frozen=True)
class Case:
    """A kind of problem.

    Attributes:
        name: of the launcher, and what is special.
        make: gives the problem of some sizes.
        small: sizes for the interpreter, odd ones among them.
        true: sizes of a real network.
        dtypes: element types that the launcher takes.
    """

    name: str
    make: Callable[..., Problem]
    small: Mapping[str, Any]
    true: Mapping[str, Any]
    dtypes: tuple[str, ...] = ("fp32", "fp16", "bf16")


def error(found: tuple[torch.Tensor, ...], right: tuple[torch.Tensor, ...]) -> float:
    """Largest distance of found from right values, as a share of the largest right one of the
    same output; infinite where a value is no number."""
    assert len(found) == len(right)
    worst = 0.0
    for got, want in zip(found, right, strict=True):
        assert got.shape == want.shape, (got.shape, want.shape)
        difference = float((got.to(want.device, torch.float64) - want).abs().max())
        scale = max(float(want.abs().max()), 1e-30)
        worst = max(worst, difference / scale if difference == difference else float("inf"))
    return worst
