"""A recorded stream again: the same frames and prompts, and whether the masks are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samedge.errors import PromptError, SourceError
from samedge.sources.replay import ReplaySource, pixel_hash
from samedge.stream.live.controls import Command, from_json
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.sink import LiveSink


class Script:
    """What users said in a recorded stream, by frame.

    Args:
        source: the recording.

    Raises:
        SourceError: something in it is no command.
    """

    def __init__(self, source: ReplaySource) -> None:
        self._commands: dict[int, list[Command]] = {}
        self._again: dict[int, list[list[Command]]] = {}
        try:
            for index, step in enumerate(source.steps):
                if step.commands:
                    self._commands[index] = [from_json(one) for one in step.commands]
                if step.again:
                    self._again[index] = [[from_json(c) for c in one] for one in step.again]
        except PromptError as error:
            raise SourceError(f"{source.name} holds a command that is none: {error}") from error

    def commands(self, index: int) -> list[Command]:
        """Obeyed with frame `index`."""
        return self._commands.get(index, [])

    def again(self, index: int) -> list[list[Command]]:
        """Obeyed later while this frame stood still; one entry per answer."""
        return self._again.get(index, [])


class ReplayCheck(LiveSink):
    """Compares the masks of a replay with the recorded ones, pixel for pixel.

    Args:
        source: the recording.
    """

    name = "replay"
    every_frame = True
    wants_repeats = False

    def __init__(self, source: ReplaySource) -> None:
        self._steps = source.steps
        self._equal = self._different = 0
        self._first: int | None = None

    def write(self, item: LiveFrame) -> None:
        expected = self._steps[item.frame.index].labels_sha256
        if expected is None:  # there were none, or they came too late to be shown
            return
        if pixel_hash(item.label_map(doubtful=True)) == expected:
            self._equal += 1
            return
        self._different += 1
        if self._first is None:
            self._first = item.frame.index

    def describe(self) -> Mapping[str, Any]:
        """How many masks are equal, how many differ, and the first frame where they do."""
        return {
            "kind": "replay",
            "equal": self._equal,
            "different": self._different,
            "first_different": self._first,
        }
