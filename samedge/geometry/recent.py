"""The values that were used last, bounded in number and in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""


T = TypeVar("T", bound=Sized)


class Recent(Generic[T]):
    """The values that were used last: at most `count` of them, and as few as `nbytes` bytes hold.

    The last one stays whatever it takes. Threads may share it; two of them that ask for a new value
    at once make it twice.
    """

    def __init__(self, count: int, nbytes: int) -> None:
        self._count, self._nbytes = count, nbytes
        self._items: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, made if it is not there."""
        with self._lock:
            value = self._items.get(key)
            if value is not None:
                self._items.move_to_end(key)
                return value
        value = make()
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            while len(self._items) > max(self._count, 1) or self._too_large():
                self._items.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._items.clear()

    def _too_large(self) -> bool:
        if len(self._items) < 2:
            return False
        return sum(item.nbytes for item in self._items.values()) > self._nbytes
