"""The images of a case as an engine may want them: as frames, and ready for the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samedge.errors import FrameError
from samedge.families import Family
from samedge.fold.probes import eager_input, network_pixels
from samedge.geometry.filters import pil_coefficients, split_planes
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from tests.golden.cases import Case, read_image


@dataclass(frozen=True)
class CaseImage:
    """One image, several that are run as a batch, or a stack of slices.

    Attributes:
        key: equal for equal images, for caches.
        network_input: float32 [B, C, S, S], scaled, normalised and padded.
        frames: one for each run of the encoder: uint8 [H, W] or [H, W, 3], or for a family of
            volumes [slices, H, W]; empty where no 8-bit frame gives `network_input`.
        geometries: resize the frames to the network input, one each.
    """

    key: str
    network_input: NDArray[np.float32]
    frames: tuple[NDArray[np.uint8], ...] = ()
    geometries: tuple[FrameGeometry, ...] = ()

    @property
    def frame(self) -> NDArray[np.uint8] | None:
        """The only frame; None if there is none."""
        assert len(self.frames) < 2
        return self.frames[0] if self.frames else None

    @property
    def geometry(self) -> FrameGeometry | None:
        """Its geometry."""
        assert len(self.geometries) < 2
        return self.geometries[0] if self.geometries else None

    def parts(self) -> list[CaseImage]:
        """One image per run of the encoder."""
        if len(self.frames) < 2:
            return [self]
        step = len(self.network_input) // len(self.frames)
        return [
            CaseImage(f"{self.key}:{i}", self.network_input[i * step : (i + 1) * step], (f,), (g,))
            for i, (f, g) in enumerate(zip(self.frames, self.geometries, strict=True))
        ]


def case_images(case: Case, family: Family) -> list[CaseImage]:
    """The images of a case, ready for the network; a batch or a stack counts as one."""
    if case.kind == "stack":
        return [_stack(case, family)]
    if case.kind == "slices":
        volume = case.given["volume"]
        return [case_image(v, f"{case.id}:{i}", family) for i, v in enumerate(volume)]
    frames = case.read_images()
    if case.three_channels:
        return [three_channels(f, name) for f, name in zip(frames, case.images, strict=True)]
    names = [f"{name}:{case.kind}" for name in case.images]
    names += [f"{case.id}:{i}" for i in range(len(names), len(frames))]
    at_scale = case.kind in ("modules", "points", "automatic", "classes")
    if case.kind in ("points", "automatic"):
        _check_size(case, frames, family.input_size)
    if case.kind == "classes":  # an image of another size goes the way of a slice
        at_scale = all(frame.shape == (family.input_size,) * 2 for frame in frames)
    images = [
        case_image(frame, name, family, resized=not at_scale)
        for frame, name in zip(frames, names, strict=True)
    ]
    return [_batch(images)] if case.kind == "clicks" else images


def _check_size(case: Case, frames: list[NDArray[np.uint8]], size: int) -> None:
    for frame in frames:
        if frame.shape != (size, size):
            raise FrameError(
                f"{case.images[0]}: is {frame.shape}; {case.id} expects a {size} x {size} image"
            )


def case_image(
    frame: NDArray[np.uint8], key: str, family: Family, resized: bool = True
) -> CaseImage:
    """A frame ready for the network; `resized` False: padded only, as SAM's `preprocess` does."""
    height, width = frame.shape[-2:] if family.slices > 1 else frame.shape[:2]
    make = frame_geometry if resized else padding_geometry
    geometry = make(family, height, width)
    values = eager_input(network_pixels(frame, family, geometry), family).numpy()
    return CaseImage(key, values, (frame,), (geometry,))


def _stack(case: Case, family: Family) -> CaseImage:
    """A volume [H, W, D] as stacks of as many slices as the encoder takes."""
    volume = np.ascontiguousarray(case.given["volume"].transpose(2, 0, 1))
    if len(volume) % family.slices:
        raise FrameError(f"{case.id}: {len(volume)} slices do not come in {family.slices}s")
    stacks = [volume[i : i + family.slices] for i in range(0, len(volume), family.slices)]
    return _batch([case_image(v, f"{case.id}:{i}", family) for i, v in enumerate(stacks)])


def _batch(images: list[CaseImage]) -> CaseImage:
    return CaseImage(
        "+".join(image.key for image in images),
        np.concatenate([image.network_input for image in images]),
        tuple(image.frames[0] for image in images),
        tuple(image.geometries[0] for image in images),
    )


def padding_geometry(family: Family, height: int, width: int) -> FrameGeometry:
    """A frame that is already at network scale: padded at the right and bottom, not resized."""
    size = family.input_size
    if max(height, width) > size:
        raise FrameError(f"a {height} x {width} image does not fit the {size} x {size} input")
    square = frame_geometry(family, size, size)

    def planes(side: int) -> NDArray[np.float32]:
        if family.rounded:
            identity = split_planes(pil_coefficients(side, side))
        else:
            identity = np.eye(side, dtype=np.float32)[None]
        return np.pad(identity, ((0, 0), (0, size - side), (0, 0)))

    return replace(
        square,
        height=height,
        width=width,
        crop=(0, 0, width, height),
        valid=(height, width),
        rows=planes(height),
        cols=planes(width),
        valid_rows=(np.arange(size) < height).astype(np.float32),
        valid_cols=(np.arange(size) < width).astype(np.float32),
        mask_rows=square.mask_rows[:height],
        mask_cols=square.mask_cols[:width],
    )


def three_channels(frame: NDArray[np.uint8], name: str) -> CaseImage:
    """SAMUS's three-channel case: grey, 0.8 grey + 0.05 and 1 - grey; no 8-bit frame is that."""
    grey = frame.astype(np.float32) / np.float32(255)
    planes = (grey, np.float32(0.8) * grey + np.float32(0.05), np.float32(1) - grey)
    return CaseImage(f"{name}:three", np.stack(planes)[None].astype(np.float32))


def network_square(family: Family) -> FrameGeometry:
    """The geometry of a frame that has the network's own size."""
    return frame_geometry(family, family.input_size, family.input_size)


def out_size_square(family: Family) -> FrameGeometry:
    """Prompts in px of the network input, masks at Medical SAM Adapter's `out_size`."""
    square = network_square(family)
    size = family.upscale_size
    out = frame_geometry(family, size, size)
    return replace(
        square, height=size, width=size, mask_rows=out.mask_rows, mask_cols=out.mask_cols
    )


@dataclass(frozen=True)
class Sample:
    """What SAMUS's dataset class makes of a label image, at network size S.

    Attributes:
        label: uint8 [1, 1, S, S], 0 or 1.
        point_coords: float32 [1, 1, 2], (x, y); point_labels: int32 [1, 1].
        bbox: int64 [1, 4], (x0, y0, x1, y1).
    """

    label: NDArray[np.uint8]
    point_coords: NDArray[np.float32]
    point_labels: NDArray[np.int32]
    bbox: NDArray[np.int64]


def dataset_sample(case: Case, size: int) -> Sample:
    """Label, click and box of a dataset case (SAMUS's `ImageToImage2D` with `fixed_click`)."""
    stored = np.minimum(read_image(case.folder / "images" / case.label, colour=False), 1)
    image = Image.fromarray(stored).resize((size, size), Image.Resampling.NEAREST)
    label = np.asarray(image, dtype=np.uint8)
    wanted = int(label.any())
    rows, columns = np.nonzero(label == wanted)
    middle = len(rows) // 2
    box: list[Any] = [-1, -1, size, size]
    if wanted:
        box = [columns.min(), rows.min(), columns.max(), rows.max()]
    return Sample(
        label=label[None, None],
        point_coords=np.array([[[columns[middle], rows[middle]]]], dtype=np.float32),
        point_labels=np.array([[wanted]], dtype=np.int32),
        bbox=np.array([box], dtype=np.int64),
    )
