"""What takes the masks: the two protocols of a sink."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from samedge.sources.frame import Source
from samedge.stream.segmenting import Segmented


class FrameSink(Protocol):
    """Takes the frames of one source, one after the other."""

    def write(self, item: Segmented, /) -> object:
        """Take one frame with its masks. What it keeps of them must not grow without end."""


class Sink(Protocol):
    """Where the results of sources go: a folder, a window, a socket.

    For each source the job enters `source(source)`, writes its frames, and leaves the block: with
    an exception if the source, the engine or another sink failed.
    """

    def source(self, source: Source, /) -> AbstractContextManager[FrameSink]:
        """What takes the frames of the source that comes next."""
