"""The sizes of a block's attention, by which both its graphs are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AttentionSizes:
    """b images of n x n tokens, h heads of d, windows of w x w."""

    b: int
    n: int
    h: int
    d: int
    w: int

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.h * self.d

    @property
    def count(self) -> int:
        """Windows per side."""
        return -(-self.n // self.w)

    @property
    def pad(self) -> int:
        """Padding tokens per side."""
        return self.count * self.w - self.n

    @property
    def windows(self) -> int:
        """Windows of all images together."""
        return self.b * self.count**2

    @property
    def windowed(self) -> bool:
        """False if one window is the whole grid; one that is larger has padding."""
        return self.w != self.n
