"""Sessions on exported tiny models against the eager model: the whole way, for every prompt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

import samedge
from samedge.bench.contenders.eager import synthetic_samus
from samedge.errors import BundleError
from samedge.models import build_sam, tiny_sam_config
from samedge.models.build import SAM_BUILDER
from samedge.models.synthetic import synthetic_tensor
from samedge.runtime import verify
from tests.runtime.cases import LIMIT, Case, grey, rgb


def synthetic_sam() -> Any:
    config = tiny_sam_config()
    shapes = SAM_BUILDER.shapes(asdict(config))
    tensors = {k: torch.from_numpy(synthetic_tensor(k, s, 1)) for k, s in shapes.items()}
    return build_sam(config, tensors)


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
        assert row.passed
        assert row.margin > 1
        assert row.frames == len(list(samus.bundle.selftest()))


def test_one_changed_byte_is_refused(samus: Case, tmp_path: Any) -> None:
    bundle = samedge.export(samedge.fold(samus.model), tmp_path / "changed.samedge").bundle
    path = bundle.path / "encoder.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx"):
        samedge.load(bundle.path, threads=1)
