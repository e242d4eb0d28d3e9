"""A folder of reference vectors for tiny models: every kind of case that a folder may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samedge import models as m
from samedge.checkpoint.samed import lora_file_shapes
from samedge.models.build import model_shapes
from tests.golden.cases import SYSTEMS

CONFIGS: dict[str, m.ModelConfig] = {
    "sam": m.tiny(m.SamConfig),
    "base": m.tiny(m.SamConfig, img_size=256),  # another grid than SAMed's: tables are resized
    "medsam": m.tiny(m.MedsamConfig),
    "samed": m.tiny(m.SamedConfig),
    "samed_s": m.tiny(m.SamedConfig, decoder_rank=2),
    "msa": m.tiny(m.MsaConfig),
    "samus": m.tiny(m.SamusConfig),
    # Heads of 64, as the shapes of a checkpoint are read.
    "autosamus": m.tiny(m.AutosamusConfig, generator_heads=1, generator_head_dim=64),
    "litemedsam": m.tiny(m.LiteMedsamConfig),
    "mobile_sam": m.tiny(m.MobileSamConfig),
}
LORA_FILES = ("samed", "samed_s")
FILES = {"samed": ("base", "samed")}  # system -> its files, in loading order


class TinyFolder:
    """A folder of reference vectors for tiny models, filled case by case; outputs are ours."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cases: list[dict[str, Any]] = []
        for name in ("manifests", "images", *SYSTEMS):
            (root / name).mkdir(parents=True)
        (root / "yolo").mkdir()  # a system that nobody knows
        for name, config in CONFIGS.items():
            shapes = model_shapes(config)
            self.manifest(name, lora_file_shapes(shapes) if name in LORA_FILES else shapes)

    def manifest(self, name: str, shapes: dict[str, tuple[int, ...]]) -> None:
        tensors = {k: {"shape": list(v), "dtype": "float32"} for k, v in shapes.items()}
        document = {"tensors": tensors, "wrap": "state_dict", "extra": {"epoch": 1}}
        (self.root / "manifests" / f"tiny_{name}.json").write_text(json.dumps(document))

    def image(self, name: str, *shape: int, labels: bool = False) -> str:
        noise = np.random.default_rng(len(name)).integers(0, 256, shape, dtype=np.uint8)
        if labels:
            noise = np.zeros(shape, dtype=np.uint8)
            noise[shape[0] // 3 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 255
        cv2.imwrite(str(self.root / "images" / name), noise)
        return name

    def add(
        self,
        case_id: str,
        system: str,
        given: dict[str, Any],
        expected: dict[str, tuple],
        **extra: Any,
    ) -> None:
        file = f"{system}/{case_id}.npz"
        np.savez(self.root / file, **given)
        arrays = {name: ["", list(np.shape(value))] for name, value in given.items()}
        arrays.update({name: ["", list(shape)] for name, shape in expected.items()})
        entry = {"id": case_id, "system": system, "file": file, "arrays": arrays}
        files = [[f"tiny_{name}", 7 + i] for i, name in enumerate(FILES.get(system, (system,)))]
        self.cases.append({**entry, "checkpoints": files, **extra})
        (self.root / "index.json").write_text(json.dumps({"cases": self.cases}))


def add_samus_cases(folder: TinyFolder) -> None:
    """Several objects on two images, the dataset path, input that no 8-bit frame can hold."""
    rng = np.random.default_rng(0)
    folder.add(
        "objects",
        "samus",
        {
            "point_coords": (rng.random((2, 4, 3, 2)) * 64).astype(np.float32),
            "point_labels": rng.integers(0, 2, (2, 4, 3)).astype(np.int32),
        },
        {"low_res_logits": (2, 4, 32, 32), "masks_logits": (2, 4, 64, 64)},
        images=[folder.image("a.png", 64, 64), folder.image("bb.png", 64, 64)],
    )
    folder.add(
        "dataset",
        "samus",
        {},
        {"network_input_u8": (1, 1, 64, 64), "bbox": (1, 4), "seg": (1, 64, 64)},
        image=folder.image("wide.png", 90, 70),
        label=folder.image("label.png", 90, 70, labels=True),
    )
    coords = np.array([[[9, 50]], [[60.5, 3]]], dtype=np.float32)
    folder.add(
        "three_channels",
        "samus",
        {"point_coords": coords, "point_labels": np.array([[0], [1]], dtype=np.int32)},
        {"image_embedding": (2, 32, 8, 8), "low_res_logits": (2, 1, 32, 32)},
        images=["a.png", "bb.png"],
    )


def add_sam_cases(folder: TinyFolder) -> None:
    """Prompts of every kind at network scale and in frames that are wide and tall."""
    square = folder.image("square.png", 128, 128, 3)
    small = folder.image("small.png", 100, 60, 3)  # padded, not enlarged
    boxes = np.array([[5, 6, 70, 90], [1, 2, 30, 40], [9, 9, 99, 99]], dtype=np.float32)
    points = np.array([[[20, 30], [50, 90]]] * 3, dtype=np.float32)
    labels = np.array([[1, 0]] * 3, dtype=np.int32)
    masks = np.random.default_rng(1).normal(size=(3, 1, 32, 32)).astype(np.float32)
    outside = np.array([[[-3, 200]]], dtype=np.float32)  # refused by a session, not by a network
    prompts: dict[str, dict[str, Any]] = {
        "boxes": {"box": boxes},
        "mask": {"mask_input": masks[:1]},
        "all": {"box": boxes, "point_coords": points, "point_labels": labels, "mask_input": masks},
        "outside": {"point_coords": outside, "point_labels": np.ones((1, 1), np.int32)},
    }
    for name, given in prompts.items():
        n = len(next(iter(given.values())))
        tokens = 2 * ("box" in given) + 2 * (name == "all") + 2 * (name == "outside")
        outputs = {"logits_multi": (n, 3, 32, 32), "iou_multi": (n, 3), "iou_single": (n, 1),
                   "logits_single": (n, 1, 32, 32), "sparse_embeddings": (n, tokens, 32),
                   "dense_embeddings_sample": (-(-n * 2048 // 997),)}  # fmt: skip
        folder.add(name, "sam", given, outputs, image=square)
    outputs = {"image_embedding": (1, 32, 8, 8), "logits_single": (3, 1, 32, 32)}
    folder.add("encoder", "sam", {}, {"image_embedding": (1, 32, 8, 8)}, image=square)
    folder.add("padded", "sam", {"box": boxes * 0.5}, outputs, image=small)
    click = {"point_coords": np.array([[40.0, 30.0]]), "point_labels": np.array([1])}
    box = np.array([10.0, 20.0, 45.0, 48.0])
    wide = {"masks": (3, 50, 90), "low_res_logits": (3, 32, 32), "iou": (3,),
            "full_logits": (1, 50, 90), "resized_sample": (5, 8, 3)}  # fmt: skip
    tall = {"masks": (1, 300, 60), "low_res_logits": (1, 32, 32), "input_size": (2,)}
    frames = folder.image("frame.png", 50, 90, 3), folder.image("tall.png", 300, 60, 3)
    folder.add("wide", "sam", click, wide, image=frames[0])
    given = {**click, "box": box, "mask_input": masks[0]}
    folder.add("tall", "sam", given, tall, image=frames[1])


def add_medsam_cases(folder: TinyFolder) -> None:
    """One box and two, on frames with and without colours."""
    grey, colour = folder.image("box.png", 90, 140), folder.image("boxes.png", 130, 70, 3)
    outputs = {"box_1024": (1, 4), "input_sample": (3, 8, 8), "image_embedding": (1, 32, 8, 8),
               "low_res_logits": (1, 1, 32, 32), "mask": (90, 140)}  # fmt: skip
    folder.add("script", "medsam", {"box": np.array([20, 10, 100, 70])}, outputs, image=grey)
    two = {"box": np.array([[5, 8, 60.5, 90], [30, 40, 50, 66]])}
    outputs = {"low_res_logits": (2, 1, 32, 32), "mask": (2, 130, 70)}
    folder.add("two_boxes", "medsam", two, outputs, image=colour)


def add_samed_cases(folder: TinyFolder) -> None:
    """Images at network scale, alone and with their mirror, a volume, tables, SAMed_s."""
    image = folder.image("slice.png", 128, 128)
    logits = {"low_res_logits": (1, 4, 32, 32), "iou_predictions": (1, 4),
              "class_map": (1, 128, 128), "masks_sample": (1, 4, 16, 16)}  # fmt: skip
    embedding = {"image_embedding": (1, 32, 8, 8)}
    folder.add("forward", "samed", {}, {**logits, **embedding}, image=image)
    folder.add("batch2", "samed", {}, {"low_res_logits": (2, 4, 32, 32)}, image=image)
    volume = np.random.default_rng(3).integers(0, 256, (2, 70, 61), dtype=np.uint8)
    outputs = {"low_res_logits": (2, 4, 32, 32), "class_map": (2, 70, 61),
               "network_input_sample": (2, 16, 16)}  # fmt: skip
    folder.add("volume", "samed", {"volume": volume}, outputs)
    tables = {f"image_encoder.blocks.{i}.attn.rel_pos_h": (15, 16) for i in (1, 3)}
    outputs = {**tables, "pos_embed_sample": (2, 2, 4), "rel_pos_rows": (4,)}
    folder.add("tables", "samed", {}, outputs, checkpoints=[["tiny_base", 7]])
    files = [["tiny_base", 7], ["tiny_samed_s", 9]]
    folder.add("decoder", "samed", {}, logits, image=image, checkpoints=files)


def add_msa_cases(folder: TinyFolder) -> None:
    """Clicks on images of different sizes, several structures, volumes with and without chunks."""
    images = [folder.image("one.png", 100, 140, 3), folder.image("three.png", 150, 90, 3)]
    clicks = {"point_coords": np.array([[[60, 30.5]], [[100, 90]]], np.float32),
              "point_labels": np.array([[1], [0]], np.int32)}  # fmt: skip
    outputs = {"image_embedding": (2, 32, 8, 8), "low_res_logits": (2, 1, 32, 32), "iou": (2, 1),
               "out_logits": (2, 1, 256, 256), "input_sample": (2, 3, 8, 8)}  # fmt: skip
    folder.add("clicks", "msa", clicks, outputs, images=images)
    one = {name: array[:1] for name, array in clicks.items()}
    outputs = {"low_res_logits": (1, 2, 32, 32), "iou": (1, 2)}
    folder.add("structures", "msa", one, outputs, images=images[:1])
    rng = np.random.default_rng(5)
    four = {"volume": rng.integers(0, 256, (40, 50, 4), dtype=np.uint8),
            "mask": rng.integers(0, 2, (40, 50, 4), dtype=np.uint8),
            "click_prompt": rng.integers(0, 40, (1, 2, 4)),
            "point_coords": (rng.random((4, 1, 2)) * 128).astype(np.float32),
            "point_labels": np.array([[1], [0], [1], [1]], np.int32)}  # fmt: skip
    outputs = {"image_embedding": (4, 32, 8, 8), "low_res_logits": (4, 1, 32, 32), "iou": (4, 1),
               "input_sample": (4, 1, 16, 16)}  # fmt: skip
    for name, chunk in (("chunk2", "2"), ("nochunk", "None")):
        folder.add(name, "msa", four, outputs, about=f"thd=True, chunk={chunk}")


def add_autosamus_cases(folder: TinyFolder) -> None:
    """A batch, and with an embedding."""
    images = [folder.image("auto.png", 64, 64), folder.image("other.png", 64, 64)]
    folder.add("batch", "autosamus", {}, {"low_res_logits": (2, 1, 32, 32)}, images=images)
    outputs = {"image_embedding": (1, 32, 8, 8), "masks_logits": (1, 1, 64, 64)}
    folder.add("single", "autosamus", {}, outputs, images=images[:1])


def add_tiny_vit_cases(folder: TinyFolder) -> None:
    """LiteMedSAM's boxes on frames that are shrunk, and enlarged; MobileSAM as SAM."""
    sizes = {"wide": (50, 70), "small": (24, 17, 3)}
    for name, (height, width, *channels) in sizes.items():
        corners = [[0.2, 0.1, 0.7, 0.9], [0.5, 0.3, 0.8, 0.6]]
        boxes = np.floor(np.array(corners) * [width, height, width, height]).astype(np.int64)
        scale = 32 / max(height, width)
        resized = (int(height * scale + 0.5), int(width * scale + 0.5), 3)
        outputs: dict[str, tuple] = {"resized": resized, "image_embedding_sample": (1, 32, 8, 8)}
        for i in range(2):
            outputs |= {f"box_256_{i}": (4,), f"low_res_logits_{i}": (1, 1, 32, 32),
                        f"iou_{i}": (1, 1), f"mask_{i}": (height, width)}  # fmt: skip
        image = folder.image(f"lite-{name}.png", height, width, *channels)
        folder.add(name, "litemedsam", {"boxes": boxes}, outputs, image=image)
    image = folder.image("mobile.png", 70, 100, 3)
    given = {"point_coords": np.array([[40.0, 30.0]]), "point_labels": np.array([1])}
    outputs = {"masks": (1, 70, 100), "low_res_logits": (1, 32, 32), "iou": (1,)}
    folder.add("click", "mobile_sam", given, outputs, image=image)


def tiny_folder(root: Path) -> TinyFolder:
    """The folder with all cases."""
    folder = TinyFolder(root)
    for add in (add_samus_cases, add_sam_cases, add_medsam_cases, add_samed_cases, add_msa_cases,
                add_autosamus_cases, add_tiny_vit_cases):  # fmt: skip
        add(folder)
    folder.add("other", "yolo", {}, {}, image="square.png", checkpoints=[["tiny_sam", 7]])
    return folder
