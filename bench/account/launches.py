"""What a network would start on a GPU: launches, bytes and FLOPs, as rows that add up.

Nothing here is timed, and nothing is a claim about time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    """Of one launch, or of many.

    Attributes:
        launches: kernels that are started.
        flops: multiplications and additions, a fused one counted as two.
        reads, writes: bytes of the arrays that a launch takes and gives, each counted once.
    """

    launches: int = 0
    flops: int = 0
    reads: int = 0
    writes: int = 0

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return self.reads + self.writes

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.launches + other.launches,
            self.flops + other.flops,
            self.reads + other.reads,
            self.writes + other.writes,
        )

    def to_json(self) -> dict[str, int]:
        """Plain values."""
        return {
            "launches": self.launches,
            "flops": self.flops,
            "bytes_read": self.reads,
            "bytes_written": self.writes,
        }


@dataclass(frozen=True)
class Entry:
    """One launch.

    Attributes:
        part: of the network: "preprocess", "patch_embed", "cnn", "blocks.0", "neck", "decoder" or
            "postprocess".
        kind: name of its kernel, or of PyTorch's operation.
        cost: what it takes.
    """

    part: str
    kind: str
    cost: Cost


@dataclass
class Ledger:
    """Launches in order."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, part: str, kind: str, cost: Cost) -> None:
        """Write one down."""
        self.entries.append(Entry(part, kind, cost))

    def total(self, wanted: Callable[[Entry], bool] = lambda _: True) -> Cost:
        """The sum of those that are wanted."""
        return sum((e.cost for e in self.entries if wanted(e)), Cost())

    def by(self, key: Callable[[Entry], str]) -> dict[str, Cost]:
        """Sums per key, in the order in which keys turn up."""
        sums: dict[str, Cost] = {}
        for entry in self.entries:
            sums[key(entry)] = sums.get(key(entry), Cost()) + entry.cost
        return sums

    def parts(self) -> dict[str, Cost]:
        """Sums per part."""
        return self.by(lambda entry: entry.part)

    def kinds(self, parts: Iterable[str] | None = None) -> dict[str, Cost]:
        """Sums per kind, of some parts or of all."""
        chosen = None if parts is None else set(parts)
        some = [e for e in self.entries if chosen is None or e.part in chosen]
        return Ledger(some).by(lambda entry: entry.kind)


def largest_first(sums: dict[str, Cost]) -> Sequence[tuple[str, Cost]]:
    """Most bytes first."""
    return sorted(sums.items(), key=lambda item: (-item[1].moved, item[0]))
