"""Sessions on exported tiny models against the eager model: the whole way, for every prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

import samedge
from samedge.bench.eager import network_input, synthetic_samus
from samedge.errors import BundleError
from samedge.frame_outputs import mask_values
from samedge.geometry import frame_geometry
from samedge.models import build_sam, tiny_sam_config
from samedge.models.build import SAM_BUILDER
from samedge.models.synthetic import synthetic_tensor
from samedge.runtime import verify

LIMIT = 1e-4
SIZE = (90, 120)


def synthetic_sam() -> Any:
    config = tiny_sam_config()
    shapes = SAM_BUILDER.shapes(asdict(config))
    tensors = {k: torch.from_numpy(synthetic_tensor(k, s, 1)) for k, s in shapes.items()}
    return build_sam(config, tensors)


class Case:
    """An eager model, its bundle and a session on it."""

    def __init__(self, model: Any, folder: Any) -> None:
        torch.set_num_threads(1)
        self.model = model
        self.bundle = samedge.export(samedge.fold(model), folder / "tiny.samedge")
        self.session = samedge.load(self.bundle, precision="fp32", threads=1, cache=False)

    def eager(self, frame: Any, crop: Any = None, **prompts: Any) -> tuple[Any, Any]:
        """(low-res logits [N * K, L, L], mask logits [N * K, H, W]) of the eager model."""
        variant = self.bundle.manifest["variant"]
        height, width = frame.shape[:2]
        sizes = variant["input_size"], variant["low_res"]
        geometry = frame_geometry(self.bundle.family, height, width, crop, *sizes)
        given: dict[str, Any] = {"multimask": prompts.get("multimask", False)}
        if "points" in prompts:
            xy = torch.from_numpy(geometry.to_network(prompts["points"]))
            given["point_coords"] = xy if xy.ndim == 3 else xy[None]
            labels = torch.tensor(prompts["labels"])
            given["point_labels"] = labels if labels.ndim == 2 else labels[None]
        if "box" in prompts:
            corners = geometry.to_network(np.reshape(prompts["box"], (-1, 2, 2)))
            given["boxes"] = torch.from_numpy(corners.reshape(-1, 4))
        if "mask" in prompts:
            given["masks"] = torch.from_numpy(prompts["mask"])[None, None]
        with torch.inference_mode():
            embedding = self.model.encode(network_input(frame, geometry, self.bundle.family))
            low_res, _ = self.model.decode(embedding, **given)
        logits = low_res.numpy().reshape(-1, *low_res.shape[2:])
        return logits, mask_values(logits, geometry, self.bundle.family)

    def check(self, frame: Any, crop: Any = None, **prompts: Any) -> Any:
        """The session's answer, after comparing it with the eager model's."""
        result = self.session.segment(frame, crop=crop, **prompts)
        logits, full = self.eager(frame, crop, **prompts)
        np.testing.assert_allclose(result.low_res_logits, logits, atol=LIMIT)
        sure = np.abs(full) > LIMIT
        np.testing.assert_array_equal(result.masks[sure], (full > 0)[sure])
        return result


@pytest.fixture(scope="module")
def samus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    case = Case(synthetic_samus("tiny"), tmp_path_factory.mktemp("samus"))
    yield case
    case.session.close()


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    case = Case(synthetic_sam(), tmp_path_factory.mktemp("sam"))
    yield case
    case.session.close()


def grey(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, SIZE, dtype=np.uint8)


def rgb(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("frame", [grey(), rgb(), grey()[:30], grey().T])
def test_samus_points(samus: Case, frame: Any) -> None:
    samus.check(frame, points=[(10.5, 20.25), (30, 7)], labels=[1, 0])


def test_samus_crop(samus: Case) -> None:
    result = samus.check(grey(), crop=(20, 10, 100, 70), points=[(50, 40)], labels=[1])
    assert not result.masks[:, :10].any()
    assert not result.masks[:, :, 100:].any()


def test_samus_objects(samus: Case) -> None:
    samus.check(grey(), points=[[(10, 20)], [(50, 60)], [(100, 30)]], labels=[[1], [1], [0]])


def test_objects_of_different_length_match_single_ones(samus: Case) -> None:
    frame, objects = grey(3), [[(10, 20), (40, 50)], [(50, 60)], [(7, 8), (9, 10)]]
    together = samus.session.segment(frame, points=objects)
    for index, points in enumerate(objects):
        alone, _ = samus.eager(frame, points=points, labels=[1] * len(points))
        np.testing.assert_allclose(together.low_res_logits[index], alone[0], atol=LIMIT)


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("frame", [rgb(), grey(), rgb()[:, :40]])
def test_sam_points(sam: Case, frame: Any, multimask: bool) -> None:
    sam.check(frame, points=[(10.5, 20.25), (30, 7)], labels=[1, 0], multimask=multimask)


def test_sam_box(sam: Case) -> None:
    sam.check(rgb(), box=[10, 20, 90, 80])


def test_sam_boxes_and_points(sam: Case) -> None:
    boxes = [[10, 20, 90, 80], [5, 6, 70, 60]]
    sam.check(rgb(), box=boxes, points=[[(20, 30)], [(8, 9)]], labels=[[1], [0]])


def test_sam_mask(sam: Case) -> None:
    first = sam.check(rgb(), points=[(60, 40)], labels=[1])
    sam.check(rgb(), mask=first.low_res_logits[0])
    sam.check(rgb(), mask=first.low_res_logits[0], points=[(60, 40)], labels=[1], multimask=True)
    sam.check(rgb(), mask=first.low_res_logits[0], box=[10, 20, 90, 80])


def test_verify_passes_and_shows_its_margin(samus: Case) -> None:
    for row in verify(samus.bundle, threads=1, cache=False):
        assert row["passed"]
        assert row["margin"] > 1
        assert row["frames"] == len(list(samus.bundle.selftest()))


def test_one_changed_byte_is_refused(samus: Case, tmp_path: Any) -> None:
    bundle = samedge.export(samedge.fold(samus.model), tmp_path / "changed.samedge")
    path = bundle.path / "encoder.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx"):
        samedge.load(bundle.path, threads=1)
