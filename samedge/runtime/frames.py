"""What a caller hands over as a frame -> pixels `[H, W, C]`, or an error that says what to do."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError, NotSupportedError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class HasArray(Protocol):
    """What numpy reads by `__array__`: a torch tensor on the CPU, say."""

    def __array__(self) -> NDArray[Any]:
        """Its numpy array."""


class HasArrayInterface(Protocol):
    """What numpy reads by `__array_interface__`: an image of Pillow."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Shape, element type and memory."""


class DlpackArray(Protocol):
    """An array of any library that knows DLPack, on the CPU or a GPU."""

    def __dlpack__(self, *, stream: Any = ...) -> Any:
        """A capsule of DLPack."""

    def __dlpack_device__(self) -> tuple[Any, Any]:
        """DLPack's type of the device, and its number."""


class CudaArray(Protocol):
    """An array on an NVIDIA GPU: of CuPy, PyCUDA, Numba or torch."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Shape, element type and memory."""


# Lie in the CPU's memory, on a GPU, or on either.
HostFrame = NDArray[np.uint8] | NDArray[np.uint16] | HasArray | HasArrayInterface | DlpackArray
DeviceFrame = CudaArray | DlpackArray
FrameLike = HostFrame | DeviceFrame


# Modes of PIL images with colours that are no RGB as stored.
_TO_RGB = ("P", "YCbCr", "HSV", "CMYK", "RGBX")


@dataclass(frozen=True)
class _Expected:
    """What was asked for, in the words of an error message.

    Attributes:
        what: "the frame" or "the slices".
        shapes: dtypes and shapes that are taken.
        deep: 16 bits are among them.
    """

    what: str
    shapes: str
    deep: bool

    def error(self, came: str, remedy: str = "") -> FrameError:
        """`the frame came as X; expected Y: do Z`."""
        return FrameError(f"{self.what} came {came}; expected {self.shapes}{remedy}")


def as_frame(frame: FrameLike, deep: bool = False) -> Pixels:
    """A view of `frame` as `[H, W, C]`, C = 1 or 3. Nothing is copied where avoidable.

    Args:
        frame: numpy array (also read-only or non-contiguous), or anything on the CPU that numpy can
            take: a torch tensor, a PIL image (palettes, YCbCr, HSV and CMYK become RGB), a DLPack
            capsule's owner.
        deep: grey frames may have 16 bits.

    Returns:
        uint8, or uint16 as it came.

    Raises:
        FrameError: wrong type, dtype, number of dimensions or channels; NaN.
        NotSupportedError: the frame lies on a GPU; sessions there take it another way.
    """
    shapes = "uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB)" + (", or uint16 [H, W]" if deep else "")
    expected = _Expected("the frame", shapes, deep)
    array = _to_numpy(frame, expected)
    _check_dtype(array, expected)
    if array.ndim == 2:
        array = array[:, :, None]
    came = f"with shape {list(array.shape)}"
    if array.ndim != 3 or 0 in array.shape:
        raise expected.error(came, _hint(array))
    if array.shape[2] not in (1, 3):
        raise expected.error(f"with {array.shape[2]} channels (shape {list(array.shape)})",
                           _hint(array))  # fmt: skip
    if array.dtype == np.uint16 and array.shape[2] == 3:
        raise expected.error(f"as uint16 {came}", ": colours have 8 bits, convert them to uint8")
    return array


def as_slices(slices: HostFrame, count: int | None, deep: bool = False) -> Pixels:
    """A view of `slices` as `[D, H, W, C]`, C = 1 or 3.

    Args:
        slices: a stack or volume, as for `as_frame` with one more axis in front.
        count: slices that there must be; None: any number.
        deep: grey slices may have 16 bits.

    Raises:
        FrameError, NotSupportedError: as `as_frame`.
    """
    d = "D" if count is None else str(count)
    shapes = f"uint8 [{d}, H, W] or [{d}, H, W, 3] (RGB)" + (f", or uint16 [{d}, H, W]" * deep)
    expected = _Expected("the slices", shapes, deep)
    array = _to_numpy(slices, expected)
    _check_dtype(array, expected)
    if array.ndim == 3:
        array = array[..., None]
    channels = (1,) if array.dtype == np.uint16 else (1, 3)
    if array.ndim != 4 or 0 in array.shape or array.shape[-1] not in channels:
        raise expected.error(f"as {array.dtype} with shape {list(array.shape)}")
    if count is not None and len(array) != count:
        raise FrameError(f"{len(array)} slices came; expected {count}: {shapes}")
    return array


def _to_numpy(frame: Any, expected: _Expected) -> NDArray[Any]:
    if isinstance(frame, np.ma.MaskedArray):
        return _unmasked(frame, expected)
    if isinstance(frame, np.ndarray):
        return frame
    pillow = sys.modules.get("PIL.Image")  # loaded, if this is one of its images
    if pillow is not None and isinstance(frame, pillow.Image):
        return _from_pillow(frame, expected)
    kind = type(frame).__name__
    if is_on_gpu(frame):
        raise on_gpu_error(frame, expected.what)
    if frame is None or isinstance(frame, (str, bytes, int, float)):
        raise expected.error(
            f"as a {kind}",
            ". To read a file use `samedge segment`, or cv2.imread and convert BGR to RGB",
        )
    try:
        if hasattr(frame, "__array__"):
            return np.asarray(frame)
        if hasattr(frame, "__dlpack__"):
            return np.from_dlpack(frame)
        return np.asarray(frame)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise expected.error(f"as a {kind} that cannot be read as an array ({error})") from error


def _unmasked(frame: Any, expected: _Expected) -> NDArray[Any]:
    """A masked array in which nothing is masked."""
    count = int(np.count_nonzero(np.ma.getmaskarray(frame)))
    if count:
        raise expected.error(
            f"as a masked array with {count} masked values",
            ": say what they are, for instance frame.filled(0)",
        )
    return np.asarray(frame.data)


def _from_pillow(image: Any, expected: _Expected) -> NDArray[Any]:
    """Grey levels or RGB of a PIL image: its numbers alone may be those of a palette or of hues."""
    mode = str(image.mode)
    if "A" in mode.upper().removeprefix("LAB") or "transparency" in image.info:
        raise expected.error(
            f"as a PIL image with transparency (mode {mode})",
            ": lay it on a background, for instance with frame.convert('RGB')",
        )
    if mode in _TO_RGB:
        return np.asarray(image.convert("RGB"))
    if mode == "1":
        return np.asarray(image.convert("L"))
    if mode == "LAB":
        raise expected.error("as a PIL image of mode LAB", ": convert it with PIL.ImageCms first")
    return np.asarray(image)


def on_gpu_error(frame: Any, what: str = "the frame") -> NotSupportedError:
    """What to tell somebody whose frame lies on a GPU, where it has to lie in the CPU's memory."""
    why = "this session runs on the CPU" if what == "the frame" else "they are read from the CPU"
    return NotSupportedError(
        f"{what} ({type(frame).__name__}) on a GPU cannot be taken from there: {why}; bring it "
        "over first: frame.cpu().numpy() (torch), cupy.asnumpy(frame), frame.get()"
    )


def is_on_gpu(frame: Any) -> bool:
    """By protocol, without importing any GPU library."""
    if isinstance(frame, np.ndarray):
        return False
    if hasattr(frame, "__cuda_array_interface__"):
        return True
    if hasattr(frame, "__dlpack_device__"):
        kind = int(frame.__dlpack_device__()[0])
        return kind not in (1, 3)  # kDLCPU, kDLCUDAHost (pinned host memory)
    return False


def _check_dtype(array: NDArray[Any], expected: _Expected) -> None:
    if array.dtype == np.uint8 or (expected.deep and array.dtype == np.uint16):
        return
    if array.dtype == np.bool_:
        remedy = "multiply it by 255 and convert to uint8"
    elif array.dtype.kind == "f" and array.size and not np.isfinite(array).all():
        remedy = "it holds NaN or infinite values: repair those, then scale to 0..255 and convert"
    elif array.dtype.kind == "f":
        remedy = _for_numbers(array, "frame.round()")
    elif array.dtype.kind in "iu":
        remedy = _for_numbers(array, "frame")
    else:
        remedy = "convert it to uint8"
    raise expected.error(f"as {array.dtype}", f": {remedy}")


def _for_numbers(array: NDArray[Any], whole: str) -> str:
    """How numbers of another type become uint8, by the range that they have."""
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    came = f"its values go from {low:g} to {high:g}"
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return f"{came}; scale it to 0..255 and convert: (frame * 255).round().astype(numpy.uint8)"
    if low >= 0 and high <= 255:
        return f"{came}; if that is its 0..255 scale, convert it: {whole}.astype(numpy.uint8)"
    return f"{came}; window it to 0..255 as you would for display, then convert to uint8"


def _hint(array: NDArray[Any]) -> str:
    """What most likely went wrong, for a shape that is refused."""
    if 0 in array.shape:
        return ": it is empty"
    if array.ndim == 4:
        return ": one frame at a time, frames[i]"
    if array.ndim == 3 and array.shape[2] == 4:
        return ": drop the alpha channel, frame[:, :, :3]"
    if array.ndim == 3 and array.shape[0] in (1, 3):
        return ": move the channels last, frame.transpose(1, 2, 0)"
    return ""
