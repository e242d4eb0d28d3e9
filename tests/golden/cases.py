"""A folder of reference vectors -> cases: what to feed, and which arrays are wanted.

Any folder in this layout works: `index.json`, `manifests/`, `images/`, `<system>/<case>.npz`. A
system whose weights were trained has an index of its own, `<system>/index.json`, which names them.
Inputs are taken from the images, the index and the given arrays of a case; its other arrays are
only read to compare.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "vectors"  # the small copy
SHARED = Path(os.environ.get("SAMEDGE_GOLDEN", HERE.parents[2] / "shared" / "golden"))
FULL = SHARED if (SHARED / "index.json").exists() else VECTORS

SYSTEMS = ("sam", "medsam", "samed", "msa", "samus", "autosamus", "litemedsam", "mobile_sam")
TRAINED = ("litemedsam",)  # systems with an index of their own
COLOURED = ("sam", "medsam", "msa", "litemedsam", "mobile_sam")  # their images are read in colour
PROMPTS = ("point_coords", "point_labels", "box", "boxes", "mask_input")
STACKS = ("volume", "click_prompt")  # given with volumes, besides the prompts


@dataclass(frozen=True)
class Case:
    """One entry of the index.

    Attributes:
        folder: the folder of reference vectors.
        id, system, file, about: as in the index.
        checkpoints: (manifest name, seed), in loading order.
        weights: SHA-256 of a file of trained weights instead, else "".
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
    weights: str
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
        return self._given(PROMPTS)

    @property
    def given(self) -> dict[str, NDArray[Any]]:
        """All arrays that are input: prompts, and volumes with what belongs to them."""
        label = ("mask",) if self.kind == "stack" else ()
        return self._given((*PROMPTS, *STACKS, *label))

    def _given(self, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        return {n: self.reference[n] for n in names if n in self.arrays and n in self.reference}

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
        """What has to be done: a method of `CaseRunner`."""
        if self.label:
            return "dataset"
        if self.system in ("sam", "mobile_sam"):
            return "predictor" if "masks" in self.arrays else "modules"
        if self.system == "msa":
            return "stack" if "volume" in self.arrays else "clicks"
        if self.system == "samed":
            if "volume" in self.arrays:
                return "slices"
            return "classes" if self.images else "tables"
        kinds = {"medsam": "boxes", "samus": "points", "autosamus": "automatic"}
        return {**kinds, "litemedsam": "whole boxes"}[self.system]

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """What `open_checkpoint` has to be told besides the files."""
        if self.system == "medsam":
            return (("family", "medsam"),)
        if self.system in ("litemedsam", "mobile_sam"):  # nothing in their files tells the size
            logits = next(s for n, s in self.arrays.items() if n.startswith("low_res_logits"))
            px = 1 if self.system == "litemedsam" else 4
            return (("family", self.system), ("input_size", px * logits[-1]))
        if self.kind in ("classes", "slices"):
            return (("input_size", 4 * self.arrays["low_res_logits"][-1]),)
        if self.kind == "stack":
            found = re.search(r"chunk=(\d+)", self.about)
            slices = self.arrays["volume"][2]
            return (("chunk", int(found[1])),) if found else (("slices", slices), ("chunk", 0))
        if self.kind == "clicks" and self.arrays["low_res_logits"][1] > 1:
            return (("classes", self.arrays["low_res_logits"][1]),)
        return ()

    @property
    def three_channels(self) -> bool:
        """Whether the network gets three different channels made from a grey image (SAMUS)."""
        return "three-channel" in self.about or "three_channels" in self.id

    @property
    def multimask(self) -> bool:
        """Whether a predictor case asks for several masks."""
        return self.arrays["low_res_logits"][0] > 1

    def read_images(self) -> list[NDArray[np.uint8]]:
        """Its images: uint8 [H, W], or [H, W, 3] RGB where the system reads colours.

        Batches that the index names one image for are that image and its left-right mirror.
        """
        colour = self.system in COLOURED
        images = [read_image(self.folder / "images" / n, colour) for n in self.images]
        if self.kind == "classes" and self.arrays["low_res_logits"][0] == 2 and len(images) == 1:
            images.append(np.ascontiguousarray(images[0][:, ::-1]))
        return images


def _usual_traces(system: str, count: int, arrays: Container[str]) -> list[str]:
    """What the reference vectors trace, for an encoder of the depth that `count` tells."""
    decoder = ["mask_decoder.transformer[0]", "mask_decoder.transformer[1]"]
    encoder = "image_encoder."

    def blocks(depth: int, parts: tuple[str, ...] = ("",)) -> list[str]:
        return [f"{encoder}blocks.{i}{part}" for i in range(depth) for part in parts]

    if system == "sam" and "image_embedding" not in arrays:
        return decoder
    if system == "sam" or "volume" in arrays:
        return [f"{encoder}patch_embed", *blocks(count - 2), f"{encoder}neck"]
    if system in ("samed", "msa"):
        return [f"{encoder}patch_embed", *blocks(count - 4), f"{encoder}neck", *decoder]
    streams = ("[0]", "[1]")
    if system == "autosamus":
        own = [*(f"prompt_generator[{i}]" for i in range(3)), "feature_adapter"]
        encoded = blocks((count - 8) // 2, streams)
        return [f"{encoder}patch_embed", *encoded, f"{encoder}neck", *own, *decoder]
    parts = ("cnn_embed", "patch_embed", "input_Adapter", "post_pos_embed")
    encoded = blocks((count - 7) // 2, streams)
    return [*(encoder + part for part in parts), *encoded, f"{encoder}neck", *decoder]


def read_cases(folder: Path) -> list[Case]:
    """All cases of a folder.

    Raises:
        SourceError: no index, or an index that lacks entries.
    """
    own = [system for system in TRAINED if (folder / system / "index.json").exists()]
    try:
        cases = []
        if (folder / "index.json").exists() or not own:
            document = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            cases = [_case(folder, entry) for entry in document["cases"]]
        for system in own:
            document = json.loads((folder / system / "index.json").read_text(encoding="utf-8"))
            about = {"system": system, "checkpoints": [], "weights": document["weights"]["sha256"]}
            cases += [
                _case(folder, {"id": Path(entry["file"]).stem, **about, **entry})
                for entry in document["cases"]
            ]
        return cases
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
        weights=entry.get("weights", ""),
        images=tuple(images),
        label=entry.get("label", ""),
        resized_sha256=entry.get("resized_sha256", ""),
        arrays={name: tuple(shape) for name, (_, shape) in entry["arrays"].items()},
    )


def read_image(path: Path, colour: bool) -> NDArray[np.uint8]:
    """An image file: as it is, with colours as RGB; or as grey [H, W]."""
    flag = cv2.IMREAD_ANYCOLOR if colour else cv2.IMREAD_GRAYSCALE
    image = cv2.imread(str(path), flag)
    if image is None:
        raise SourceError(f"{path.name}: cannot be read as an image")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image
    return np.asarray(image, dtype=np.uint8)
