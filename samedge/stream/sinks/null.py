"""`null:`: takes every frame and keeps none; what is left is the summary of the stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samedge.errors import OutputError
from samedge.sources.uri import Uri
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.sink import LiveSink


class NullSink(LiveSink):
    """Counts what comes.

    Attributes:
        frames: deliveries so far, without repeats.
    """

    name = "null"

    def __init__(self) -> None:
        self.frames = 0

    @classmethod
    def from_uri(cls, uri: Uri) -> NullSink:
        """Of `null:`.

        Raises:
            OutputError: something stands behind it.
        """
        uri.check_options([], OutputError)
        if uri.where:
            raise OutputError(f"{uri.text}: null: takes nothing behind it")
        return cls()

    def write(self, item: LiveFrame) -> None:
        self.frames += item.is_new

    def describe(self) -> Mapping[str, Any]:
        """Frames that came."""
        return {"kind": "null", "frames": self.frames}
