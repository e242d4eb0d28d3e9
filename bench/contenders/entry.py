"""A contender on its way into a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from samedge.bench.report.values import Row
from samedge.bench.schedule import Contender


def _nothing() -> None:
    """What there is to close by default."""


@dataclass(frozen=True)
class Entry:
    """A contender and its row, which has no times yet.

    Attributes:
        row: what it is, how its numbers were checked, and why it was refused if it was.
        contender: what is timed, of the row's name; None where the row says why it is refused.
        close: frees it.
    """

    row: Row
    contender: Contender | None = None
    close: Callable[[], None] = _nothing


class Entries(AbstractContextManager["Entries"]):
    """Entries that are closed together, the last one first; also while they are being made."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: list[Entry] = []
        try:
            for entry in entries:
                self._entries.append(entry)
        except BaseException:
            self.close()
            raise

    def add(self, entry: Entry) -> Entry:
        """Take one more."""
        self._entries.append(entry)
        return entry

    def close(self) -> None:
        """Free them."""
        while self._entries:
            self._entries.pop().close()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __exit__(self, *_: object) -> None:
        self.close()
