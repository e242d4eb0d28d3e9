"""An even sample of a stream whose length nobody knows, in bounded memory."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")


class EvenSampler(Generic[Item]):
    """Keeps every item at first, then every second, every fourth, ...; the first one always.

    Args:
        capacity: never more than so many are kept, and at least half as many once there are enough.
    """

    def __init__(self, capacity: int) -> None:
        assert capacity >= 2
        self._capacity, self._stride, self._seen = capacity, 1, 0
        self._kept: list[Item] = []

    @property
    def wants_next(self) -> bool:
        """Whether the next item will be kept; if not, it need not be made."""
        return self._seen % self._stride == 0

    @property
    def seen(self) -> int:
        """Items so far, kept or not."""
        return self._seen

    def skip(self) -> None:
        """Count an item that was not made."""
        self._seen += 1

    def add(self, item: Item) -> None:
        """Count an item, and keep it if its turn has come."""
        if self.wants_next:
            if len(self._kept) == self._capacity:
                self._kept, self._stride = self._kept[::2], self._stride * 2
            if self.wants_next:
                self._kept.append(item)
        self._seen += 1

    def items(self, most: int | None = None) -> list[Item]:
        """What is kept, in order; at most `most` of it, evenly spaced, with the first and last."""
        if most is None or len(self._kept) <= most:
            return list(self._kept)
        places = np.linspace(0, len(self._kept) - 1, most).round().astype(int)
        return [self._kept[i] for i in places]
