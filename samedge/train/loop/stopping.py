"""Ctrl-C and SIGTERM end a run after the step they come in, not in the middle of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Whether somebody asked to stop. A second request does not wait: it is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask to stop; the signature is a signal handler's."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """A flag that both signals raise while the block runs; their handlers are put back after it.

    Only the main thread gets signals; in any other the flag is never raised by itself.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag.ask) for number in _SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
