"""The sink behind `for item in stream`: deliveries in the caller's thread."""

from __future__ import annotations

from collections.abc import Iterator

from samedge.stream.live.item import LiveFrame
from samedge.stream.live.mailbox import Mailbox
from samedge.stream.live.sink import LiveSink

_WAIT_S = 0.1


class Hand(LiveSink):
    """Hands deliveries to a loop.

    Args:
        every_frame: the stream waits for the loop; else it gets the newest delivery.
    """

    name = "loop"

    def __init__(self, every_frame: bool) -> None:
        self.every_frame = every_frame
        self.backlog = 1
        self._box: Mailbox[LiveFrame] = Mailbox(newest=not every_frame)

    def write(self, item: LiveFrame) -> None:
        if not self.every_frame:
            self._box.put(item)
            return
        while not self._box.is_closed and not self._box.offer(item, _WAIT_S):
            pass

    def close(self, error: BaseException | None) -> None:
        self._box.close()

    def items(self) -> Iterator[LiveFrame]:
        """Deliveries until the stream ends; a loop that is left early closes the box."""
        try:
            while not self._box.is_done:
                item = self._box.take(_WAIT_S)
                if item is not None:
                    yield item
        finally:
            self._box.close()
