"""What a user may say about a checkpoint that its tensors do not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from samedge.errors import CheckpointError

# The classes of the multi-organ CT data set that SAMed was published for.
SYNAPSE = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "liver",
    "stomach",
    "aorta",
    "pancreas",
)
_NAMED_SETS = {"synapse": SYNAPSE}
_MAX_NAME = 100


@dataclass(frozen=True)
class Options:
    """Facts that come from the user; None where nothing was said.

    Attributes:
        family: what the checkpoint is expected to be.
        input_size: side of the network input, px.
        classes: number of classes, without the background.
        names: of the classes, without the background; as many as `classes`.
        rank: of the low-rank branches.
        slices: of a volume that are encoded together.
        chunk: slices that a depth branch relates; None or 0: all that there are.
    """

    family: str | None = None
    input_size: int | None = None
    classes: int | None = None
    names: tuple[str, ...] | None = None
    rank: int | None = None
    slices: int | None = None
    chunk: int | None = None

    def given(self) -> dict[str, Any]:
        """What was said, by the names that `open_checkpoint` has for it, but the family."""
        found = {
            "input_size": self.input_size,
            "classes": self.classes,
            "rank": self.rank,
            "slices": self.slices,
            "chunk": self.chunk,
        }
        return {name: value for name, value in found.items() if value is not None}


def make_options(
    family: str | None,
    input_size: int | None,
    classes: int | str | Sequence[str] | None,
    rank: int | None,
    slices: int | None,
    chunk: int | None,
) -> Options:
    """Check what a user says.

    Args:
        family, input_size, rank, slices, chunk: as in `Options`.
        classes: their number, their names, or "synapse" for those of that data set.

    Raises:
        CheckpointError: a number that is none, or is too small; names that are empty or doubled.
    """
    least = {"input_size": 16, "rank": 1, "slices": 1, "chunk": 0}
    numbers = {"input_size": input_size, "rank": rank, "slices": slices, "chunk": chunk}
    for name, value in numbers.items():
        if value is not None and (type(value) is not int or value < least[name]):
            raise CheckpointError(
                f"{name}={value!r} came; expected a whole number from {least[name]} up"
            )
    number, names = _classes(classes)
    return Options(family, input_size, number, names, rank, slices, chunk)


def _classes(
    classes: int | str | Sequence[str] | None,
) -> tuple[int | None, tuple[str, ...] | None]:
    """Number and names."""
    if classes is None:
        return None, None
    if isinstance(classes, int) and not isinstance(classes, bool):
        if not 1 <= classes <= 255:
            raise CheckpointError(f"classes={classes} came; expected 1 to 255, without background")
        return classes, None
    if isinstance(classes, str):
        known = _NAMED_SETS.get(classes.lower())
        if known is None:
            raise CheckpointError(
                f"classes='{classes}' came; expected their number, a list of names, or "
                f"'{', '.join(_NAMED_SETS)}'"
            )
        return len(known), known
    names = tuple(classes) if isinstance(classes, Sequence) else ()
    fine = all(isinstance(n, str) and n.isprintable() and 0 < len(n) <= _MAX_NAME for n in names)
    if not names or not fine or len(set(names)) < len(names):
        raise CheckpointError(
            f"classes={classes!r} came; expected their number, or different printable names of up "
            f"to {_MAX_NAME} characters"
        )
    return len(names), names
