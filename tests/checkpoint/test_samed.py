"""SAMed: a SAM base and its LoRA file -> one set of tensors, each from where it belongs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from samedge import models, open_checkpoint
from samedge.checkpoint.options import SYNAPSE, CheckpointOptions
from samedge.checkpoint.records import record
from samedge.checkpoint.samed import (
    base_name,
    file_name,
    lora_file_shapes,
    lora_sizes,
    samed_config,
)
from samedge.errors import CheckpointError
from samedge.models.build import model_shapes
from tests.checkpoint.tiny_files import MINUTE, samed_file, whole

MANIFESTS = Path(__file__).parents[1] / "golden" / "vectors" / "manifests"
StateDict = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Save = Callable[..., Path]


def manifest_shapes(name: str) -> Shapes:
    document = json.loads((MANIFESTS / f"{name}.json").read_text())
    return {key: tuple(entry["shape"]) for key, entry in document["tensors"].items()}


# --- names ------------------------------------------------------------------------------------


def written_out(depth: int, decoder_depth: int) -> dict[str, str]:
    """Model name -> file name of every low-rank factor, by SAMed's order of counting."""
    names = {}
    for half in "ab":
        for block in range(depth):
            for offset, part in enumerate("qv"):
                own = f"image_encoder.blocks.{block}.attn.qkv.linear_{half}_{part}.weight"
                names[own] = f"w_{half}_{2 * block + offset:03d}"
        attentions = ("self_attn", "sa"), ("cross_attn_token_to_image", "cti"), (
            "cross_attn_image_to_token", "cit",
        )  # fmt: skip
        for layer in range(decoder_depth):
            for attention, short in attentions:
                for offset, part in enumerate("qv"):
                    own = (
                        f"mask_decoder.transformer.layers.{layer}.{attention}.{part}_proj."
                        f"w_{half}.weight"
                    )
                    names[own] = f"{short}_{half}_{2 * layer + offset:03d}"
        for part in "qv":
            own = f"mask_decoder.transformer.final_attn_token_to_image.{part}_proj.w_{half}.weight"
            names[own] = f"fati_{part}{half}"
    return names


@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 2))
def test_every_tensor_has_one_source(depth: int, decoder_depth: int, decoder_rank: int) -> None:
    sizes = {**MINUTE, "depth": depth, "global_blocks": (), "decoder_depth": decoder_depth}
    config = models.tiny(models.SamedConfig, decoder_rank=decoder_rank, **sizes)
    model = model_shapes(config)
    sam = model_shapes(models.tiny(models.SamConfig, **sizes))
    in_file = lora_file_shapes(model)

    own = {name: file_name(name) for name in model if file_name(name)}
    assert len(set(own.values())) == len(own)  # no two tensors share a name in the file
    based = {base_name(name, model): name for name in sam}
    assert len(based) == len(sam)  # nor in the model
    assert set(based) <= set(model)
    assert {n for n in model if own.get(n) not in in_file} <= set(based)  # nothing is left out

    factors = written_out(depth, decoder_depth)
    for name in model:
        kept = name.startswith(("prompt_encoder.", "mask_decoder."))
        assert file_name(name) == factors.get(name, name if kept else None)
    assert {n for n in in_file if n in factors.values()} == {
        short for name, short in factors.items() if name in model
    }
    # The transformer is in SAMed's file, and not in SAMed_s's.
    assert any("decoder.transformer" in n for n in in_file) == (not decoder_rank)


# --- sizes ------------------------------------------------------------------------------------

WIDTHS = {"vit_b": (12, 768), "vit_l": (24, 1024), "vit_h": (32, 1280)}


def official_lora_file(manifest: str, vit: str, rank: int, classes: int) -> Shapes:
    """The file of another size, made from the official ViT-B one: `rank`, width and counts change,
    all other tensors are those of the decoder and do not know the encoder."""
    depth, width = WIDTHS[vit]
    shapes: Shapes = {}
    for half, shape in (("a", (rank, width)), ("b", (width, rank))):
        shapes |= {f"w_{half}_{i:03d}": shape for i in range(2 * depth)}
    for name, shape in manifest_shapes(manifest).items():
        if re.match(r"(sa|cti|cit)_a_|fati_.a", name):
            shapes[name] = (rank, shape[1])
        elif re.match(r"(sa|cti|cit)_b_|fati_.b", name):
            shapes[name] = (shape[0], rank)
        elif name.startswith("mask_decoder.output_hypernetworks_mlps.0."):
            for i in range(classes + 1):
                shapes[name.replace("mlps.0.", f"mlps.{i}.")] = shape
        elif name == "mask_decoder.mask_tokens.weight" or "iou_prediction_head.layers.2" in name:
            shapes[name] = (classes + 1, *shape[1:])
        elif not name.startswith(("w_", "mask_decoder.output_hypernetworks_mlps.")):
            shapes[name] = shape
    return shapes


@pytest.mark.parametrize(
    ("manifest", "kind"),
    [("samed_lora_vit_b_r4_c8", "samed"), ("samed_s_lora_vit_b_r4_c8", "samed_s")],
)
@pytest.mark.parametrize(
    ("vit", "rank", "classes"),
    [
        ("vit_b", 1, 1),
        ("vit_b", 4, 8),
        ("vit_b", 7, 13),
        ("vit_l", 1, 4),
        ("vit_l", 7, 1),
        ("vit_h", 4, 8),
        ("vit_h", 7, 2),
    ],
)
def test_official_sizes(manifest: str, kind: str, vit: str, rank: int, classes: int) -> None:
    shapes = official_lora_file(manifest, vit, rank, classes)
    if (vit, rank, classes) == ("vit_b", 4, 8):
        assert shapes == manifest_shapes(manifest)
    sizes = lora_sizes(shapes)
    decoder_rank = rank if kind == "samed_s" else 0
    assert (sizes.blocks, sizes.width) == WIDTHS[vit]
    assert (sizes.rank, sizes.decoder_rank, sizes.classes) == (rank, decoder_rank, classes)

    sam = record("sam").variant(model_shapes(models.sam_config(vit)), {}, CheckpointOptions())
    config = samed_config(sam.config, sizes, CheckpointOptions())
    variant = record(kind).settled(config, CheckpointOptions(), sizes.ranks)
    made = record(kind).network.config(variant.config)
    wanted = models.preset(
        models.SamedConfig,
        vit,
        num_mask_tokens=classes + 1,
        lora_rank=rank,
        decoder_rank=decoder_rank,
    )
    assert made == wanted
    assert variant.classes == classes
    assert (variant.vit, variant.input_size, variant.low_res) == (vit, 512, 128)
    assert lora_file_shapes(model_shapes(wanted)) == shapes


# --- tensors ----------------------------------------------------------------------------------


def linear(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The first axis resized to `count` samples: half-pixel centres, clamped, no antialiasing."""
    n = len(values)
    at = np.clip((np.arange(count) + 0.5) * n / count - 0.5, 0, n - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, n - 1)
    share = (at - low).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - share) + values[high] * share


def resized(name: str, tensor: Tensor, grid: int, global_blocks: tuple[int, ...]) -> Tensor:
    """What SAMed makes of a tensor of its base for another grid."""
    values = tensor.numpy().astype(np.float64)
    if name == "image_encoder.pos_embed":
        rows = linear(values[0], grid)
        values = linear(rows.transpose(1, 0, 2), grid).transpose(1, 0, 2)[None]
    found = re.fullmatch(r"image_encoder\.blocks\.(\d+)\.attn\.rel_pos_[hw]", name)
    if found and int(found[1]) in global_blocks:
        values = linear(values, 2 * grid - 1)
    return torch.from_numpy(values.astype(np.float32))


def expected_tensors(
    sam: StateDict, lora: StateDict, config: models.SamedConfig, base_grid: int
) -> StateDict:
    """Every tensor of the model from where it belongs, written out."""
    expected = {}
    for name, tensor in sam.items():
        if base_grid != config.grid:
            tensor = resized(name, tensor, config.grid, config.global_blocks)
        name = re.sub(r"\.attn\.qkv\.(weight|bias)$", r".attn.qkv.qkv.\1", name)
        if config.decoder_rank:
            name = re.sub(
                r"(mask_decoder\.transformer\..*[qv]_proj)\.(weight|bias)$", r"\1.proj.\2", name
            )
        expected[name] = tensor
    factors = {short: name for name, short in written_out(config.depth, 2).items()}
    expected |= {factors.get(name, name): tensor for name, tensor in lora.items()}
    # Hypernetworks of classes that the file does not have stay behind with the base.
    names = model_shapes(config)
    return {k: v for k, v in expected.items() if k in names}


CASES = [
    # base px, input px, changes
    (256, 128, {}),
    (256, 256, {"lora_rank": 1, "num_mask_tokens": 2}),
    (128, 256, {"lora_rank": 7, "num_mask_tokens": 10}),
    (1024, 512, {"lora_rank": 4, "num_mask_tokens": 9}),
    (1024, 224, {"lora_rank": 4, "num_mask_tokens": 9}),
    (256, 48, {"decoder_rank": 5}),
    (1024, 512, {"decoder_rank": 3, "num_mask_tokens": 2}),
    (256, 128, {"depth": 13, "global_blocks": (2, 6, 12)}),
]


@pytest.mark.parametrize(("base_px", "px", "changes"), CASES)
def test_every_tensor_comes_from_its_file(
    base_px: int, px: int, changes: dict[str, Any], saved: Save
) -> None:
    config = models.tiny(models.SamedConfig, img_size=px, **changes)
    vit = {k: v for k, v in changes.items() if k in ("depth", "global_blocks")}
    sam = whole(models.tiny_sam_config(img_size=base_px, **vit), 2)
    lora = samed_file(config)
    paths = saved(sam, "sam.pth"), saved(lora, "lora.pth")
    checkpoint = open_checkpoint(*paths, input_size=None if px == 512 else px)
    assert ("SAMed's usual one, which no tensor shows" in checkpoint.describe()) == (px == 512)

    expected = expected_tensors(sam, lora, config, base_px // 16)
    assert set(checkpoint.tensors) == set(expected) == set(model_shapes(config))
    for name, tensor in expected.items():
        exact = "pos" not in name or base_px == px
        torch.testing.assert_close(
            checkpoint.tensors[name], tensor, atol=0 if exact else 1e-5, rtol=0
        )
    model = checkpoint.build()
    assert model.config == config
    assert not model.training
    assert checkpoint.kind == ("samed_s" if config.decoder_rank else "samed")
    assert checkpoint.family.name == "samed"
    assert [file.name for file in checkpoint.files] == ["sam.pth", "lora.pth"]
    assert len(checkpoint.sha256) == 2


@given(
    rank=st.integers(1, 9),
    classes=st.integers(1, 11),
    decoder_rank=st.integers(0, 4),
    base_grid=st.integers(1, 9),
    grid=st.integers(1, 9),
)
def test_any_sizes(
    rank: int, classes: int, decoder_rank: int, base_grid: int, grid: int, tmp_path: Path
) -> None:
    config = models.tiny(
        models.SamedConfig,
        **MINUTE,
        img_size=16 * grid,
        num_mask_tokens=classes + 1,
        lora_rank=rank,
        decoder_rank=decoder_rank,
    )
    sam = whole(models.tiny_sam_config(**MINUTE, img_size=16 * base_grid), 2)
    lora = samed_file(config)
    torch.save(sam, tmp_path / "sam.pth")
    torch.save(lora, tmp_path / "lora.pth")
    paths = tmp_path / "sam.pth", tmp_path / "lora.pth"
    checkpoint = open_checkpoint(*paths, input_size=16 * grid, rank=rank, classes=classes)
    assert checkpoint.build().config.grid == grid
    assert checkpoint.variant.classes == classes
    assert (
        checkpoint.variant.ranks == lora_sizes({k: tuple(v.shape) for k, v in lora.items()}).ranks
    )
    for name, tensor in lora.items():
        if name in checkpoint.tensors:
            assert torch.equal(checkpoint.tensors[name], tensor)


def test_tables_of_a_base_with_the_same_grid_stay(saved: Save) -> None:
    """Only a new grid resizes them; the network does, at run time, with what is stored."""
    sam = whole(models.tiny_sam_config(rel_pos_grid=16), 2)
    config = models.tiny(models.SamedConfig, rel_pos_grid=16)
    paths = saved(sam, "sam.pth"), saved(samed_file(config), "lora.pth")
    checkpoint = open_checkpoint(*paths, input_size=128)
    name = "image_encoder.blocks.3.attn.rel_pos_h"
    assert torch.equal(checkpoint.tensors[name], sam[name])
    assert checkpoint.build().config == config
    smaller = open_checkpoint(*paths, input_size=64)
    assert smaller.tensors[name].shape[0] == 7
    assert smaller.build().config.rel_pos_grid is None


def test_medsam_may_be_the_base(saved: Save) -> None:
    """Its tensors have the same names; a LoRA file trained on it goes with it."""
    medsam = whole(models.tiny(models.MedsamConfig, img_size=256), 9)
    config = models.tiny(models.SamedConfig)
    paths = saved(medsam, "medsam.pth"), saved(samed_file(config), "lora.pth")
    checkpoint = open_checkpoint(*paths, input_size=128, family="samed")
    name = "image_encoder.neck.0.weight"
    assert torch.equal(checkpoint.tensors[name], medsam[name])


def test_nothing_is_copied_but_what_is_resized(saved: Save) -> None:
    sam = whole(models.tiny_sam_config(img_size=256), 2)
    lora = samed_file(models.tiny(models.SamedConfig))
    from samedge.checkpoint.samed import attach

    config = samed_config(
        record("sam")
        .variant({k: tuple(v.shape) for k, v in sam.items()}, {}, CheckpointOptions())
        .config,
        lora_sizes({k: tuple(v.shape) for k, v in lora.items()}),
        CheckpointOptions(input_size=128),
    )
    tensors, _ = attach(sam, lora, config, record("samed").network.shapes(config))
    given_storages = {v.data_ptr() for v in (*sam.values(), *lora.values())}
    fresh = [name for name, tensor in tensors.items() if tensor.data_ptr() not in given_storages]
    assert fresh == [
        "image_encoder.pos_embed",
        *(f"image_encoder.blocks.{i}.attn.rel_pos_{a}" for i in (1, 3) for a in "hw"),
    ]


# --- classes ----------------------------------------------------------------------------------


def pair(saved: Save, classes: int) -> tuple[Path, Path]:
    config = models.tiny(models.SamedConfig, num_mask_tokens=classes + 1)
    sam = whole(models.tiny_sam_config(), 2)
    return saved(sam, "sam.pth"), saved(samed_file(config), "lora.pth")


def test_classes_by_number(saved: Save) -> None:
    for said in (None, 3):
        checkpoint = open_checkpoint(*pair(saved, 3), input_size=128, classes=said)
        assert checkpoint.family.classes == ("background", "class 1", "class 2", "class 3")
        assert checkpoint.variant.classes == 3
        assert "3: class 1, class 2, class 3" in checkpoint.describe()


@pytest.mark.parametrize("said", [["a", "b c", "ü"], ("a", "b c", "ü")])
def test_classes_by_name(said: Any, saved: Save) -> None:
    checkpoint = open_checkpoint(*pair(saved, 3), input_size=128, classes=said)
    assert checkpoint.family.classes == ("background", "a", "b c", "ü")
    assert checkpoint.build().family.classes == checkpoint.family.classes
    json.dumps(checkpoint.summary())


@pytest.mark.parametrize("said", ["synapse", "Synapse"])
def test_classes_of_synapse(said: str, saved: Save) -> None:
    checkpoint = open_checkpoint(*pair(saved, 8), input_size=128, classes=said)
    assert checkpoint.family.classes == ("background", *SYNAPSE)
    assert SYNAPSE[0] == "spleen"
    assert len(SYNAPSE) == 8


def test_a_class_may_not_be_called_as_the_background(saved: Save) -> None:
    with pytest.raises(CheckpointError, match=r"lora\.pth: .*every class differently"):
        open_checkpoint(*pair(saved, 2), input_size=128, classes=["background", "liver"])


# --- the model --------------------------------------------------------------------------------


def merged_sam(tensors: StateDict, config: models.SamedConfig) -> models.Sam:
    """Plain SAM with the products added to its weights."""
    plain = {}
    for name, tensor in tensors.items():
        if ".linear_" in name or ".w_a." in name or ".w_b." in name:
            continue
        if name.endswith("qkv.qkv.weight"):
            q, k, v = tensor.chunk(3)
            factors = {
                part: tensors[name.replace("qkv.weight", f"linear_b_{part}.weight")]
                @ tensors[name.replace("qkv.weight", f"linear_a_{part}.weight")]
                for part in "qv"
            }
            tensor = torch.cat((q + factors["q"], k, v + factors["v"]))
        if name.endswith("_proj.proj.weight"):
            stem = name.removesuffix("proj.weight")
            tensor = tensor + tensors[f"{stem}w_b.weight"] @ tensors[f"{stem}w_a.weight"]
        name = name.replace(".qkv.qkv.", ".qkv.").replace("_proj.proj.", "_proj.")
        plain[name] = tensor
    sizes = {"img_size": config.img_size, "num_mask_tokens": config.num_mask_tokens}
    return models.build_sam(models.tiny_sam_config(**sizes), plain)


@pytest.mark.parametrize("decoder_rank", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_forward_is_that_of_merged_weights(decoder_rank: int, channels: int, saved: Save) -> None:
    config = models.tiny(models.SamedConfig, decoder_rank=decoder_rank)
    paths = (
        saved(whole(models.tiny_sam_config(img_size=256), 2), "sam.pth"),
        saved(samed_file(config), "lora.pth"),
    )
    checkpoint = open_checkpoint(*paths, input_size=128)
    model, sam = checkpoint.build(), merged_sam(checkpoint.tensors, config)
    x = torch.rand(2, channels, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        low_res, full = model(x)
        embedding = sam.encode(x.expand(-1, 3, -1, -1))
        dense = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(2, -1, 8, 8)
        expected, _ = sam.mask_decoder.predict_masks(
            embedding, sam.prompt_encoder.dense_pe(), torch.zeros(2, 0, 32), dense
        )
        without = model.encode(x) - embedding
    assert low_res.shape == (2, config.num_mask_tokens, 32, 32)
    assert full.shape == (2, config.num_mask_tokens, 128, 128)
    torch.testing.assert_close(without, torch.zeros_like(without), atol=1e-5, rtol=0)
    torch.testing.assert_close(low_res, expected, atol=2e-5, rtol=0)
