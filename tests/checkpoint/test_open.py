"""What `open_checkpoint` finds in files that are in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from samedge import models, open_checkpoint
from samedge.checkpoint import checkpoint_from_tensors
from samedge.errors import CheckpointError

StateDict = dict[str, Tensor]
Save = Callable[..., Path]


def assert_same(got: StateDict, expected: StateDict) -> None:
    assert set(got) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name


def test_samus(samus_tensors: StateDict, saved: Save) -> None:
    path = saved(samus_tensors)
    checkpoint = open_checkpoint(path)
    assert checkpoint.family.name == "samus"
    assert checkpoint.family.input_size == 64
    assert checkpoint.variant.adapter == "samus"
    assert checkpoint.variant.ranks == {"input": 8, "mlp": 8}
    assert checkpoint.sha256 == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert_same(checkpoint.tensors, samus_tensors)
    model = checkpoint.build()
    assert model.config == models.tiny_samus_config()
    assert not model.training
    assert_same(dict(model.state_dict()), samus_tensors)


def test_sam(sam_tensors: StateDict, saved: Save) -> None:
    checkpoint = open_checkpoint(saved(sam_tensors), family="sam")
    assert checkpoint.family.name == "sam"
    assert (checkpoint.variant.grid, checkpoint.variant.low_res) == (16, 64)
    assert checkpoint.build().config == models.tiny_sam_config(img_size=256)


def test_the_model_has_its_own_copies(samus_tensors: StateDict, saved: Save) -> None:
    checkpoint = open_checkpoint(saved(samus_tensors))
    model = checkpoint.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_same(checkpoint.tensors, samus_tensors)
    assert_same(dict(checkpoint.build().state_dict()), samus_tensors)


def test_a_model_may_share_the_checkpoint_s_memory(samus_tensors: StateDict, saved: Save) -> None:
    """Of a file that is mapped, so that the model takes no memory of its own."""
    path = saved(samus_tensors)
    before = path.read_bytes()
    checkpoint = open_checkpoint(path)
    model = checkpoint.build(copy=False)
    state = model.state_dict()
    assert_same(dict(state), samus_tensors)
    for name, tensor in checkpoint.tensors.items():
        assert state[name].data_ptr() == tensor.data_ptr(), name
    assert not model.training
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert path.read_bytes() == before  # the map is private


def test_safetensors(samus_tensors: StateDict, tmp_path: Path) -> None:
    path = tmp_path / "samus.safetensors"
    save_file(samus_tensors, path)
    checkpoint = open_checkpoint(path)
    assert checkpoint.files[0].format == "safetensors"
    assert_same(checkpoint.tensors, samus_tensors)


def test_the_format_is_told_by_content(samus_tensors: StateDict, tmp_path: Path) -> None:
    path = tmp_path / "samus.pth"
    save_file(samus_tensors, path)
    assert open_checkpoint(path).files[0].format == "safetensors"


def test_legacy_file(samus_tensors: StateDict, saved: Save) -> None:
    path = saved(samus_tensors, _use_new_zipfile_serialization=False)
    checkpoint = open_checkpoint(path)
    assert checkpoint.files[0].format == "torch (legacy)"
    assert_same(checkpoint.tensors, samus_tensors)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", "net"])
def test_training_checkpoint(wrapper: str, samus_tensors: StateDict, saved: Save) -> None:
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}
    content = {"epoch": 7, "optimizer": optimizer, wrapper: samus_tensors}
    checkpoint = open_checkpoint(saved(content))
    assert_same(checkpoint.tensors, samus_tensors)
    assert checkpoint.files[0].ignored == ("epoch", "optimizer")
    assert "optimizer" in checkpoint.describe()


def test_wrapper_in_a_wrapper(samus_tensors: StateDict, saved: Save) -> None:
    checkpoint = open_checkpoint(saved({"model": {"state_dict": samus_tensors, "epoch": 1}}))
    assert checkpoint.files[0].wrapper == ("model", "state_dict")


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes(prefix: str, samus_tensors: StateDict, saved: Save) -> None:
    checkpoint = open_checkpoint(saved({prefix + k: v for k, v in samus_tensors.items()}))
    assert_same(checkpoint.tensors, samus_tensors)
    assert "stripped" in checkpoint.describe()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(
    dtype: torch.dtype, samus_tensors: StateDict, saved: Save
) -> None:
    checkpoint = open_checkpoint(saved({k: v.to(dtype) for k, v in samus_tensors.items()}))
    assert_same(checkpoint.tensors, {k: v.to(dtype).float() for k, v in samus_tensors.items()})
    assert f"{len(samus_tensors)} tensors converted from" in checkpoint.describe()


def test_constants_that_some_files_carry(sam_tensors: StateDict, saved: Save) -> None:
    checkpoint = open_checkpoint(saved({**sam_tensors, "pixel_mean": torch.zeros(3, 1, 1)}))
    assert_same(checkpoint.tensors, sam_tensors)
    assert "pixel_mean" in checkpoint.describe()


def test_recorded_heads(saved: Save) -> None:
    config = models.tiny_samus_config(decoder_heads=4)
    tensors = models.build_samus(config).state_dict()
    content = {"state_dict": tensors, "samedge_config": {"decoder_heads": 4}}
    checkpoint = open_checkpoint(saved(content))
    assert checkpoint.build().config == config
    assert checkpoint.files[0].ignored == ()


def test_tables_of_another_size(saved: Save) -> None:
    config = models.tiny_samus_config(rel_pos_grid=16)
    checkpoint = open_checkpoint(saved(models.build_samus(config).state_dict()))
    assert checkpoint.build().config == config


def test_summary_is_json(samus_tensors: StateDict, saved: Save, tmp_path: Path) -> None:
    summary = json.loads(json.dumps(open_checkpoint(saved(samus_tensors)).summary()))
    assert summary["family"] == "samus"
    assert summary["variant"]["vit"] == "custom"
    assert summary["tensors"] == len(samus_tensors)
    assert str(tmp_path) not in json.dumps(summary)


def test_from_a_live_model(sam_tensors: StateDict) -> None:
    model = models.build_sam(models.tiny_sam_config(img_size=256), sam_tensors)
    checkpoint = checkpoint_from_tensors(model.state_dict())
    assert_same(checkpoint.tensors, sam_tensors)
    assert checkpoint.sha256 == []


def test_medsam_is_named_not_detected(sam_tensors: StateDict, saved: Save) -> None:
    path = saved(sam_tensors)
    detected, named = open_checkpoint(path), open_checkpoint(path, family="medsam")
    assert (detected.family.name, named.family.name) == ("sam", "medsam")
    assert "say so (family='medsam', --family medsam)" in detected.describe()
    assert "say so" not in named.describe()
    assert_same(named.tensors, sam_tensors)
    model = named.build()
    assert model.config == models.tiny(models.MedsamConfig, img_size=256)
    assert (named.family.normalisation, named.family.input_size) == ("min_max", 256)


def test_unknown_family_name(sam_tensors: StateDict, saved: Save) -> None:
    with pytest.raises(CheckpointError, match=r"unknown family 'yolo'; known: .*samus"):
        open_checkpoint(saved(sam_tensors), family="yolo")


def test_counters_of_whole_numbers_are_passed_over(samus_tensors: StateDict, saved: Save) -> None:
    """Averaged weights count models, BatchNorm its batches; windows have tables of indices."""
    counters = {
        "n_averaged": torch.tensor(3),
        "norm.num_batches_tracked": torch.tensor([7], dtype=torch.int32),
        "relative_position_index": torch.zeros(4, 4, dtype=torch.int64),
        "attn_mask": torch.ones(4, 4, dtype=torch.bool),
        "version": torch.tensor(1, dtype=torch.uint8),
    }
    for content in (
        {**samus_tensors, **counters},
        {**counters, **{f"module.{k}": v for k, v in samus_tensors.items()}},
    ):
        checkpoint = open_checkpoint(saved(content))
        assert_same(checkpoint.tensors, samus_tensors)
        (note,) = [note for note in checkpoint.notes if "passed over" in note]
        assert "n_averaged" in note or "and" in note
        assert checkpoint.summary()["files"][0]["passed_over"]["n_averaged"] == "int64"


def test_whole_numbers_in_the_place_of_weights(samus_tensors: StateDict, saved: Save) -> None:
    quantised = {"image_encoder.extra.qweight": torch.zeros(4, 4, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"'image_encoder\.extra\.qweight' is of type"):
        open_checkpoint(saved({**samus_tensors, **quantised}))
    with pytest.raises(CheckpointError, match="only tensors of whole numbers"):
        open_checkpoint(saved({"step": torch.tensor(3)}))
