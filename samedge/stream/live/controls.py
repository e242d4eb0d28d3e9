"""What users say to a running stream, from any thread: clicks, boxes, names, hold, stop."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from samedge.errors import PromptError
from samedge.files.limits import FRAME_SIDE
from samedge.prompts.file import MAX_OBJECT

MAX_PENDING = 1000  # a client that sends more between two frames sends rubbish
MAX_NAME = 40
MAX_OBJECTS = 12  # as many colours as are told apart


@dataclass(frozen=True)
class Click:
    """A point of an object, in frame px.

    `object` is the number of the object; 0 makes a new one. `fresh` drops the object's earlier
    points and its box, so that it starts anew here.
    """

    x: float
    y: float
    inside: bool = True
    object: int = 0
    fresh: bool = False


@dataclass(frozen=True)
class Drag:
    """A box around an object, in frame px; its other prompts are dropped. 0 makes a new object."""

    x0: float
    y0: float
    x1: float
    y1: float
    object: int = 0


@dataclass(frozen=True)
class Points:
    """The prompts of all objects at once, as a command line or Slicer's markups give them; what was
    prompted before is dropped.

    `points[k]` are the (x, y, inside) of object k, `boxes[k]` is its box (x0, y0, x1, y1) or None;
    no boxes at all: leave them out. `names[k]` is what it is called.
    """

    points: tuple[tuple[tuple[float, float, bool], ...], ...]
    names: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float] | None, ...] = ()


@dataclass(frozen=True)
class Remove:
    """Forget an object; 0: all of them."""

    object: int = 0


@dataclass(frozen=True)
class Rename:
    """Call an object something else."""

    object: int
    name: str


@dataclass(frozen=True)
class Hold:
    """Stop the picture where it is, or let it run."""

    on: bool


@dataclass(frozen=True)
class Record:
    """Let the sinks that record by request begin or end."""

    on: bool


Command: TypeAlias = "Click | Drag | Points | Remove | Rename | Hold | Record"
COMMANDS: dict[str, type[Any]] = {
    "click": Click,
    "drag": Drag,
    "points": Points,
    "remove": Remove,
    "rename": Rename,
    "hold": Hold,
    "record": Record,
}


class Controls:
    """Takes commands from anywhere and keeps them until the next frame; checked here, so that
    whoever sends rubbish gets the PromptError, and not the stream."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: deque[Command] = deque()

    def send(self, command: Command) -> None:
        """Hand over a command; it takes effect with the next frame, or at once on a still picture.

        Raises:
            PromptError: its numbers cannot be, or too many commands wait already.
        """
        check(command)
        with self._lock:
            if len(self._pending) >= MAX_PENDING:
                raise PromptError(f"{MAX_PENDING} commands wait already; send fewer")
            self._pending.append(command)

    def take(self) -> list[Command]:
        """All that wait, in order; they wait no more."""
        with self._lock:
            found = list(self._pending)
            self._pending.clear()
        return found


def check(command: Command) -> None:
    """Refuse what no stream can mean.

    Raises:
        PromptError: with what was expected.
    """
    numbers: list[float] = []
    if isinstance(command, Click):
        numbers = [command.x, command.y]
    elif isinstance(command, Drag):
        numbers = [command.x0, command.y0, command.x1, command.y1]
        if all(map(math.isfinite, numbers)) and not (
            command.x0 < command.x1 and command.y0 < command.y1
        ):
            raise PromptError(f"the box {tuple(numbers)} is empty: x1 must exceed x0, and y1 y0")
    elif isinstance(command, Points):
        numbers = _numbers(command)
    elif isinstance(command, Rename) and not 0 < len(command.name.strip()) <= MAX_NAME:
        raise PromptError(f"a name has 1 to {MAX_NAME} characters")
    if not all(math.isfinite(v) and abs(v) <= FRAME_SIDE.most for v in numbers):
        raise PromptError(f"{numbers} came as coordinates; expected px of the frame")
    number = getattr(command, "object", 0)
    if not 0 <= number <= MAX_OBJECT:
        raise PromptError(f"object {number} came; expected 1 to {MAX_OBJECT}, or 0 for a new one")


def _numbers(command: Points) -> list[float]:
    """All coordinates of a command whose objects each have a point inside or a box."""
    if len(command.points) > MAX_OBJECTS:
        raise PromptError(f"{len(command.points)} objects came; at most {MAX_OBJECTS} at a time")
    boxes = command.boxes or (None,) * len(command.points)
    if len(boxes) != len(command.points):
        raise PromptError(f"{len(boxes)} boxes came for {len(command.points)} objects")
    for points, box in zip(command.points, boxes, strict=True):
        if box is None and not any(inside for *_, inside in points):
            raise PromptError("an object came without a point inside it, and without a box")
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise PromptError(f"the box {box} is empty: x1 must exceed x0, and y1 y0")
    given = [v for one in command.points for x, y, _ in one for v in (x, y)]
    return given + [v for box in boxes if box is not None for v in box]


def to_json(command: Command) -> dict[str, Any]:
    """A command as JSON values, for records."""
    name = next(name for name, kind in COMMANDS.items() if isinstance(command, kind))
    return {"command": name, **asdict(command)}


def from_json(value: Mapping[str, Any]) -> Command:
    """The command that `to_json` wrote, or that a client sent: every value of the right type.

    Raises:
        PromptError: there is no such command, or a value of it is missing, too many, or no such
            value.
    """
    fields = dict(value)
    name = fields.pop("command", None)
    kind = COMMANDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise PromptError(f"there is no such command; expected one of {', '.join(COMMANDS)}")
    expected = kind.__annotations__
    if set(fields) - set(expected):
        raise PromptError(f"{name} takes {', '.join(expected)}")
    for key, given in fields.items():
        fields[key] = _value(name, key, given, expected[key])
    try:
        command: Command = kind(**fields)
    except TypeError as error:
        raise PromptError(f"{name} takes {', '.join(expected)}") from error
    check(command)
    return command


def _value(name: str, key: str, given: object, expected: str) -> object:
    """A JSON value as what the field is."""
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        if expected == "float" and abs(given) < 1e9:
            return float(given)
        if expected == "int" and isinstance(given, int):
            return given
    elif (expected == "bool" and isinstance(given, bool)) or (
        expected == "str" and isinstance(given, str)
    ):
        return given
    elif key == "names" and isinstance(given, (list, tuple)):
        if all(isinstance(one, str) and 0 < len(one) <= MAX_NAME for one in given):
            return tuple(given)
    elif key == "points" and isinstance(given, (list, tuple)):
        try:
            return tuple(
                tuple((float(x), float(y), inside is True) for x, y, inside in one) for one in given
            )
        except (TypeError, ValueError, OverflowError):
            pass  # said below
    elif key == "boxes" and isinstance(given, (list, tuple)):
        try:
            return tuple(None if one is None else _box(one) for one in given)
        except (TypeError, ValueError, OverflowError):
            pass  # said below
    raise PromptError(f"{name}: {key} is no {expected}")


def _box(given: Any) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(float, given)
    return x0, y0, x1, y1
