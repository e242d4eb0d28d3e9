"""Single images and folders of images: PNG, JPEG, BMP, TIFF -> grey or RGB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.files.limits import JPEG_SCANS
from samedge.sources.foreign import quiet_cv2
from samedge.sources.frame import Frame, Pixels, Source, Warn, check_size
from samedge.sources.image_header import (
    COLOURS_OF_LIGHT,
    SEPARATED,
    WHITE_IS_ZERO,
    ImageHeader,
    read_header,
    still_png,
)
from samedge.sources.intensity import Intensity, on_black
from samedge.sources.mask_names import masks_among
from samedge.sources.sniff import HEAD_BYTES, IMAGE_KINDS, read_bytes, read_head, sniff

# 16-bit images that reach it use the whole range; the others come from scanners with fewer bits.
UPPER_HALF = 1 << 15
_LEVELS = np.arange(1 << 16, dtype=np.float64)


class ImageSource(Source):
    """One image file."""

    def __init__(
        self, path: Path, warn: Warn | None = None, intensity: Intensity | None = None
    ) -> None:
        super().__init__(path.name, warn)
        self._path, self._intensity = path, intensity or Intensity()

    def __iter__(self) -> Iterator[Frame]:
        pixels = read_image(self._path, self.warn, self._intensity)
        yield Frame(pixels, 0, None, self.name, self._path.stem)


class FolderSource(Source):
    """The images directly inside a folder, in natural order (`frame2` before `frame10`).

    Other files are skipped and counted in a warning; a file that is called like an image and is
    none is named there. Masks beside their images (`a_mask.png`) are left out, and counted, too.

    Args:
        path: the folder.
        warn: told what was skipped.
        intensity: which values become black and white.
        kinds: what `kinds_in` said, if it was asked already.

    Raises:
        SourceError: the folder cannot be read or holds no image.
    """

    kind = "folder"

    def __init__(
        self,
        path: Path,
        warn: Warn | None = None,
        intensity: Intensity | None = None,
        kinds: dict[Path, str] | None = None,
    ) -> None:
        super().__init__(path.name or str(path), warn)
        self._intensity = intensity or Intensity()
        kinds = kinds_in(path) if kinds is None else kinds
        files = list(kinds)
        self._files = sorted((p for p in files if kinds[p] in IMAGE_KINDS), key=natural_key)
        others = [p for p in files if kinds[p] not in IMAGE_KINDS]
        if not self._files:
            raise SourceError(_nothing_in(self.name, [kinds[p] for p in others]))
        self._files = self._without_masks(self._files)
        self.total = len(self._files)
        for p in others:
            if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"):
                self.warn(f"{p.name} is no image but {kinds[p]}; it was skipped")
        if others:
            self.warn(f"{len(others)} of {len(files)} files in {self.name} are no images; skipped")

    def _without_masks(self, files: list[Path]) -> list[Path]:
        """The images alone; the user is told of the rest."""
        masks = masks_among(p.stem for p in files)
        if not masks:
            return files
        left_out = [p for p in files if p.stem in masks]
        self.warn(
            f"{len(left_out)} of {len(files)} images in {self.name} are masks by their names (the "
            f"first is {left_out[0].name}); left out"
        )
        return [p for p in files if p.stem not in masks]

    @property
    def stem(self) -> str:
        """A folder has no ending."""
        return self.name

    def __iter__(self) -> Iterator[Frame]:
        names = unique_stems(self._files)
        for index, (path, name) in enumerate(zip(self._files, names, strict=True)):
            pixels = read_image(path, self.warn, self._intensity)
            yield Frame(pixels, index, None, path.name, name)


def kinds_in(path: Path) -> dict[Path, str]:
    """The files directly inside a folder that are not hidden, and what they are.

    Raises:
        SourceError: the folder or a file cannot be read.
    """
    try:
        files = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    except OSError as error:
        name = path.name or str(path)
        raise SourceError(f"cannot read folder {name}: {error.strerror}") from error
    return {p: sniff(read_head(p)) for p in files}


def _nothing_in(name: str, kinds: list[str]) -> str:
    """Message for a folder without images, from what it has instead."""
    if not kinds:
        return f"folder {name} is empty; expected PNG, JPEG, BMP or TIFF images in it"
    message = f"folder {name} holds {len(kinds)} files and no PNG, JPEG, BMP or TIFF image"
    others = sum(k in ("video", "NIfTI", "NPY", "NPZ") for k in kinds)
    if others:
        message += f"; {others} are videos or volumes: give them one by one, not as a folder"
    return message


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that counts digits as numbers: `a2` before `a10`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], path.name


def unique_stems(paths: list[Path]) -> list[str]:
    """Stems for output files; `a.png` beside `a.jpg` become `a_png` and `a_jpg`."""
    stems = [p.stem for p in paths]
    doubled = {s for s in stems if stems.count(s) > 1} if len(set(stems)) < len(stems) else set()
    return [p.name.replace(".", "_") if p.stem in doubled else p.stem for p in paths]


def read_image(path: Path, warn: Warn, intensity: Intensity | None = None) -> Pixels:
    """Decode one PNG, JPEG, BMP or TIFF file, turned upright by its EXIF orientation.

    Args:
        path: the file.
        warn: told when the pixels could not be taken as they are (16 bit, alpha, pages).
        intensity: a window for grey images, and whether those with 16 bits keep them.

    Returns:
        uint8 `[H, W]` or `[H, W, 3]` RGB; uint16 `[H, W]` if 16 bits are kept.

    Raises:
        SourceError: not an image, damaged, too small or too large, or of an unusual pixel type.
    """
    data = read_bytes(path)
    kind, header = checked_header(data, path.name)
    return decode_image(data, kind, header, path.name, warn, intensity)


def checked_header(data: bytes, name: str) -> tuple[str, ImageHeader]:
    """Kind and header of an image file.

    Raises:
        SourceError: not an image, damaged, too small or too large.
    """
    kind = sniff(data[:HEAD_BYTES])
    if kind not in IMAGE_KINDS:
        raise SourceError(f"{name} is no image but {kind}; expected {', '.join(IMAGE_KINDS)}")
    header = read_header(kind, data)
    if header.problem is not None:
        raise SourceError(f"{name} is a damaged {kind} file: {header.problem}")
    if header.width is not None and header.height is not None:
        check_size(name, header.height, header.width)  # before anything is allocated
    JPEG_SCANS.check(header.scans, name, SourceError)
    return kind, header


def decode_image(
    data: bytes,
    kind: str,
    header: ImageHeader,
    name: str,
    warn: Warn,
    intensity: Intensity | None = None,
) -> Pixels:
    """Pixels of an image file whose header is good; else as `read_image`."""
    if header.pages > 1:
        what = "pictures (an animation)" if kind == "PNG" else "pages"
        warn(f"{name} has {header.pages} {what}; only the first one is used")
    raw = decoded(data)
    if raw is None:
        raise SourceError(f"{name} is a damaged {kind} file: its pixels cannot be decoded")
    check_size(name, raw.shape[0], raw.shape[1])
    if raw.dtype not in (np.uint8, np.uint16):
        raise SourceError(
            f"{name} has {raw.dtype} pixels; expected 8 or 16 bits per channel. Convert it first."
        )
    if header.photometric in COLOURS_OF_LIGHT:
        raise SourceError(
            f"{name} has {COLOURS_OF_LIGHT[header.photometric]} colours; expected grey or RGB. "
            "Convert it first."
        )
    shown = 1 if raw.ndim == 2 else raw.shape[2]
    if header.channels > max(shown, 2) and header.photometric != SEPARATED:
        raise SourceError(
            f"{name} has {header.channels} channels, of which only {shown} can be read; expected "
            "grey or RGB. Save the channel that counts as a file of its own"
        )
    if kind == "TIFF" and header.channels == 2:
        raise SourceError(
            f"{name} has a grey and an alpha channel, and TIFF files with those cannot be read "
            "whole; save it without alpha, or as PNG"
        )
    how = intensity or Intensity()
    if raw.ndim == 2 or raw.shape[2] == 1:
        grey = raw.reshape(raw.shape[:2])
        # cv2 turns those with 8 bits itself.
        if header.photometric == WHITE_IS_ZERO and grey.dtype == np.uint16:
            return upright(_white_is_zero(grey, name, warn, how), header.orientation)
        return upright(_grey(grey, name, warn, how), header.orientation)
    how.refuse_colour(name)
    # In TIFF files they may be so already; cv2 multiplies those with 8 bits itself.
    applied = header.alpha == 1 or (header.alpha == 2 and raw.dtype == np.uint8)
    colours = _to_rgb(_to_uint8(raw, name, warn), name, warn, applied)
    return upright(colours, header.orientation)


def decoded(data: bytes) -> NDArray[Any] | None:
    """What cv2 makes of an image file: as stored, BGR; None if it cannot."""
    if sniff(data[:HEAD_BYTES]) == "PNG":
        data = still_png(data)
    with quiet_cv2():
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except (cv2.error, MemoryError):
            return None


def _grey(raw: NDArray[Any], name: str, warn: Warn, intensity: Intensity) -> Pixels:
    """Grey levels of an 8-bit or 16-bit image."""
    if intensity.window is not None:
        return intensity.stretch(raw, intensity.window)
    if raw.dtype == np.uint16 and intensity.deep:
        low, high = int(raw.min()), int(raw.max())
        if high >= UPPER_HALF:
            return np.asarray(raw, np.uint16)
        warn(f"{name} has 16 bits per pixel; its own range {low}..{high} was stretched to 0..65535")
        return intensity.stretch(raw, (low, high))
    return _to_uint8(raw, name, warn)


def _white_is_zero(raw: NDArray[Any], name: str, warn: Warn, intensity: Intensity) -> Pixels:
    """Grey levels of a 16-bit image whose smallest value is white."""
    low, high = int(raw.min()), int(raw.max())
    if intensity.window is not None:
        # Between the same values, from white to black: of integers, -x runs the other way.
        start, end = intensity.window
        return intensity.stretch(-raw.astype(np.int64), (-end, -start))
    # Scanners with fewer bits: within the range that they use.
    total = 65535 if high >= UPPER_HALF else low + high
    return _grey((total - raw.astype(np.int64)).astype(np.uint16), name, warn, intensity)


def _to_uint8(raw: NDArray[Any], name: str, warn: Warn) -> NDArray[np.uint8]:
    if raw.dtype == np.uint8:
        return np.asarray(raw, np.uint8)
    has_alpha = raw.ndim == 3 and raw.shape[2] == 4
    colours = raw[..., :3] if has_alpha else raw
    scaled, how = window_uint16(np.asarray(colours, np.uint16))
    warn(f"{name} has 16 bits per pixel; {how}")
    if has_alpha:
        alpha = np.round(_LEVELS / 257).astype(np.uint8)[raw[..., 3:]]
        return np.concatenate([scaled, alpha], axis=2)
    return scaled


def window_uint16(values: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], str]:
    """Bring 16-bit values to 8 bits: 1/257 if the upper half is in use, else min-max.

    12-bit scanners store 0..4095 in 16 bits; 1/257 would make such an image black.

    Returns:
        uint8 values of the same shape, and words that say what was done.
    """
    low, high = int(values.min()), int(values.max())
    if high >= UPPER_HALF:
        table = np.round(_LEVELS / 257.0)
        how = "0..65535 was mapped to 0..255"
    else:
        table = np.round((np.clip(_LEVELS, low, high) - low) * (255.0 / max(high - low, 1)))
        how = f"its own range {low}..{high} was stretched to 0..255"
    return table.astype(np.uint8)[values], how  # floats of a large picture would take gigabytes


def _to_rgb(
    pixels: NDArray[np.uint8], name: str, warn: Warn, applied: bool = False
) -> NDArray[np.uint8]:
    """BGR or BGRA to RGB; the colours may be multiplied by alpha already."""
    rgb = pixels[..., 2::-1]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:]
        if alpha.min() < 255:
            warn(f"{name} is partly transparent; it was laid on black")
            if not applied:
                rgb = on_black(rgb, alpha)
    return np.ascontiguousarray(rgb)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo EXIF orientation 1..8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels.copy()  # contiguous
