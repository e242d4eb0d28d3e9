"""Runs cases through an engine and writes their arrays; see `run.py` for the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.checkpoint import Checkpoint, open_checkpoint
from samedge.geometry import FrameGeometry, frame_geometry
from tests.golden.cases import (
    SYSTEMS,
    Case,
    CaseImage,
    case_images,
    dataset_sample,
)
from tests.golden.engines import Engine, Prompt
from tests.golden.synth_weights import write_checkpoint

Arrays = dict[str, NDArray[Any]]
TRACES = ("trace_names", "trace_values")  # of inner layers; only the eager stage has those


def unsupported(case: Case) -> str:
    """Why a case is skipped; empty if it is run."""
    return SYSTEMS.get(case.system, f"system '{case.system}' is unknown")


@contextmanager
def opened_checkpoint(case: Case) -> Iterator[Checkpoint]:
    """The checkpoint of a case, written by the formula and read back as any user's file."""
    with TemporaryDirectory(prefix="samedge-golden-") as folder:
        files = []
        for index, (manifest, seed) in enumerate(case.checkpoints):
            out = Path(folder) / f"{index}-{manifest}-{seed}.pth"
            write_checkpoint(case.folder / "manifests" / f"{manifest}.json", seed, out)
            files.append(out)
        yield open_checkpoint(*files)


def network_square(engine: Engine) -> FrameGeometry:
    """The geometry of a frame that has the network's own size: SAMUS is scored there."""
    size = engine.family.input_size
    return frame_geometry(engine.family, size, size)


class CaseRunner:
    """Runs all cases of one checkpoint; encodes each image once.

    Args:
        engine: of any stage.
        checkpoint: for arrays that show how it was loaded.
        cases: those that will be run, so that all their traces are recorded.
    """

    def __init__(self, engine: Engine, checkpoint: Checkpoint, cases: list[Case]) -> None:
        self.engine, self.checkpoint = engine, checkpoint
        self._embeddings: dict[str, tuple[NDArray[np.float32], Arrays]] = {}
        engine.watch(sorted({name for case in cases for name in case.trace_names}))

    def run(self, case: Case) -> Arrays:
        """All arrays of a case under their names.

        Names with a leading underscore are for the comparison and are not written.
        """
        images = case_images(case, self.engine.family)
        self.engine.traces.clear()
        kinds: dict[str, Callable[[Case, list[CaseImage]], Arrays]] = {
            "predictor": self._predictor,
            "dataset": self._dataset,
            "modules": self._sam_modules if case.system == "sam" else self._samus_modules,
        }
        arrays = kinds[case.kind](case, images)
        arrays.update(
            {n: self.checkpoint.tensors[n].numpy() for n in case.arrays if "rel_pos" in n}
        )
        arrays.update(self._traces(case))
        wanted = {**case.prompts, **arrays}
        return {n: a for n, a in wanted.items() if n in case.arrays or n.startswith("_")}

    def _encode(self, image: CaseImage) -> NDArray[np.float32]:
        if image.key not in self._embeddings:
            before = set(self.engine.traces)
            embedding = self.engine.encode(image)
            new = {k: v for k, v in self.engine.traces.items() if k not in before}
            self._embeddings[image.key] = (embedding, new)
        embedding, traces = self._embeddings[image.key]
        self.engine.traces.update(traces)
        return embedding

    def _traces(self, case: Case) -> Arrays:
        names = case.trace_names
        if not names or not self.engine.traces:
            return {}
        values = np.stack([self.engine.traces[name] for name in names])
        return {"trace_names": np.array(names), "trace_values": values}

    def _sam_modules(self, case: Case, images: list[CaseImage]) -> Arrays:
        """Encoder, and prompts in the network's own frame."""
        image, given = images[0], case.prompts
        geometry = image.geometry
        assert geometry is not None
        arrays: Arrays = {"image_embedding": self._encode(image)}
        prompt = Prompt(
            given.get("point_coords"),
            given.get("point_labels"),
            given.get("box"),
            given.get("mask_input"),
        )
        for suffix, multimask in (("multi", True), ("single", False)):
            if f"logits_{suffix}" in case.arrays:
                asked = replace(prompt, multimask=multimask)
                decoded = self.engine.decode(image, arrays["image_embedding"], asked, geometry)
                arrays[f"logits_{suffix}"], arrays[f"iou_{suffix}"] = decoded.low_res, decoded.iou
        if any(name.endswith(("_embeddings", "_embeddings_sample")) for name in case.arrays):
            sparse, dense = self.engine.prompt_embeddings(prompt, geometry)
            arrays["sparse_embeddings"] = sparse
            arrays["dense_embeddings_sample"] = dense.flatten()[::997]
        return arrays

    def _predictor(self, case: Case, images: list[CaseImage]) -> Arrays:
        """SAM's predictor: one prompt in the pixels of the original image."""
        image = images[0]
        frame, geometry = image.frame, image.geometry
        assert frame is not None
        assert geometry is not None
        given: dict[str, Any] = {name: array[None] for name, array in case.prompts.items()}
        prompt = Prompt(
            given.get("point_coords"),
            given.get("point_labels"),
            given.get("box"),
            given.get("mask_input"),
            case.multimask,
        )
        embedding = self._encode(image)
        decoded = self.engine.decode(image, embedding, prompt, geometry)
        resized = self.engine.resized(image)[: geometry.valid[0], : geometry.valid[1]]
        digest = hashlib.sha256(np.ascontiguousarray(resized).tobytes()).hexdigest()
        return {
            "original_size": np.array(frame.shape[:2], dtype=np.int64),
            "input_size": np.array(geometry.valid, dtype=np.int64),
            "resized_sample": resized[::16, ::16],
            "embedding_sample": embedding.flatten()[::1009],
            "masks": decoded.masks[0],
            "iou": decoded.iou[0],
            "low_res_logits": decoded.low_res[0],
            "full_logits": decoded.full[0, :1],
            "_masks_logits": decoded.full[0],
            "_resized_sha256": np.array(digest),
        }

    def _samus_modules(self, case: Case, images: list[CaseImage]) -> Arrays:
        """Points in the network's frame: [B, P, 2], or [B, N, P, 2] for N objects per image."""
        coords, labels = case.prompts["point_coords"], case.prompts["point_labels"]
        if coords.ndim == 3:
            coords, labels = coords[:, None], labels[:, None]
        embeddings, low_res, full = [], [], []
        square = network_square(self.engine)
        for image, xy, label in zip(images, coords, labels, strict=True):
            embeddings.append(self._encode(image))
            decoded = self.engine.decode(image, embeddings[-1], Prompt(xy, label), square)
            low_res.append(decoded.low_res[:, 0])
            full.append(decoded.full[:, 0])
        masks = np.stack(full)
        return {
            "image_embedding": np.concatenate(embeddings),
            "low_res_logits": np.stack(low_res),
            "masks_logits": masks,
            "masks_logits_sample": masks[:, :, ::4, ::4],
        }

    def _dataset(self, case: Case, images: list[CaseImage]) -> Arrays:
        """SAMUS's dataset path: image and label file to segmentation, all at network size."""
        image = images[0]
        sample = dataset_sample(case, self.engine.family.input_size)
        prompt = Prompt(sample.point_coords, sample.point_labels)
        square = network_square(self.engine)
        decoded = self.engine.decode(image, self._encode(image), prompt, square)
        return {
            "network_input_u8": self.engine.resized(image)[None, None],
            "label": sample.label,
            "point_coords": sample.point_coords,
            "point_labels": sample.point_labels,
            "bbox": sample.bbox,
            "low_res_logits": decoded.low_res,
            "masks_logits_sample": decoded.full[:, :, ::4, ::4],
            "seg": decoded.masks[:, 0],
            "_seg_logits": decoded.full[:, 0],
        }


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a case's arrays under the reference's file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{n: a for n, a in arrays.items() if not n.startswith("_")})
