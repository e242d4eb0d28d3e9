"""The runner itself, in all stages, on a folder of tiny models: whatever a folder may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from samedge import models
from samedge.errors import SourceError
from tests.golden.cases import read_cases
from tests.golden.engines import STAGES
from tests.golden.run import main


def written_shapes(out: Path, file: str) -> dict[str, tuple[int, ...]]:
    with np.load(out / file) as arrays:
        return {name: arrays[name].shape for name in arrays.files}


VECTORS = Path(__file__).with_name("vectors")


class TinyFolder:
    """A folder of reference vectors for tiny models, filled case by case; outputs are ours."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cases: list[dict[str, Any]] = []
        for name in ("manifests", "images", "samus", "sam", "msa"):
            (root / name).mkdir(parents=True)
        sam = models.build_sam(models.tiny_sam_config())
        samus = models.build_samus(models.tiny_samus_config())
        for name, model in (("tiny_sam", sam), ("tiny_samus", samus)):
            tensors = {
                key: {"shape": list(value.shape), "dtype": "float32"}
                for key, value in model.state_dict().items()
            }
            document = {"tensors": tensors, "wrap": "state_dict", "extra": {"epoch": 1}}
            (root / "manifests" / f"{name}.json").write_text(json.dumps(document))

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
        self.cases.append({**entry, "checkpoints": [[f"tiny_{system}", 7]], **extra})
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


@pytest.fixture
def tiny(tmp_path: Path) -> TinyFolder:
    folder = TinyFolder(tmp_path / "golden")
    add_samus_cases(folder)
    add_sam_cases(folder)
    folder.add("other", "msa", {}, {}, image="square.png")
    return folder


@pytest.fixture
def reference(tiny: TinyFolder, tmp_path: Path) -> TinyFolder:
    """Its outputs are those of the eager stage."""
    out = tmp_path / "eager"
    assert main([str(tiny.root), str(out)]) == 0
    for case in tiny.cases:
        if case["system"] != "msa":
            (tiny.root / case["file"]).write_bytes((out / case["file"]).read_bytes())
    return tiny


def test_all_stages_agree(
    reference: TinyFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(reference.root), str(tmp_path), "--stage", "all", "--compare"]) == 0
    printed = capsys.readouterr().out
    assert "skipped  msa/other: Medical SAM Adapter" in printed
    # Only the product refuses a click outside the frame; the network is asked all the same.
    assert printed.count("decoded below the Session, which refuses the prompt: the point") == 2
    for stage in STAGES:
        for case in read_cases(reference.root):
            if case.system != "msa":
                assert written_shapes(tmp_path / stage, case.file) == case.arrays, case.id


def test_one_changed_value_fails(
    reference: TinyFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = reference.root / "samus" / "objects.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["low_res_logits"][0, 0, 0, 0] += 1e-3
    np.savez(path, **arrays)
    assert main([str(reference.root), str(tmp_path), "--compare", "--case", "objects"]) == 5
    assert "1 of 2 arrays fail: eager objects/low_res_logits" in capsys.readouterr().err


def test_files_that_hold_prompts_only_are_traced_as_usual() -> None:
    supported = [case for case in read_cases(VECTORS) if case.system in ("sam", "samus")]
    traced = [case for case in supported if "trace_names" in case.arrays]
    assert traced
    for case in traced:
        stored = case.trace_names
        case.__dict__["reference"] = case.prompts  # as if the outputs were not there
        assert case.trace_names == stored


@pytest.mark.parametrize("stage", ["eager", "folded", "onnx"])
def test_other_precisions_are_refused(stage: str, tiny: TinyFolder, tmp_path: Path) -> None:
    options = ["--case", "objects", "--stage", stage, "--precision", "bf16"]
    assert main([str(tiny.root), str(tmp_path), *options]) == 4


def test_dataset_sample(tiny: TinyFolder, tmp_path: Path) -> None:
    assert main([str(tiny.root), str(tmp_path), "--case", "dataset"]) == 0
    with np.load(tmp_path / "samus" / "dataset.npz") as arrays:
        x0, y0, x1, y1 = arrays["bbox"][0]
    # rows 30..44 of 90 and columns 17..34 of 70, at 64 x 64
    assert (y0, y1) == (21, 31)
    assert (x0, x1) == (16, 31)


def test_an_image_that_does_not_fit(tiny: TinyFolder, tmp_path: Path) -> None:
    tiny.image("a.png", 32, 64)
    assert main([str(tiny.root), str(tmp_path), "--case", "objects"]) == 3


def test_no_such_case(tiny: TinyFolder, tmp_path: Path) -> None:
    assert main([str(tiny.root), str(tmp_path), "--case", "nothing"]) == 3


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected index\.json"):
        read_cases(tmp_path)
