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

from samedge.checkpoint import Checkpoint, open_checkpoint, released
from samedge.checkpoint.pour import resize_position_tables
from samedge.errors import CheckpointError
from samedge.geometry.mask_values import decision_distance
from samedge.geometry.network_input import resize_frame, to_network_colours
from tests.golden.cases import SYSTEMS, Case
from tests.golden.engines import Decoded, Engine, Prompt, tokens_of
from tests.golden.images import (
    CaseImage,
    case_images,
    dataset_sample,
    network_square,
    out_size_square,
)
from tests.golden.synth_weights import write_checkpoint

Arrays = dict[str, NDArray[Any]]
TRACES = ("trace_names", "trace_values")  # of inner layers; only the eager stage has those


def unsupported(case: Case) -> str:
    """Why a case is skipped; empty if it is run."""
    if case.system not in SYSTEMS:
        return f"system '{case.system}' is unknown"
    if not case.weights:
        return ""
    if case.weights != released.LITE_MEDSAM_SHA256:
        return f"weights with SHA-256 {case.weights[:12]}... are unknown"
    try:
        released.lite_medsam()
    except CheckpointError as error:
        return str(error)
    return ""


@contextmanager
def opened_checkpoint(case: Case) -> Iterator[Checkpoint]:
    """The checkpoint of a case: trained weights, or a file that is written by the formula and
    read back as any user's file."""
    if case.weights:
        yield open_checkpoint(released.lite_medsam(), **dict(case.options))
        return
    with TemporaryDirectory(prefix="samedge-golden-") as folder:
        files = []
        for index, (manifest, seed) in enumerate(case.checkpoints):
            out = Path(folder) / f"{index}-{manifest}-{seed}.pth"
            write_checkpoint(case.folder / "manifests" / f"{manifest}.json", seed, out)
            files.append(out)
        yield open_checkpoint(*files, **dict(case.options))


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
            "modules": self._sam_modules,
            "boxes": self._boxes,
            "whole boxes": self._whole_boxes,
            "classes": self._classes,
            "slices": self._classes,
            "tables": self._tables,
            "clicks": self._clicks,
            "stack": self._clicks,
            "points": self._samus_modules,
            "dataset": self._dataset,
            "automatic": self._automatic,
        }
        arrays = kinds[case.kind](case, images)
        if case.kind != "tables":
            tensors = self.checkpoint.tensors
            arrays.update({n: tensors[n].numpy() for n in case.arrays if "rel_pos" in n})
        arrays.update(self._traces(case))
        wanted = {**case.given, **arrays}
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
        image = images[0]
        geometry = image.geometry
        assert geometry is not None
        arrays: Arrays = {"image_embedding": self._encode(image)}
        prompt = _prompt(case.prompts)
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
        given = {name: array[None] for name, array in case.prompts.items()}
        prompt = replace(_prompt(given), multimask=case.multimask)
        embedding = self._encode(image)
        decoded = self.engine.decode(image, embedding, prompt, geometry)
        resized = self._levels(image)[: geometry.valid[0], : geometry.valid[1]]
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
            "_masks_distance": self._distance(decoded)[0],
            "_resized_sha256": np.array(digest),
        }

    def _levels(self, image: CaseImage) -> NDArray[np.uint8]:
        """The frame at network scale, uint8 [S, S] or [S, S, 3]."""
        levels = np.moveaxis(np.rint(self.engine.pixels(image)[0]).astype(np.uint8), 0, 2)
        return np.ascontiguousarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)

    def _distance(self, decoded: Decoded) -> NDArray[np.float32]:
        """How far each pixel of the masks is from another decision, in logits."""
        return decision_distance(decoded.full, self.engine.family)

    def _boxes(self, case: Case, images: list[CaseImage]) -> Arrays:
        """MedSAM: boxes in the pixels of the original image, one mask each."""
        image = images[0]
        geometry = image.geometry
        assert geometry is not None
        boxes = np.atleast_2d(case.given["box"])
        embedding = self._encode(image)
        decoded = self.engine.decode(image, embedding, Prompt(boxes=boxes), geometry)
        sides = np.array([geometry.width, geometry.height] * 2)
        single = len(case.arrays["mask"]) == 2  # the original squeezes a single mask
        masks, distance = decoded.masks[:, 0], self._distance(decoded)[:, 0]
        return {
            "box_1024": boxes / sides * self.engine.family.input_size,
            "input_sample": self.engine.pixels(image)[0, :, ::16, ::16],
            "image_embedding": embedding,
            "low_res_logits": decoded.low_res,
            "mask": masks[0] if single else masks,
            "_mask_distance": distance[0] if single else distance,
        }

    def _whole_boxes(self, case: Case, images: list[CaseImage]) -> Arrays:
        """LiteMedSAM: boxes in the pixels of the original image, each by itself; the name of
        an array ends with its box's number."""
        image, family = images[0], self.engine.family
        frame, geometry = image.frame, image.geometry
        assert frame is not None
        assert geometry is not None
        embedding = self._encode(image)
        arrays: Arrays = {
            "resized": self._stretched_levels(image),
            "image_embedding_sample": (
                embedding
                if len(case.arrays["image_embedding_sample"]) == 4
                else embedding.flatten()[::1009]
            ),
        }
        prompt = Prompt(boxes=case.given["boxes"])
        for i in range(prompt.count):
            decoded = self.engine.decode(image, embedding, prompt.only(i), geometry)
            corners, _ = tokens_of(prompt.only(i), geometry, family)
            arrays |= {
                f"box_256_{i}": np.rint(corners).astype(np.int64).reshape(4),
                f"low_res_logits_{i}": decoded.low_res,
                f"iou_{i}": decoded.iou,
                f"mask_{i}": decoded.masks[0, 0],
                f"_mask_{i}_distance": self._distance(decoded)[0, 0],
            }
        return arrays

    def _stretched_levels(self, image: CaseImage) -> NDArray[np.uint8]:
        """The resized frame of a family that stretches each image, uint8 [h, w, C] without padding:
        the engine's 0..1 between the extremes of the frame as the geometry resizes it."""
        frame, geometry, family = image.frame, image.geometry, self.engine.family
        assert frame is not None
        assert geometry is not None
        height, width = geometry.valid
        levels = resize_frame(to_network_colours(frame, family), geometry, family)[:height, :width]
        low, high = int(levels.min()), int(levels.max())
        pixels = self.engine.pixels(image)[0, :, :height, :width].astype(np.float64)
        return np.moveaxis(np.rint(pixels * (high - low) + low).astype(np.uint8), 0, 2)

    def _classes(self, case: Case, images: list[CaseImage]) -> Arrays:
        """SAMed: all classes of images at network scale, or of slices of a volume."""
        answers, embeddings = [], []
        for image in images:
            geometry = image.geometry
            assert geometry is not None
            embeddings.append(self._encode(image))
            answers.append(self.engine.decode(image, embeddings[-1], Prompt(), geometry))
        decoded = Decoded.joined(answers)
        levels = np.concatenate([self.engine.pixels(image)[:, 0] for image in images])
        # From the engine's own masks, of which exactly one is 1 at every pixel.
        assert (decoded.masks.sum(axis=1) == 1).all()
        found = decoded.masks.argmax(axis=1).astype(np.uint8)
        return {
            "image_embedding": np.concatenate(embeddings),
            "low_res_logits": decoded.low_res,
            "iou_predictions": decoded.iou,
            "masks_sample": decoded.full[:, :, ::8, ::8],
            "network_input_sample": levels[:, ::8, ::8] / 255,
            "class_map": found,
            "_class_map_distance": self._distance(decoded)[:, 0],
        }

    def _tables(self, case: Case, _images: list[CaseImage]) -> Arrays:
        """SAMed: a base's position tables after it was loaded for a smaller input."""
        config = self.checkpoint.variant.config
        blocks = config["global_blocks"]
        rows = {n: shape[0] for n, shape in case.arrays.items() if n.endswith("rel_pos_h")}
        grid = (next(iter(rows.values())) + 1) // 2
        tensors, _ = resize_position_tables(self.checkpoint.tensors, blocks, grid)
        arrays = {n: tensors[n].numpy() for n in case.arrays if n in tensors}
        table = "image_encoder.blocks.{}.attn.rel_pos_h"
        depth = range(config["depth"])
        arrays["rel_pos_rows"] = np.array([len(tensors[table.format(i)]) for i in depth])
        arrays["pos_embed_sample"] = tensors["image_encoder.pos_embed"].numpy()[0, ::4, ::4, ::8]
        return arrays

    def _clicks(self, case: Case, images: list[CaseImage]) -> Arrays:
        """Medical SAM Adapter: one click per image or slice, in px of the network input."""
        image, family = images[0], self.engine.family
        embedding = self._encode(image)
        prompt = _prompt(case.prompts)
        decoded = self.engine.decode(image, embedding, prompt, out_size_square(family))
        step = 8 if case.kind == "stack" else 16
        scale = 255 if case.kind == "stack" else 1
        return {
            "image_embedding": embedding,
            "low_res_logits": decoded.low_res,
            "iou": decoded.iou,
            "out_logits": decoded.full,
            "input_sample": self.engine.pixels(image)[:, :, ::step, ::step] / scale,
        }

    def _samus_modules(self, case: Case, images: list[CaseImage]) -> Arrays:
        """Points in the network's frame: [B, P, 2], or [B, N, P, 2] for N objects per image."""
        coords, labels = case.prompts["point_coords"], case.prompts["point_labels"]
        if coords.ndim == 3:
            coords, labels = coords[:, None], labels[:, None]
        prompts = [Prompt(xy, label) for xy, label in zip(coords, labels, strict=True)]
        return self._at_network_size(images, prompts)

    def _automatic(self, _case: Case, images: list[CaseImage]) -> Arrays:
        """AutoSAMUS: no prompt."""
        return self._at_network_size(images, [Prompt()] * len(images))

    def _at_network_size(self, images: list[CaseImage], prompts: list[Prompt]) -> Arrays:
        embeddings, low_res, full = [], [], []
        square = network_square(self.engine.family)
        for image, prompt in zip(images, prompts, strict=True):
            embeddings.append(self._encode(image))
            decoded = self.engine.decode(image, embeddings[-1], prompt, square)
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
        image, family = images[0], self.engine.family
        sample = dataset_sample(case, family.input_size)
        prompt = Prompt(sample.point_coords, sample.point_labels)
        square = network_square(family)
        decoded = self.engine.decode(image, self._encode(image), prompt, square)
        return {
            "network_input_u8": self._levels(image)[None, None],
            "label": sample.label,
            "point_coords": sample.point_coords,
            "point_labels": sample.point_labels,
            "bbox": sample.bbox,
            "low_res_logits": decoded.low_res,
            "masks_logits_sample": decoded.full[:, :, ::4, ::4],
            "seg": decoded.masks[:, 0],
            "_seg_distance": self._distance(decoded)[:, 0],
        }


def _prompt(given: dict[str, NDArray[Any]]) -> Prompt:
    return Prompt(
        given.get("point_coords"),
        given.get("point_labels"),
        given.get("box"),
        given.get("mask_input"),
    )


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a case's arrays under the reference's file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{n: a for n, a in arrays.items() if not n.startswith("_")})
