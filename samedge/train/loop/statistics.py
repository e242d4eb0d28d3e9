"""Running statistics of BatchNorm while a network is trained."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from samedge.models.tiny_vit import BatchNorm


def trained_norms(module: nn.Module) -> list[BatchNorm]:
    """The BatchNorms inside, scale or shift of which is trained."""
    norms = (each for each in module.modules() if isinstance(each, BatchNorm))
    return [norm for norm in norms if any(p.requires_grad for p in norm.parameters())]


def keep_frozen_norms(module: nn.Module) -> None:
    """BatchNorms that are not trained work as at inference: their statistics stay as they are."""
    trained = set(trained_norms(module))
    for each in module.modules():
        if isinstance(each, BatchNorm) and each not in trained:
            each.eval()


class RunningStatistics:
    """One update per step, by the mean over all micro-batches of all processes.

    Torch alone would update once per micro-batch, one after the other, and each process by its own
    ones only. This way N processes learn what one process learns that accumulates N times as often,
    and a step of one micro-batch in one process is torch's own.

    Args:
        module: on its device; the statistics of what is trained in it.
        fabric: whose processes take part.
    """

    def __init__(self, module: nn.Module, fabric: Fabric) -> None:
        self.buffers: list[Tensor] = [
            buffer for norm in trained_norms(module) for buffer in norm.buffers()
        ]
        self._fabric = fabric
        self._before: list[Tensor] = []
        self._sum: list[Tensor] = []

    def begin(self) -> None:
        """In front of a step."""
        self._before = [buffer.clone() for buffer in self.buffers]
        self._sum = [torch.zeros_like(buffer) for buffer in self.buffers]

    def add(self) -> None:
        """After a micro-batch, forward and backward: the next one starts where this one did."""
        if self.buffers:
            torch._foreach_add_(self._sum, self.buffers)
            torch._foreach_copy_(self.buffers, self._before)

    def end(self, count: int) -> None:
        """After the `count` micro-batches of a step."""
        if not self.buffers:
            return
        torch._foreach_div_(self._sum, count)
        if self._fabric.world_size > 1:
            flat = torch.cat([each.flatten() for each in self._sum])
            mean = self._fabric.all_reduce(flat, reduce_op="mean")
            assert isinstance(mean, Tensor)
            parts = torch.split(mean, [each.numel() for each in self._sum])
            self._sum = [part.view_as(own) for part, own in zip(parts, self._sum, strict=True)]
        torch._foreach_copy_(self.buffers, self._sum)
