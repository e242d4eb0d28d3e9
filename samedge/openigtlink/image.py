"""IMAGE messages: pixels, and where they lie in the patient.

The 72 bytes before the pixels: version, components, scalar type, byte order, axes, size of the
image, its matrix (columns: the steps in mm of one pixel along i, j and k; the last one is the place
of the image's **centre**), and the part of the image that follows.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samedge.files.limits import IGTL_BODY_BYTES
from samedge.openigtlink.problems import ProtocolError

HEAD = struct.Struct(">HBBBB3H12f3H3H")
SCALARS: dict[int, np.dtype[Any]] = {
    2: np.dtype(np.int8), 3: np.dtype(np.uint8), 4: np.dtype(np.int16), 5: np.dtype(np.uint16),
    6: np.dtype(np.int32), 7: np.dtype(np.uint32), 10: np.dtype(np.float32),
    11: np.dtype(np.float64),
}  # fmt: skip
_NUMBERS = {dtype: number for number, dtype in SCALARS.items()}
AXES = {1: "RAS", 2: "LPS"}
_ORDERS: dict[int, Literal[">", "<"]] = {1: ">", 2: "<"}


@dataclass(frozen=True, eq=False)
class Image:
    """A picture, a stack of them, or a part of one.

    Attributes:
        pixels: `[K, J, I, C]` of what is in this message: slices, rows, columns, components.
        matrix: float32 `[4, 4]`: steps along i, j, k in mm; the last column is the centre's place.
        size: (I, J, K) of the whole image.
        offset: (i, j, k) of the first pixel of this part.
        axes: "RAS" (x to the right of the patient, y to the front, z up) or "LPS".
    """

    pixels: NDArray[Any]
    matrix: NDArray[np.float32]
    size: tuple[int, int, int]
    offset: tuple[int, int, int] = (0, 0, 0)
    axes: str = "RAS"

    @property
    def is_whole(self) -> bool:
        """All of the image is in this message."""
        return self.offset == (0, 0, 0) and self.pixels.shape[2::-1] == self.size

    def pack(self) -> bytes:
        """The content of an IMAGE message.

        Raises:
            ProtocolError: the pixels' type or number of axes is not one of the protocol's, or the
                part is not inside of the image.
        """
        pixels = np.ascontiguousarray(self.pixels)
        number = _NUMBERS.get(pixels.dtype.newbyteorder("="))
        if number is None or pixels.ndim != 4 or not 0 < pixels.shape[3] < 256:
            raise ProtocolError(
                f"an image of {pixels.dtype} {list(pixels.shape)} came; expected [slices, rows, "
                "columns, components] of 8 to 32-bit integers or of floats"
            )
        part = (pixels.shape[2], pixels.shape[1], pixels.shape[0])
        _check_part(self.size, self.offset, part)
        order = 1 if pixels.dtype.str[0] == ">" else 2
        head = HEAD.pack(
            1, pixels.shape[3], number, order, 2 if self.axes == "LPS" else 1, *self.size,
            *np.asarray(self.matrix, np.float32)[:3].T.ravel().tolist(), *self.offset, *part,
        )  # fmt: skip
        return head + pixels.tobytes()


def parse_image(content: bytes | bytearray | memoryview) -> Image:
    """The image of a message's content. Its pixels are a view of that where the byte order allows.

    Raises:
        ProtocolError: an unknown type, order or axes; sizes that do not fit each other or the
            number of bytes; an image that is larger than any message may be.
    """
    view = memoryview(content)
    if len(view) < HEAD.size:
        raise ProtocolError(f"an image has at least {HEAD.size} bytes; {len(view)} came")
    values = HEAD.unpack(view[: HEAD.size])
    version, components, scalar, order, axes = values[:5]
    if version not in (1, 2) or scalar not in SCALARS or order not in _ORDERS or axes not in AXES:
        raise ProtocolError(
            f"an image of version {version}, scalar type {scalar}, byte order {order} and axes "
            f"{axes}; expected 1, one of {', '.join(map(str, SCALARS))}, 1 or 2, and 1 or 2"
        )
    size, offset, part = values[5:8], values[20:23], values[23:26]
    dtype = SCALARS[scalar].newbyteorder(_ORDERS[order])
    _check_part(size, offset, part)
    # Parts of it are put together, so that the whole may not be larger than a message either.
    whole = math.prod(size) * components * dtype.itemsize
    IGTL_BODY_BYTES.check(whole, "an image", ProtocolError)
    bytes_of_part = math.prod(part) * components * dtype.itemsize
    if not bytes_of_part or bytes_of_part != len(view) - HEAD.size:
        raise ProtocolError(
            f"an image of {part[0]} x {part[1]} x {part[2]} px with {components} components of "
            f"{dtype.itemsize} bytes came with {len(view) - HEAD.size} bytes of pixels"
        )
    pixels = np.frombuffer(view, dtype, offset=HEAD.size)
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3] = np.array(values[8:20], np.float32).reshape(4, 3).T
    return Image(
        pixels.reshape(part[2], part[1], part[0], components).astype(SCALARS[scalar], copy=False),
        matrix, size, offset, AXES[axes],
    )  # fmt: skip


def _check_part(size: tuple[int, ...], offset: tuple[int, ...], part: tuple[int, ...]) -> None:
    for whole, first, count in zip(size, offset, part, strict=True):
        if not (0 < count <= whole <= 0xFFFF and 0 <= first <= whole - count):
            raise ProtocolError(
                f"a part of {part[0]} x {part[1]} x {part[2]} px at {offset[0]}, {offset[1]}, "
                f"{offset[2]} does not lie in an image of {size[0]} x {size[1]} x {size[2]} px"
            )


def first_pixel_matrix(
    image_matrix: NDArray[Any], size: tuple[int, int, int]
) -> NDArray[np.float64]:
    """The matrix with the place of the first pixel instead of the centre's: (i, j, k, 1) -> mm.

    The centre of `n` pixels along an axis is `(n - 1) / 2` steps from the first one.
    """
    found = np.asarray(image_matrix, np.float64).copy()
    middle = (np.asarray(size, np.float64) - 1) / 2
    found[:3, 3] -= found[:3, :3] @ middle
    return found


def centre_matrix(first_pixel: NDArray[Any], size: tuple[int, int, int]) -> NDArray[np.float32]:
    """The inverse of `first_pixel_matrix`: what goes into a message."""
    found = np.asarray(first_pixel, np.float64).copy()
    found[:3, 3] += found[:3, :3] @ ((np.asarray(size, np.float64) - 1) / 2)
    return found.astype(np.float32)
