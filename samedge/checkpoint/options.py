"""What a user may say about a checkpoint that its tensors do not show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from samedge._wording import spoken
from samedge.checkpoint.sizes import LARGEST
from samedge.errors import CheckpointError
from samedge.families import PROMPTS

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
# Least and largest value of what a user may say: of 4096 px the position table has 335 MB (ViT-H).
_BOUNDS = {
    "input_size": (16, 4096),
    "rank": (1, LARGEST),
    "slices": (1, LARGEST),
    "chunk": (0, LARGEST),
}
# The same for what a file written by samedge's trainer records, where shapes do not show it.
_RECORDED = {
    "decoder_heads": (1, LARGEST),
    "generator_heads": (1, LARGEST),
    "generator_head_dim": (1, LARGEST),
    "slices": _BOUNDS["slices"],
    "chunk": _BOUNDS["chunk"],
    "img_size": _BOUNDS["input_size"],
}


@dataclass(frozen=True)
class CheckpointOptions:
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
) -> CheckpointOptions:
    """Check what a user says.

    Args:
        family, input_size, rank, slices, chunk: as in `CheckpointOptions`.
        classes: their number, their names, or "synapse" for those of that data set.

    Raises:
        CheckpointError: a number that is none, or out of bounds; names that are empty or doubled.
    """
    numbers = {"input_size": input_size, "rank": rank, "slices": slices, "chunk": chunk}
    for name, value in numbers.items():
        if value is not None:
            _check_number(name, value, _BOUNDS[name])
    number, names = _classes(classes)
    return CheckpointOptions(family, input_size, number, names, rank, slices, chunk)


def recorded_fields(recorded: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Config fields that a file recorded, checked; those that shapes show are left out.

    Args:
        recorded: the file's own entry.
        known: fields of the family's config.

    Raises:
        CheckpointError: a value that is none, or a field that the family lacks.
    """
    names = (*_RECORDED, "classes", "prompts")
    found = {name: recorded[name] for name in names if name in recorded}
    for name, value in found.items():
        if name not in known:
            raise CheckpointError(f"its own record has '{name}', which this family lacks")
        if name in _RECORDED:
            _check_number(f"in its own record {name}", value, _RECORDED[name])
    classes = found.get("classes", ())
    if not isinstance(classes, list | tuple) or (classes and not _are_names(classes)):
        raise CheckpointError(
            f"in its own record classes={brief(classes)} came; expected different printable names"
        )
    prompts = found.get("prompts", ())
    if not isinstance(prompts, list | tuple) or not set(map(str, prompts)) <= set(PROMPTS):
        raise CheckpointError(
            f"in its own record prompts={brief(prompts)} came; expected some of "
            f"{', '.join(PROMPTS)}"
        )
    return found | {n: tuple(found[n]) for n in ("classes", "prompts") if n in found}


def _check_number(name: str, value: object, bounds: tuple[int, int]) -> None:
    if type(value) is not int or not bounds[0] <= value <= bounds[1]:
        raise CheckpointError(
            f"{_said(name, value)} came; expected a whole number from {bounds[0]} to {bounds[1]}"
        )


def _said(name: str, value: object) -> str:
    """A value as it was said."""
    flag = f"--{name.replace('_', '-')}"
    python = f"{name}={brief(value)}"
    return python if " " in name else spoken(python, f"{flag} {brief(value)}")


def _are_names(names: Sequence[Any]) -> bool:
    fine = all(isinstance(n, str) and n.isprintable() and 0 < len(n) <= _MAX_NAME for n in names)
    return fine and bool(names) and len(set(names)) == len(names)


def _classes(
    classes: int | str | Sequence[str] | None,
) -> tuple[int | None, tuple[str, ...] | None]:
    """Number and names."""
    if classes is None:
        return None, None
    if isinstance(classes, int) and not isinstance(classes, bool):
        if not 1 <= classes <= 255:
            said = _said("classes", classes)
            raise CheckpointError(f"{said} came; expected 1 to 255, without background")
        return classes, None
    if isinstance(classes, str):
        known = _NAMED_SETS.get(classes.lower())
        if known is None:
            raise CheckpointError(
                f"{_said('classes', classes)} came; expected their number, a list of names, or "
                f"'{', '.join(_NAMED_SETS)}'"
            )
        return len(known), known
    names = tuple(classes) if isinstance(classes, Sequence) else ()
    if not _are_names(names):
        raise CheckpointError(
            f"{_said('classes', classes)} came; expected their number, or different printable "
            f"names of up to {_MAX_NAME} characters"
        )
    return len(names), names
