"""Which colours a JPEG frame in a DICOM file really holds.

The tag PhotometricInterpretation is often wrong, and the codestream knows: by the marks of JFIF and
Adobe, by the names of its components, and by chroma that is stored with fewer pixels, which only
makes sense for YCbCr.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

JFIF, ADOBE, SCAN = 0xE0, 0xEE, 0xDA
_NO_PAYLOAD = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
YCBCR_NAMES = (1, 2, 3)  # what JFIF prescribes, and libjpeg takes for YCbCr


@dataclass(frozen=True)
class JpegHead:
    """What the segments before the first scan say.

    Attributes:
        precision: bits per sample.
        names: of the components.
        sampling: (horizontal, vertical) factors of the components.
        jfif: there is a JFIF mark.
        adobe: the colour transform of the Adobe mark: 0 none, 1 YCbCr; None: no mark.
    """

    precision: int = 8
    names: tuple[int, ...] = ()
    sampling: tuple[tuple[int, int], ...] = ()
    jfif: bool = False
    adobe: int | None = None

    @property
    def looks_like_ycbcr(self) -> bool:
        """Without any mark: the chroma is stored with fewer pixels, or the names are JFIF's."""
        if len(self.names) != 3 or self.jfif or self.adobe is not None:
            return False
        return self.names == YCBCR_NAMES or self.sampling[0] != self.sampling[1]


def read_jpeg_head(data: bytes) -> JpegHead:
    """The head of one frame; what is cut off or damaged stays at its default."""
    names: tuple[int, ...] = ()
    sampling: tuple[tuple[int, int], ...] = ()
    precision, jfif, adobe, at = 8, False, None, 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != SCAN:
        marker = data[at + 1]
        if marker == 0xFF or marker in _NO_PAYLOAD:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        body = data[at + 4 : at + 2 + length]
        if marker == JFIF:
            jfif = jfif or body.startswith(b"JFIF")
        elif marker == ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker in _FRAMES and len(body) >= 6 + 3 * body[5]:
            precision = body[0]
            parts = [body[6 + 3 * i : 9 + 3 * i] for i in range(body[5])]
            names = tuple(part[0] for part in parts)
            sampling = tuple((part[1] >> 4, part[1] & 15) for part in parts)
        at += 2 + max(length, 2)
    return JpegHead(precision, names, sampling, jfif, adobe)
