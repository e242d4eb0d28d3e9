"""How long work tells its caller where it is: one protocol for the whole project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Step:
    """Where a piece of work is.

    Attributes:
        name: of the step that runs, in words for a user.
        done: parts of the step that are finished.
        of: parts that it has; 0 if it has none, or nobody knows how many.
        phase: what the step is at just now, if that has a name.
    """

    name: str
    done: int = 0
    of: int = 0
    phase: str = ""

    def __str__(self) -> str:
        parts = f", {self.done} of {self.of}" if self.of else ""
        return f"{self.name}{': ' * bool(self.phase)}{self.phase}{parts}"


class Progress(Protocol):
    """Called with every step as it begins, and again as its parts are finished; `print` is one.

    A builder of engines calls it from threads of its own. An exception that it raises ends the
    work, which leaves nothing half done, and comes out at the caller's.
    """

    def __call__(self, step: Step, /) -> object: ...


def silent(_step: Step, /) -> None:
    """Says nothing: the default."""
