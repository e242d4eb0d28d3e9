"""Families and sizes, read off names and shapes: the official files and all ViT sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samedge import models
from samedge.checkpoint.options import CheckpointOptions
from samedge.checkpoint.records import RECORDS, recognised, record
from samedge.families import AUTOSAMUS, FAMILIES, MEDSAM, MSA, SAM, SAMUS, Family
from samedge.models.build import model_shapes

MANIFESTS = Path(__file__).parents[1] / "golden" / "vectors" / "manifests"
VITS = ("vit_b", "vit_l", "vit_h")


def manifest_shapes(name: str) -> dict[str, tuple[int, ...]]:
    document = json.loads((MANIFESTS / f"{name}.json").read_text())
    return {key: tuple(entry["shape"]) for key, entry in document["tensors"].items()}


OFFICIAL = {
    "sam_vit_b": "sam",
    "medsam_vit_b": "sam",
    "samus_vit_b": "samus",
    "autosamus_vit_b": "autosamus",
    "msa_vit_b_256": "msa",
    "msa_vit_b_1024": "msa",
    "samed_lora_vit_b_r4_c8": "samed",
    "samed_s_lora_vit_b_r4_c8": "samed_s",
}


def test_every_official_file_is_listed() -> None:
    assert {path.stem for path in MANIFESTS.glob("*.json")} == set(OFFICIAL)


@pytest.mark.parametrize(("manifest", "family"), OFFICIAL.items())
def test_families_of_the_official_files(manifest: str, family: str) -> None:
    shapes = manifest_shapes(manifest)
    found = recognised(shapes)
    assert found is not None
    assert found.name == family
    if not found.base:  # files that complete a base: test_samed.py
        variant = found.variant(shapes, {}, CheckpointOptions())
        assert variant.vit == "vit_b"
        assert found.network.shapes(variant.config) == shapes
        made = found.network.config(variant.config)
        assert made.img_size == variant.input_size


@pytest.mark.parametrize("vit", VITS)
@pytest.mark.parametrize(
    ("config_type", "changes", "family"),
    [
        (models.SamConfig, {}, SAM),
        (models.MedsamConfig, {}, MEDSAM),
        (models.SamusConfig, {}, SAMUS),
        (models.AutosamusConfig, {}, AUTOSAMUS),
        (models.MsaConfig, {}, MSA),
        (models.MsaConfig, {"img_size": 1024}, MSA),
    ],
)
def test_official_sizes_are_detected(
    config_type: type[models.SamConfig], changes: dict[str, Any], family: Family, vit: str
) -> None:
    config = models.preset(config_type, vit, **changes)
    shapes = model_shapes(config)
    found = recognised(shapes, "medsam" if family is MEDSAM else None)
    assert found is not None
    assert found.family == family
    variant = found.variant(shapes, {}, CheckpointOptions())
    assert variant.vit == vit
    assert found.network.config(variant.config) == config
    if not changes:
        assert config.family == family


def test_only_the_name_tells_medsam() -> None:
    shapes = model_shapes(models.tiny_sam_config())
    found = {name: recognised(shapes, name) for name in (None, *FAMILIES)}
    assert {name for name, r in found.items() if r is record("medsam")} == {"medsam"}
    assert {name for name, r in found.items() if r is record("sam")} == {None, *FAMILIES} - {
        "medsam"
    }


def test_names_of_records_are_single() -> None:
    names = [r.name for r in RECORDS]
    assert len(set(names)) == len(names)
    for r in RECORDS:
        if r.base:
            assert record(r.base).loadable
        if r.loadable:
            assert r.family is not None
            assert r.about
