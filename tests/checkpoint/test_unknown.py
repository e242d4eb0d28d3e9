"""Networks that samedge does not know, or not well enough: the nearest family and what differs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from samedge import models
from samedge.checkpoint import checkpoint_from_tensors
from samedge.checkpoint.messages import reference_shapes
from samedge.checkpoint.records import RECORDS
from samedge.errors import CheckpointError, NotSupportedError
from samedge.models.build import model_shapes
from tests.checkpoint.tiny_files import LOADABLE, Refused, every_family, whole


def test_hq_sam(refused: Refused) -> None:
    tensors = whole(models.tiny_sam_config(), 2)
    tensors["mask_decoder.hf_token.weight"] = torch.zeros(1, 32)
    tensors["mask_decoder.compress_vit_feat.0.weight"] = torch.zeros(32, 32, 2, 2)
    refused(
        tensors, error=NotSupportedError,
        says=(
            r"^a\.pth: HQ-SAM is recognised \(by 'mask_decoder\.hf_token\.weight'\), but samedge "
            "cannot load it",
            "nearest that it can is Segment Anything; extra: mask_decoder.hf_token.weight, ",
            LOADABLE,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("title", "names"),
    [
        (
            "SAM 2",
            (
                "image_encoder.trunk.blocks.0.attn.qkv.weight",
                "sam_mask_decoder.iou_token.weight",
                "memory_attention.layers.0.norm1.weight",
            ),
        ),
    ],
)
def test_other_networks(title: str, names: tuple[str, ...], refused: Refused) -> None:
    refused(
        dict.fromkeys(names, torch.zeros(2)), error=NotSupportedError,
        says=(rf"^a\.pth: {title} is recognised \(by '{names[0]}'\)", "missing: ", "extra: "),
    )  # fmt: skip


@pytest.mark.parametrize("kind", sorted(set(every_family()) - {"samed", "samed_s"}))
def test_one_key_renamed(kind: str, refused: Refused) -> None:
    tensors = every_family()[kind][-1]
    name = "mask_decoder.iou_prediction_head.layers.1.weight"
    tensors["mask_decoder.iou_prediction_head.layers.1.W"] = tensors.pop(name)
    title = next(r.title for r in RECORDS if r.name == kind)
    refused(
        tensors,
        says=(
            rf"^a\.pth: looks like {re.escape(title)} \(a ViT of its own size\)",
            f"missing: {name}; extra: {name.removesuffix('eight').removesuffix('w')}W",
            "under the names of the original project",
        ),
    )


def test_names_of_another_project(refused: Refused) -> None:
    tensors = {
        name.replace("image_encoder.blocks.", "image_encoder.stages."): value
        for name, value in whole(models.tiny_sam_config(), 2).items()
    }
    refused(
        tensors,
        says=(
            r"^a\.pth: is no family that samedge knows",
            "The nearest is Segment Anything, with 146 of 314 names in common",
            r"missing: image_encoder\.blocks\.0\.",
            r"extra: image_encoder\.stages\.0\.",
            "names of the original project; it can load",
            LOADABLE,
        ),
    )


def test_live_tensors_without_data() -> None:
    shapes = model_shapes(models.tiny_sam_config())
    empty = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with pytest.raises(CheckpointError, match="has no data"):
        checkpoint_from_tensors(empty, "a live model")


def test_a_prefix_before_all_names_that_is_no_name(refused: Refused) -> None:
    tensors = {f"0.{k}": v for k, v in whole(models.tiny_sam_config(), 2).items()}
    refused(
        tensors,
        says=(
            "none of which samedge knows; take '0.' off all names",
            "nearest is Segment Any",
        ),
    )


@pytest.mark.parametrize("found", [r for r in RECORDS if r.loadable], ids=lambda r: r.name)
def test_every_family_has_a_usual_file_that_is_recognised_as_its_own(found: Any) -> None:
    shapes = reference_shapes(found.name)
    assert found.fits(shapes)
    assert next(r for r in RECORDS if r.fits(shapes) and not r.same_as).name == (
        found.same_as or found.name
    )
    assert re.search(found.markers[0], found.evidence(shapes))
