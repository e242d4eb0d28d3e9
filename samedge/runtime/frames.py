"""What a caller hands over as a frame -> pixels `[H, W, C]`, or an error that says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError, NotSupportedError

EXPECTED = "expected uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB)"
EXPECTED_SLICES = "expected [{}, H, W], uint8 or uint16, or uint8 [{}, H, W, 3] (RGB)"

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


def as_frame(frame: Any, deep: bool = False) -> Pixels:
    """A view of `frame` as `[H, W, C]`, C = 1 or 3. Nothing is copied where avoidable.

    Args:
        frame: numpy array (also read-only or non-contiguous), or anything on the CPU that numpy can
            take: a torch tensor, a PIL image, a DLPack capsule's owner.
        deep: grey frames may have 16 bits.

    Returns:
        uint8, or uint16 as it came.

    Raises:
        FrameError: wrong type, dtype, number of dimensions or channels; NaN.
        NotSupportedError: the frame lies on a GPU, which this version cannot read.
    """
    array = _to_numpy(frame)
    _check_dtype(array, deep)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype == np.uint16 and array.ndim == 3 and array.shape[2] != 1:
        raise FrameError(
            f"the frame is uint16 with shape {list(array.shape)}; only grey frames [H, W] may have "
            "16 bits: convert colours to uint8"
        )
    if array.ndim != 3 or 0 in array.shape:
        raise FrameError(f"the frame has shape {list(array.shape)}; {EXPECTED}{_hint(array)}")
    if array.shape[2] not in (1, 3):
        raise FrameError(
            f"the frame has {array.shape[2]} channels (shape {list(array.shape)}); "
            f"{EXPECTED}{_hint(array)}"
        )
    return array


def as_slices(slices: Any, count: int | None, deep: bool = False) -> Pixels:
    """A view of `slices` as `[D, H, W, C]`, C = 1 or 3.

    Args:
        slices: a stack or volume, as for `as_frame` with one more axis in front.
        count: slices that there must be; None: any number.
        deep: grey slices may have 16 bits.

    Raises:
        FrameError, NotSupportedError: as `as_frame`.
    """
    expected = EXPECTED_SLICES.format(*((count or "D",) * 2))
    array = _to_numpy(slices)
    _check_dtype(array, deep)
    if array.ndim == 3:
        array = array[..., None]
    channels = (1,) if array.dtype == np.uint16 else (1, 3)
    if array.ndim != 4 or 0 in array.shape or array.shape[-1] not in channels:
        raise FrameError(f"the slices have shape {list(array.shape)}; {expected}")
    if count is not None and len(array) != count:
        raise FrameError(f"{len(array)} slices came; {expected}")
    return array


def _to_numpy(frame: Any) -> NDArray[Any]:
    if isinstance(frame, np.ndarray):
        return frame
    if _is_on_gpu(frame):
        raise NotSupportedError(
            f"the frame ({type(frame).__name__}) lies on a GPU, and this session runs on the CPU; "
            "bring it over first: frame.cpu().numpy() (torch), cupy.asnumpy(frame), frame.get()"
        )
    if frame is None or isinstance(frame, (str, bytes, int, float)):
        raise FrameError(
            f"the frame is a {type(frame).__name__}; {EXPECTED}. To read a file use "
            "`samedge segment`, or cv2.imread and convert BGR to RGB"
        )
    try:
        if hasattr(frame, "__array__"):
            return np.asarray(frame)
        if hasattr(frame, "__dlpack__"):
            return np.from_dlpack(frame)
        return np.asarray(frame)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise FrameError(
            f"the frame ({type(frame).__name__}) cannot be read as an array: {error}; {EXPECTED}"
        ) from error


def _is_on_gpu(frame: Any) -> bool:
    """By protocol, without importing any GPU library."""
    if hasattr(frame, "__cuda_array_interface__"):
        return True
    if hasattr(frame, "__dlpack_device__"):
        kind = int(frame.__dlpack_device__()[0])
        return kind not in (1, 3)  # kDLCPU, kDLCUDAHost (pinned host memory)
    return False


def _check_dtype(array: NDArray[Any], deep: bool) -> None:
    if array.dtype == np.uint8 or (deep and array.dtype == np.uint16):
        return
    came = f"the frame has dtype {array.dtype}"
    if array.dtype == np.bool_:
        remedy = "multiply it by 255 and convert to uint8"
    elif array.dtype.kind == "f" and array.size and not np.isfinite(array).all():
        remedy = "it holds NaN or infinite values: repair those, then scale to 0..255 and convert"
    elif array.dtype.kind == "f":
        remedy = "scale it to 0..255 and convert: (frame * 255).round().astype(numpy.uint8)"
    elif array.dtype.kind in "iu":
        remedy = "window it to 0..255 as you would for display, then convert to uint8"
    else:
        remedy = "convert it to uint8"
    raise FrameError(f"{came}; {EXPECTED}: {remedy}")


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
