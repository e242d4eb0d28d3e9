"""What lies between two threads: one place whose newest content wins, or a short line of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds up to `places` things for one thread that takes them.

    Args:
        places: that there are.
        newest: what is put into a full mailbox replaces the oldest in it; else it is refused.

    Attributes:
        dropped: things that were replaced or refused, so far.
    """

    def __init__(self, places: int = 1, newest: bool = True) -> None:
        self._places, self._newest = places, newest
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._closed = False
        self.dropped = 0

    def put(self, item: T, merge: Callable[[T, T], T] | None = None) -> bool:
        """Put a thing in, without waiting.

        Args:
            item: the thing.
            merge: makes of the thing that is replaced and the new one what is put in.

        Returns:
            False: a thing was dropped for it, or it was (also if the mailbox is closed).
        """
        with self._changed:
            full = len(self._items) >= self._places
            if self._closed or (full and not self._newest):
                self.dropped += 1
                return False
            if full:
                old = self._items.popleft()
                item = item if merge is None else merge(old, item)
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return not full

    def offer(self, item: T, wait_s: float) -> bool:
        """Put a thing in if there is a place for it within `wait_s`; nothing is dropped.

        Returns:
            False: there is none, or the mailbox is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._places, wait_s)
            if self._closed or len(self._items) >= self._places:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> T | None:
        """The oldest thing; None after `timeout_s`, or if it is closed and empty."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while not self._items and not self._closed:
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> int:
        """Nothing goes in any more; what is inside can still be taken.

        Returns:
            how much that is.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return len(self._items)

    @property
    def is_closed(self) -> bool:
        """Nothing goes in any more."""
        return self._closed

    @property
    def is_done(self) -> bool:
        """Closed and empty."""
        with self._changed:
            return self._closed and not self._items

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)
