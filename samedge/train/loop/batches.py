"""Which samples make up which step, and their tensors: a function of (seed, epoch) alone.

A step takes `world * accumulate * batch` samples. Micro-batch `a` of process `r` is number
`a * world + r` of them, so N processes see what one process sees that accumulates N times as often.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

Item = dict[str, Any]
_ORDER = 2**32 - 1  # no sample has this index: its random numbers are not those of the order


class Items(Protocol):
    """Samples as a model's tensors: `image` `[C, S, S]`, `target` `[K, L, L]`, `mask`, `name`...

    The same (epoch, index) gives the same tensors, on every machine and in every order.
    """

    def __len__(self) -> int: ...

    def item(self, epoch: int, index: int) -> Item: ...


@dataclass(frozen=True)
class BatchPlan:
    """How many samples go where.

    Attributes:
        count: samples.
        batch: samples per micro-batch.
        accumulate: micro-batches per step and process.
        world, rank: processes, and this one's number.
        seed: of the order.
    """

    count: int
    batch: int
    accumulate: int = 1
    world: int = 1
    rank: int = 0
    seed: int = 0

    @property
    def per_step(self) -> int:
        """Samples of one step, over all processes."""
        return self.batch * self.accumulate * self.world

    @property
    def steps(self) -> int:
        """Steps per epoch; what does not fill the last one waits for another epoch's order."""
        return max(self.count // self.per_step, 1)

    def order(self, epoch: int) -> list[int]:
        """Indices of all samples of an epoch; a set smaller than a step is repeated."""
        order = np.random.default_rng([self.seed, epoch, _ORDER]).permutation(self.count)
        wanted = self.steps * self.per_step
        return [int(i) for i in np.resize(order, wanted)]

    def micro_batches(self, epoch: int, first_step: int = 0) -> list[list[int]]:
        """This process's micro-batches from `first_step` on, `accumulate` for every step."""
        order = self.order(epoch)
        chunks = [order[i : i + self.batch] for i in range(0, len(order), self.batch)]
        return chunks[first_step * self.accumulate * self.world + self.rank :: self.world]


class _Epoch(Dataset[Item]):
    """An epoch of items, for torch's loader."""

    def __init__(self, items: Items, epoch: int) -> None:
        self._items, self._epoch = items, epoch

    def __getitem__(self, index: int) -> Item:
        return self._items.item(self._epoch, index)


def load(
    items: Items, epoch: int, batches: Sequence[Sequence[int]], workers: int = 0
) -> Iterator[Item]:
    """Batches of an epoch.

    Args:
        items: where they come from.
        epoch: which random numbers they get.
        batches: indices.
        workers: processes that prepare them; the tensors are the same for any number.

    Returns:
        tensors stacked on a new first axis, `name` as a list.
    """
    loader = DataLoader(
        _Epoch(items, epoch),
        batch_sampler=[list(b) for b in batches],
        num_workers=workers,
        collate_fn=collate,
        generator=torch.Generator(),  # its own: the loader must not draw from the global one
    )
    return iter(loader)


def collate(items: Sequence[Item]) -> Item:
    """Several items as one batch."""
    return {
        key: torch.stack([torch.as_tensor(item[key]) for item in items])
        if not isinstance(value, str)
        else [item[key] for item in items]
        for key, value in items[0].items()
    }
