"""Objects that libsamedge follows from frame to frame."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samedge.capi import structs as s
from samedge.capi.session import NativeSession, PromptArrays, ResultArrays, frame_struct
from samedge.runtime.result import Result


class NativeTracker:
    """A tracker of libsamedge: the tracked objects of `samedge.stream`, without the stream.

    Args:
        session: that is asked; the tracker's calls are calls of it.
        points, labels, box: of the first frame, as for `samedge.Session.predict`.
        settings: those of `samedge.prompts.gate.GateSettings` that are not the default.

    Raises:
        PromptError: there is nothing to follow.
        NotSupportedError: the model cannot follow.
    """

    def __init__(
        self,
        session: NativeSession,
        points: Any = None,
        labels: Any = None,
        box: ArrayLike | None = None,
        **settings: float,
    ) -> None:
        self.session, self.library = session, session.library
        self.handle = ctypes.c_void_p()
        self._asked = PromptArrays(points, labels, box)
        status = self.library.samedge_tracker_create(
            session.handle,
            byref(self._asked.struct),
            byref(s.TrackerOptions(**settings)),
            byref(self.handle),
        )
        self.library.check(status)

    def track(
        self, frame: NDArray[Any], time_s: float, crop: tuple[int, int, int, int] | None = None
    ) -> tuple[Result, list[str]]:
        """The next frame's masks, one per object, and what they are: "good", "doubtful", "lost"."""
        given = frame_struct(frame, crop)
        room = ResultArrays(self.session.model.info, self._asked, given.height, given.width)
        verdicts = (ctypes.c_int32 * self._asked.objects)()
        status = self.library.samedge_track(
            self.handle, byref(given), time_s, byref(room.struct), verdicts, len(verdicts)
        )
        self.library.check(status)
        return room.result(self.session), [s.VERDICTS[verdict] for verdict in verdicts]

    def lose(self) -> None:
        """Another scene has come."""
        self.library.check(self.library.samedge_tracker_lose(self.handle))

    def reason(self, index: int) -> str:
        """Why the last mask of an object is not good; empty if it is."""
        reason = ctypes.c_char_p()
        status = self.library.samedge_tracker_reason(self.handle, index, byref(reason))
        self.library.check(status)
        return (reason.value or b"").decode()

    def point(self, index: int) -> tuple[float, float]:
        """Where an object will be asked for next, in px."""
        at = np.zeros(2)
        x, y = (at[i:].ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for i in range(2))
        self.library.check(self.library.samedge_tracker_point(self.handle, index, x, y))
        return float(at[0]), float(at[1])

    def close(self) -> None:
        """Free it."""
        handle, self.handle = self.handle, ctypes.c_void_p()
        self.library.check(self.library.samedge_tracker_destroy(handle))
