"""A folder of reference vectors -> cases: what to feed, and which arrays are wanted.

Any folder in this layout works: `index.json`, `manifests/`, `images/`, `<system>/<case>.npz`.
Inputs are taken from the images, the index and the prompt arrays of a case; its other arrays are
only read to compare.
"""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samedge.errors import FrameError, SourceError
from samedge.families import Family
from samedge.frame_inputs import resize_frame
from samedge.geometry import FrameGeometry, frame_geometry
from samedge.resampling import pil_coefficients, split_planes

# System -> why it is not run, or "" if it is.
SYSTEMS = {
    "sam": "",
    "samus": "",
    "medsam": "MedSAM is not supported yet",
    "samed": "SAMed is not supported yet",
    "msa": "Medical SAM Adapter is not supported yet",
    "autosamus": "AutoSAMUS is not supported yet",
}
PROMPTS = ("point_coords", "point_labels", "box", "mask_input")


@dataclass(frozen=True)
class Case:
    """One entry of the index.

    Attributes:
        folder: the folder of reference vectors.
        id, system, file, about: as in the index.
        checkpoints: (manifest name, seed), in loading order.
        images: file names below `images/`.
        label: label image of a dataset case, else "".
        resized_sha256: digest of the resized 8-bit image, if the index has it.
        arrays: array name -> shape.
    """

    folder: Path
    id: str
    system: str
    file: str
    about: str
    checkpoints: tuple[tuple[str, int], ...]
    images: tuple[str, ...]
    label: str
    resized_sha256: str
    arrays: dict[str, tuple[int, ...]] = field(hash=False)

    @cached_property
    def reference(self) -> dict[str, NDArray[Any]]:
        """All arrays stored with the case."""
        with np.load(self.folder / self.file) as stored:
            return {name: stored[name] for name in stored.files}

    @property
    def prompts(self) -> dict[str, NDArray[Any]]:
        """The prompt arrays stored with the case."""
        return {n: self.reference[n] for n in PROMPTS if n in self.arrays and n in self.reference}

    @property
    def trace_names(self) -> list[str]:
        """Modules whose outputs are wanted; the usual ones if the file holds prompts only."""
        if "trace_names" not in self.arrays:
            return []
        if "trace_names" in self.reference:
            return [str(name) for name in self.reference["trace_names"]]
        return _usual_traces(self.system, self.arrays["trace_names"][0], self.arrays)

    @property
    def kind(self) -> str:
        """ "predictor" (SAM, original image pixels), "dataset" (SAMUS) or "modules"."""
        if self.label:
            return "dataset"
        return "predictor" if self.system == "sam" and "masks" in self.arrays else "modules"

    @property
    def three_channels(self) -> bool:
        """Whether the network gets three different channels made from a grey image (SAMUS)."""
        return "three-channel" in self.about or "three_channels" in self.id

    @property
    def multimask(self) -> bool:
        """Whether a predictor case asks for several masks."""
        return self.arrays["low_res_logits"][0] > 1

    def read_images(self) -> list[NDArray[np.uint8]]:
        """Its images: uint8 [H, W] for SAMUS, [H, W, 3] RGB for SAM."""
        return [read_image(self.folder / "images" / n, self.system == "sam") for n in self.images]


@dataclass(frozen=True)
class CaseImage:
    """One image as an engine may want it.

    Attributes:
        key: equal for equal images, for caches.
        network_input: float32 [1, C, S, S], scaled, normalised and padded.
        frame: uint8 [H, W] or [H, W, 3]; None where no 8-bit frame gives `network_input`.
        geometry: resizes `frame` to the network input; None with the frame.
    """

    key: str
    network_input: NDArray[np.float32]
    frame: NDArray[np.uint8] | None
    geometry: FrameGeometry | None


def _usual_traces(system: str, count: int, arrays: Container[str]) -> list[str]:
    """What the reference vectors trace, for an encoder of the depth that `count` tells."""
    decoder = ["mask_decoder.transformer[0]", "mask_decoder.transformer[1]"]
    encoder = "image_encoder."
    if system == "sam":
        if "image_embedding" not in arrays:
            return decoder
        blocks = [f"{encoder}blocks.{i}" for i in range(count - 2)]
        return [f"{encoder}patch_embed", *blocks, f"{encoder}neck"]
    parts = ("cnn_embed", "patch_embed", "input_Adapter", "post_pos_embed")
    blocks = [f"{encoder}blocks.{i}[{j}]" for i in range((count - 7) // 2) for j in (0, 1)]
    return [*(encoder + part for part in parts), *blocks, f"{encoder}neck", *decoder]


def read_cases(folder: Path) -> list[Case]:
    """All cases of a folder.

    Raises:
        SourceError: no index, or an index that lacks entries.
    """
    try:
        document = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return [_case(folder, entry) for entry in document["cases"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{folder.name}: cannot be read as a folder of reference vectors "
            f"({type(error).__name__}: {error}); expected index.json with a list 'cases'"
        ) from error


def _case(folder: Path, entry: dict[str, Any]) -> Case:
    images = entry.get("images") or ([entry["image"]] if "image" in entry else [])
    return Case(
        folder=folder,
        id=entry["id"],
        system=entry["system"],
        file=entry["file"],
        about=entry.get("about", ""),
        checkpoints=tuple((str(name), int(seed)) for name, seed in entry["checkpoints"]),
        images=tuple(images),
        label=entry.get("label", ""),
        resized_sha256=entry.get("resized_sha256", ""),
        arrays={name: tuple(shape) for name, (_, shape) in entry["arrays"].items()},
    )


def read_image(path: Path, colour: bool) -> NDArray[np.uint8]:
    """An image file as grey [H, W] or RGB [H, W, 3]."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SourceError(f"{path.name}: cannot be read as an image")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if colour else image
    return np.asarray(image, dtype=np.uint8)


def case_images(case: Case, family: Family) -> list[CaseImage]:
    """The images of a case, ready for the network."""
    frames = case.read_images()
    if case.three_channels:
        return [three_channels(f, name) for f, name in zip(frames, case.images, strict=True)]
    size = family.input_size
    resized = case.kind != "modules"
    for frame, name in zip(frames, case.images, strict=True):
        if case.system == "samus" and not resized and frame.shape != (size, size):
            raise FrameError(f"{name}: is {frame.shape}; {case.id} expects a {size} x {size} image")
    return [
        case_image(frame, f"{name}:{resized}", family, resized)
        for frame, name in zip(frames, case.images, strict=True)
    ]


def case_image(frame: NDArray[np.uint8], key: str, family: Family, resized: bool) -> CaseImage:
    """A frame ready for the network; `resized` False: padded only, as SAM's `preprocess` does."""
    height, width = frame.shape[:2]
    make = frame_geometry if resized else padding_geometry
    geometry = make(family, height, width)
    resized = np.atleast_3d(resize_frame(frame, geometry, family))
    planes = np.moveaxis(resized, 2, 0).astype(np.float32)
    mean = np.array(family.mean, dtype=np.float32)[:, None, None]
    std = np.array(family.std, dtype=np.float32)[:, None, None]
    valid = np.outer(geometry.valid_rows, geometry.valid_cols)
    values = (planes / np.float32(family.value_scale) - mean) / std * valid
    return CaseImage(key, values[None].astype(np.float32), frame, geometry)


def padding_geometry(family: Family, height: int, width: int) -> FrameGeometry:
    """A frame that is already at network scale: padded at the right and bottom, not resized."""
    size = family.input_size
    if max(height, width) > size:
        raise FrameError(f"a {height} x {width} image does not fit the {size} x {size} input")
    square = frame_geometry(family, size, size)

    def planes(side: int) -> NDArray[np.float32]:
        identity = split_planes(pil_coefficients(side, side))
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
    return CaseImage(f"{name}:three", np.stack(planes)[None].astype(np.float32), None, None)


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
    box = [-1, -1, size, size]
    if wanted:
        box = [columns.min(), rows.min(), columns.max(), rows.max()]
    return Sample(
        label=label[None, None],
        point_coords=np.array([[[columns[middle], rows[middle]]]], dtype=np.float32),
        point_labels=np.array([[wanted]], dtype=np.int32),
        bbox=np.array([box], dtype=np.int64),
    )
