"""SAMed's file without its base: explained, not refused."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from samedge import models, open_checkpoint
from samedge.checkpoint import Checkpoint, LoraFile, examine
from samedge.checkpoint.lora_file import lora_file
from samedge.checkpoint.reader import SourceFile
from samedge.checkpoint.records import record
from samedge.checkpoint.samed import lora_file_shapes
from samedge.errors import CheckpointError, NotSupportedError
from samedge.models.build import model_shapes
from tests.checkpoint.tiny_files import Files, samed_file, whole

Save = Callable[..., Path]
OFFICIAL = {
    "vit_b": ("ViT-B (12 blocks of width 768)", "sam_vit_b_01ec64.pth"),
    "vit_l": ("ViT-L (24 blocks of width 1024)", "sam_vit_l_0b3195.pth"),
    "vit_h": ("ViT-H (32 blocks of width 1280)", "sam_vit_h_4b8939.pth"),
}


def official(vit: str, decoder_rank: int = 0) -> LoraFile:
    """What is said of a file of the official size; its tensors take no memory."""
    config = models.preset(models.SamedConfig, vit, decoder_rank=decoder_rank)
    shapes = lora_file_shapes(model_shapes(config))
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    file = SourceFile("epoch_159.pth", "ab" * 32, 19_700_000, "torch", tensors)
    return lora_file(file, record("samed_s" if decoder_rank else "samed"))


@pytest.mark.parametrize("vit", OFFICIAL)
@pytest.mark.parametrize("decoder_rank", [0, 4])
def test_official_sizes(vit: str, decoder_rank: int) -> None:
    found = official(vit, decoder_rank)
    encoder, sam = OFFICIAL[vit]
    kind = "SAMed_s" if decoder_rank else "SAMed"
    command = f"samedge export {sam} epoch_159.pth -o epoch_159.samedge"
    assert (found.vit, found.encoder, found.command) == (vit, encoder, command)
    text = found.describe()
    assert text.startswith(f"{kind}'s LoRA file\n")
    for line in (
        "  file       epoch_159.pth (torch, 19.7 MB)",
        f"  encoder    trained on {encoder}",
        "  classes    8 besides the background",
        f"  needs      its SAM base as the first file: {encoder}",
        f"  next       {command}",
        f"  sha256     {'ab' * 32}",
    ):
        assert line in text.splitlines()
    ranks = "encoder 4, decoder 4" if decoder_rank else "encoder 4"
    assert f"(rank: {ranks})" in text

    summary = json.loads(json.dumps(found.summary()))
    assert summary["kind"] == "lora"
    assert (summary["family"], summary["title"]) == ("samed", kind)
    assert summary["needs"] == {"family": "sam", "vit": vit, "file": sam}
    assert summary["command"] == command
    assert summary["variant"]["ranks"] == (
        {"encoder": 4} | ({"decoder": 4} if decoder_rank else {})
    )
    assert summary["variant"]["classes"] == 8
    if vit == "vit_b":
        assert summary["tensors"] == (161 if decoder_rank else 215)
    assert summary["encoder"] == {
        "blocks": models.VIT_SIZES[vit]["depth"],
        "width": models.VIT_SIZES[vit]["embed_dim"],
    }


@pytest.mark.parametrize("changes", [{"embed_dim": 1024, "num_heads": 16}, {"depth": 24}])
def test_blocks_and_width_must_both_fit(changes: dict[str, int]) -> None:
    small = {"img_size": 32, "prompt_dim": 32, "decoder_mlp_dim": 8, "mlp_ratio": 0.01}
    config = models.preset(models.SamedConfig, "vit_b", **small, **changes)
    shapes = lora_file_shapes(model_shapes(config))
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    found = lora_file(SourceFile("x.pth", "", 1, "torch", tensors), record("samed"))
    assert found.vit == "custom"
    assert found.encoder.startswith("an encoder of ")


def test_from_a_file(saved: Save, tmp_path: Path) -> None:
    lora = samed_file(models.tiny(models.SamedConfig, num_mask_tokens=3, lora_rank=5))
    path = saved({"model": {f"module.{k}": v.half() for k, v in lora.items()}, "epoch": 3})
    found = examine(path)
    assert isinstance(found, LoraFile)
    assert (found.vit, found.ranks, found.sizes.classes) == ("custom", {"encoder": 5}, 2)
    assert found.parameters == sum(v.numel() for v in lora.values())
    assert found.tensors == len(lora)
    assert found.file.tensors == {}
    assert found.encoder == "an encoder of 4 blocks of width 32"
    assert "SAM_CHECKPOINT.pth" in found.command
    summary = found.summary()
    assert summary["files"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for note in ("stripped from tensor names: module.", "converted from float16", "'model'"):
        assert any(note in line for line in summary["notes"])
        assert note in found.describe()
    assert str(tmp_path) not in found.describe() + json.dumps(summary)


def test_the_command_is_one_for_any_name(saved: Save) -> None:
    path = saved(samed_file(models.tiny(models.SamedConfig)), "my $LoRA's file.pt")
    found = examine(path)
    assert isinstance(found, LoraFile)
    words = ["samedge", "export", "SAM_CHECKPOINT.pth", path.name, "-o", "my $LoRA's file.samedge"]
    assert shlex.split(found.command) == words
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert found.command in str(caught.value)


def test_whole_checkpoints_are_what_they_are(files: Files) -> None:
    for kind, path in files.items():
        found = examine(path)
        if kind in ("samed", "samed_s"):
            assert isinstance(found, LoraFile)
            assert found.kind == kind
        else:
            assert isinstance(found, Checkpoint)
            assert found.describe() == open_checkpoint(path).describe()
            assert found.summary() == open_checkpoint(path).summary()
    sam = whole(models.tiny_sam_config(img_size=1024), 2)
    torch.save(sam, files["sam"].with_name("sam1024.pth"))
    pair = examine(files["sam"].with_name("sam1024.pth"), files["samed"])
    assert isinstance(pair, Checkpoint)
    assert pair.kind == "samed"


def test_what_cannot_be_explained_is_refused(files: Files, saved: Save) -> None:
    with pytest.raises(CheckpointError, match=r"^samed\.pth came first"):
        examine(files["samed"], files["sam"])
    broken = samed_file(models.tiny(models.SamedConfig))
    del broken["w_b_003"]
    with pytest.raises(CheckpointError, match=r"looks like SAMed's LoRA file, but .*w_b_003"):
        examine(saved(broken))
    names = ("image_encoder.trunk.pos_embed", "sam_mask_decoder.iou_token.weight")
    path = saved(dict.fromkeys(names, torch.zeros(2)))
    with pytest.raises(NotSupportedError, match="SAM 2 is recognised"):
        examine(path)
