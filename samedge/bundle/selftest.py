"""Self-test frames: raw frame, prompts and float32 results, as one small .npz file each.

A file is the same byte for byte whenever and wherever it is written, and is read without pickle.
Masks are packed to one bit per pixel.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle.names import is_safe_name
from samedge.errors import BundleError
from samedge.files.limits import SELFTEST_BYTES

FOLDER = "selftest"
SUFFIX = ".npz"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FIELDS = ("frame", "points", "labels", "low_res_logits", "masks", "scores")
_FLAGS = ("multimask", "stack")


@dataclass(frozen=True, eq=False)
class SelfTest:
    """One frame, its prompts, and what the float32 reference makes of them.

    Attributes:
        name: letters, digits and `._+-`; also the file's name.
        frame: uint8 [H, W] or [H, W, 3] (RGB); [D, H, W], the slices of a volume, for a stack.
        points: float64 [N, P, 2], (x, y) in frame px; P may be 0. One object per slice of a stack.
        labels: int64 [N, P], 1 foreground, 0 background.
        box: float64 [N, 4], (x0, y0, x1, y1) in frame px, or None.
        low_res_logits: float32 [K, L, L]; all masks of the first object (or slice) come first.
        masks: uint8 [K, H, W], 0 or 1.
        scores: float32 [K], predicted IoU.
        multimask: the family's several answers were asked for.
        stack: the frame is a stack of slices.
    """

    name: str
    frame: NDArray[np.uint8]
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None
    low_res_logits: NDArray[np.float32]
    masks: NDArray[np.uint8]
    scores: NDArray[np.float32]
    multimask: bool = False
    stack: bool = False

    @property
    def file(self) -> str:
        """Its name inside a bundle."""
        return f"{FOLDER}/{self.name}{SUFFIX}"

    @property
    def nbytes(self) -> int:
        """What its arrays take in memory."""
        return self.frame.nbytes + self.masks.nbytes + self.low_res_logits.nbytes

    def to_bytes(self) -> bytes:
        """The .npz file.

        Raises:
            BundleError: shapes or values do not fit each other.
        """
        test = _checked(self)
        arrays: dict[str, NDArray[Any]] = {name: getattr(test, name) for name in _FIELDS}
        arrays["masks"] = np.packbits(test.masks, axis=-1)
        if test.box is not None:
            arrays["box"] = test.box
        for flag in _FLAGS:
            if getattr(test, flag):
                arrays[flag] = np.array(True)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                entry = io.BytesIO()
                np.lib.format.write_array(entry, array, version=(1, 0), allow_pickle=False)
                info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, entry.getvalue())
        return file.getvalue()

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> SelfTest:
        """The self-test behind `to_bytes`.

        Raises:
            BundleError: the data is no such file.
        """
        try:
            if (unpacked := unpacked_bytes(data)) > SELFTEST_BYTES.most:
                raise ValueError(f"it says that it holds {unpacked} bytes")
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            fields: dict[str, Any] = {flag: bool(arrays.get(flag, False)) for flag in _FLAGS}
            width = arrays["frame"].shape[2 if fields["stack"] else 1]
            if arrays["masks"].shape[-1] != (width + 7) // 8:
                raise ValueError("masks of another width than the frame")
            arrays["masks"] = np.unpackbits(arrays["masks"], axis=-1, count=width)
            fields |= {key: arrays[key] for key in _FIELDS}
            return _checked(cls(name=name, box=arrays.get("box"), **fields))
        except BundleError:
            raise
        except Exception as error:  # zipfile, zlib and numpy raise a dozen types on bad data
            raise BundleError(
                f"the self-test '{name}' cannot be read ({type(error).__name__}: {error}); "
                "export the bundle again"
            ) from error


def unpacked_bytes(data: bytes) -> int:
    """What a file of `to_bytes` takes in memory, as it says itself.

    Raises:
        zipfile.BadZipFile: the data is no such file.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    return sum(entry.file_size * (8 if entry.filename == "masks.npy" else 1) for entry in entries)


def _checked(test: SelfTest) -> SelfTest:
    """`test` with the documented types, after checking that the shapes fit each other."""
    if not is_safe_name(test.name) or "/" in test.name:
        raise BundleError(f"a self-test's name is letters, digits and ._+-, not {test.name!r}")
    frame = _array(test, "frame", np.uint8)
    points, labels = _array(test, "points", np.float64), _array(test, "labels", np.int64)
    box = None if test.box is None else _array(test, "box", np.float64)
    logits = _array(test, "low_res_logits", np.float32)
    masks, scores = _array(test, "masks", np.uint8), _array(test, "scores", np.float32)
    size = frame.shape[1:3] if test.stack else frame.shape[:2]
    if test.stack:
        _need(test, "frame", frame.ndim == 3 and len(frame) == len(points), "[D, H, W]")
    else:
        _need(test, "frame", frame.ndim == 2 or frame.shape[2:] == (3,), "[H, W] or [H, W, 3]")
    _need(test, "points", points.ndim == 3 and points.shape[2] == 2, "[N, P, 2]")
    _need(test, "labels", labels.shape == points.shape[:2], "[N, P] like the points")
    if box is not None:
        _need(test, "box", box.shape == (len(points), 4), "[N, 4] like the points")
    side = logits.shape[-1] if logits.ndim else 0
    _need(test, "low_res_logits", logits.shape[1:] == (side, side), "[K, L, L]")
    _need(test, "masks", masks.shape == (len(logits), *size), "[K, H, W]")
    _need(test, "masks", masks.max(initial=0) <= 1, "0 or 1 everywhere")
    _need(test, "scores", scores.shape == (len(logits),), "[K]")
    return SelfTest(
        test.name, frame, points, labels, box, logits, masks, scores, test.multimask, test.stack
    )


def _array(test: SelfTest, field: str, dtype: type[np.generic]) -> NDArray[Any]:
    value = np.asarray(getattr(test, field))
    _need(test, field, np.can_cast(value.dtype, dtype, "same_kind"), f"type {dtype.__name__}")
    result = np.ascontiguousarray(value, dtype=dtype)
    if issubclass(dtype, np.integer):  # "same kind" may still be too narrow for the values
        _need(test, field, np.array_equal(result, value), f"numbers that {dtype.__name__} holds")
    _need(test, field, bool(np.isfinite(result).all()), "finite numbers")
    return result


def _need(test: SelfTest, field: str, fine: bool, wanted: str) -> None:
    if not fine:
        value = np.asarray(getattr(test, field))
        raise BundleError(
            f"self-test '{test.name}': {field} is {value.dtype} {list(value.shape)}, "
            f"expected {wanted}; export the bundle again"
        )
