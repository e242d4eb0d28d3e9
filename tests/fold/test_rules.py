"""Every rule of the fold, broken on purpose: the tests would see it.

Each entry of `BROKEN` leaves out or changes one step of docs/folding.md. The unbroken fold is below
1e-4 in the same comparison (test_exact.py); the broken one must be far above.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from samedge.fold import attention, decoder, encoder, generator, tiny_encoder
from samedge.fold import tree as tree_module
from samedge.fold.generator import PromptGenerator
from samedge.fold.tree import Tree
from samedge.kernels import reference
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    PromptableModel,
    SamConfig,
    SamedConfig,
    SamusConfig,
    tiny,
)
from tests.fold import breaks as b
from tests.fold import breaks_of_families as bf
from tests.fold import oracle
from tests.fold.breaks import Break, built, changed, forget, spec, wrapped

VISIBLE = 1e-3
LORA = {"adapter_ratio": 0.0, "lora_rank": 3}
EVERYWHERE = ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")

# SAM stores its global tables for another grid, so that resizing them matters, too. Volumes have
# groups of 12 windows (3 x 4), so that both tables of the depth branch matter.
CONFIGS: dict[str, ModelConfig] = {
    "sam": tiny(SamConfig, rel_pos_grid=5),
    "samed": tiny(SamedConfig),
    "samed_s": tiny(SamedConfig, decoder_rank=2),
    "msa": tiny(MsaConfig),
    "lora": tiny(MsaConfig, **LORA, lora_layers=EVERYWHERE, lora_groups=2),
    "lora of all three": tiny(MsaConfig, **LORA, lora_layers=EVERYWHERE, lora_groups=3),
    "msa volume": tiny(MsaConfig, slices=3),
    "msa chunks": tiny(MsaConfig, slices=4, chunk=2),
    "samus": tiny(SamusConfig),
    "autosamus": tiny(AutosamusConfig),
    "mobile_sam": tiny(MobileSamConfig),
    "litemedsam": tiny(LiteMedsamConfig),
}


@cache
def model_of(name: str) -> PromptableModel:
    """One of `CONFIGS` with random weights; not to be changed."""
    return oracle.random_model(CONFIGS[name])


SAM, SAMUS, AUTO = ("sam",), ("samus",), ("autosamus",)
BOTH = (*SAM, *SAMUS)
MSA, STACKS = ("msa",), ("msa volume", "msa chunks")
SAMED, LORALIB = ("samed", "samed_s"), ("lora", "lora of all three")
TINY_VIT = ("litemedsam",)
ATTENTION = {
    "value bias left out": b.keep_value_bias,
    "query bias left out": b.drop_query_bias,
    "no softmax scale": b.no_softmax_scale,
}
BROKEN: list[tuple[str, tuple[str, ...], Break]] = [
    *((f"encoder: {n}", BOTH + MSA, wrapped(attention, "scaled_heads", f))
      for n, f in ATTENTION.items()),
    *((f"decoder: {n}", BOTH, wrapped(decoder, "scaled_heads", f)) for n, f in ATTENTION.items()),
    ("tables not divided", BOTH, wrapped(attention, "relative_table", b.tables_not_divided)),
    ("tables transposed", BOTH, wrapped(attention, "relative_table", b.tables_transposed)),
    ("tables not resized", SAM, wrapped(attention, "relative_table", b.tables_cut)),
    ("padding not attended", BOTH + MSA,
     wrapped(reference, "window_attention", b.padding_not_attended)),
    ("adapter scale 1", SAMUS + MSA, spec(adapter_scale=1.0)),
    ("branch scale 1", SAMUS, spec(branch_scale=1.0)),
    ("window 4", BOTH, spec(window=4)),
    *((f"weights {i} not centred", SAMUS, b.not_centred(i)) for i in range(8)),
    *((f"weights {i} not centred", AUTO, b.not_centred(i)) for i in range(8, 12)),
    *((f"neck {i} not centred", SAM, b.not_centred(i)) for i in range(2)),
    ("no-mask embedding", BOTH + MSA + SAMED, wrapped(encoder, "fold_neck", b.no_mask_forgotten)),
    ("mask prompt keeps no-mask", SAM, forget("no_mask_embed")),
    ("value scale", BOTH, wrapped(encoder, "first_conv", b.value_scale_off)),
    ("grey from one channel", (*SAMUS, "samed", "msa volume"),
     wrapped(encoder, "first_conv", b.grey_of_one_channel)),
    ("patch bias", BOTH, forget(r"patch_embed\.proj\.bias")),
    ("serial adapter, bias 1", SAMUS, forget(r"input_Adapter\.D_fc1\.bias")),
    ("serial adapter, bias 2", SAMUS, forget(r"input_Adapter\.D_fc2\.bias")),
    ("parallel adapter, bias 1", SAMUS + MSA, forget(r"MLP_Adapter\.D_fc1\.bias")),
    ("parallel adapter, bias 2", SAMUS + MSA, forget(r"MLP_Adapter\.D_fc2\.bias")),
    ("position table", SAMUS, wrapped(encoder, "_position_table", b.pooled_positions)),
    ("resize", SAMUS, wrapped(encoder, "bilinear_matrix", b.nearest_resize)),
    ("dense position code", BOTH, wrapped(decoder, "dense_code", b.no_position_in_image_keys)),
    ("cell centres", BOTH, wrapped(decoder, "dense_code", b.corner_positions)),
    ("px centres", BOTH, wrapped(decoder, "_prompt", b.prompt_without_half_px)),
    ("label table", BOTH, wrapped(decoder, "_prompt", b.labels_shifted)),
    ("mask tokens", SAM + SAMED, wrapped(decoder, "_head", b.first_mask_twice)),
    ("first residual kept", BOTH, wrapped(decoder, "DecoderLayer", bf.first_residual_kept)),
    # LoRA
    ("query branch", SAMED, forget("linear_b_q")),
    ("value branch", SAMED, forget("linear_b_v")),
    ("branches swapped", SAMED, wrapped(Tree, "linear", bf.branches_moved((2, 1, 0)))),
    ("value branch at the key", SAMED, wrapped(Tree, "linear", bf.branches_moved((0, 2, 1)))),
    ("decoder's query branch", ("samed_s",), forget(r"q_proj\.w_b")),
    ("decoder's value branch", ("samed_s",), forget(r"v_proj\.w_b")),
    ("decoder's last branch", ("samed_s",), forget(r"final_attn.*w_a")),
    *((f"branch of {name}", LORALIB, forget(rf"{name}\.lora_B")) for name in EVERYWHERE),
    ("no 1 / r", LORALIB, wrapped(tree_module, "merged_delta", bf.without_rank)),
    ("branches moved", LORALIB, wrapped(tree_module, "merged_delta", bf.groups_moved)),
    ("padding is norm1's bias", LORALIB, spec(norm_inside=True)),
    # Medical SAM Adapter
    ("padding is zero", MSA + STACKS, spec(norm_inside=False)),
    ("norm1's scale", MSA + STACKS, changed(r"norm1\.weight", torch.ones_like)),
    ("norm1's shift", MSA + STACKS, forget(r"norm1\.bias")),
    ("serial matrix", MSA, wrapped(attention, "_serial", bf.serial_of_the_attention)),
    ("serial bias A1 p", MSA, wrapped(attention, "_serial", bf.serial_without_projection_bias)),
    ("serial bias 1", MSA, forget(r"Space_Adapter\.D_fc1\.bias")),
    ("serial bias 2", MSA, forget(r"Space_Adapter\.D_fc2\.bias")),
    ("no depth branch", STACKS, forget(r"Depth_Adapter\.D_fc2\.weight")),
    ("depth bias D1 p", STACKS, wrapped(attention, "_serial", bf.depth_without_projection_bias)),
    ("depth bias 1", STACKS, forget(r"Depth_Adapter\.D_fc1\.bias")),
    ("depth bias 2", STACKS, forget(r"Depth_Adapter\.D_fc2\.bias")),
    ("second matrices swapped", STACKS, wrapped(attention, "_serial", bf.second_matrices_swapped)),
    ("depth rows", ("msa volume",), wrapped(attention, "DepthBranch", bf.depth_tables(0, 1))),
    ("depth columns", STACKS, wrapped(attention, "DepthBranch", bf.depth_tables(1, 0))),
    ("depth tables", STACKS, wrapped(attention, "DepthBranch", bf.depth_tables(0.25, 0.25))),
    ("depth grid turned", STACKS, wrapped(attention, "depth_grid", lambda f, n: f(n)[::-1])),
    ("depth groups", ("msa chunks",),
     wrapped(reference, "depth_attention", bf.every_other_slice)),
    ("depth by window", ("msa chunks",), wrapped(reference, "depth_attention", bf.windows_apart)),
    ("depth padding", STACKS,
     wrapped(reference, "depth_attention", bf.depth_padding_replicated)),
    ("mean", MSA + STACKS + LORALIB, wrapped(encoder, "first_conv", bf.no_mean)),
    ("mean of one channel", STACKS, wrapped(encoder, "first_conv", bf.mean_of_one_channel)),
    ("std of one channel", STACKS, wrapped(encoder, "first_conv", bf.std_of_one_channel)),
    ("bilinear table", MSA, wrapped(encoder, "_position_table", bf.bilinear_positions)),
    ("code in scores", MSA, wrapped(decoder, "DecoderLayer", bf.code_in_scores_only)),
    ("no first residual", MSA, wrapped(decoder, "DecoderLayer", bf.first_residual_as_in_sam)),
    ("no code", MSA + SAM, built(decoder, "DecoderLayer", code="none")),
    # AutoSAMUS
    ("no-mask embedding added", AUTO, wrapped(oracle, "no_mask_embedding", b.no_mask_added)),
    ("object tokens", AUTO, wrapped(generator, "_cross", bf.nothing_exchanged)),
    ("token_proj", AUTO, forget(r"token_proj\.weight")),
    ("token_proj's bias", AUTO, forget(r"token_proj\.bias")),
    ("other prompt", AUTO, wrapped(generator, "PromptGenerator", bf.other_token_first)),
    ("softmax without 1", AUTO, wrapped(reference, "one_more_attention", bf.plain_attention)),
    ("textbook softmax", AUTO, wrapped(reference, "one_more_attention", bf.textbook_attention)),
    ("no softmax scale", AUTO, wrapped(generator, "_exchange", bf.scale_kept)),
    *((part, AUTO, wrapped(generator, "_exchange", bf.exchanged(part)))
      for part in ("query bias", "value bias", "value bias behind the attention")),
    *((f"{norm}'s {part}", AUTO, changed(rf"image_token.*{norm}\.{part}", change))
      for norm in ("norm1", "norm2", r"\.norm")
      for part, change in (("weight", torch.ones_like), ("bias", torch.zeros_like))),
    ("affine twice", AUTO, wrapped(generator, "_exchange", bf.own_affine_kept)),
    ("pruned too early", AUTO, wrapped(PromptGenerator, "forward", bf.generated(prune=0))),
    ("one after the other", AUTO,
     wrapped(PromptGenerator, "forward", bf.generated(one_after_the_other=True))),
    ("no dense prompt", AUTO, wrapped(PromptGenerator, "forward", bf.generated(dense=False))),
    # TinyViT
    *((f"BatchNorm's {part}", TINY_VIT, changed(rf"\bbn\.{key}", change))
      for part, key, change in (("mean", "running_mean", torch.zeros_like),
                                ("variance", "running_var", torch.ones_like),
                                ("scale", "weight", torch.ones_like),
                                ("shift", "bias", torch.zeros_like))),
    ("attention norm's scale", TINY_VIT, changed(r"attn\.norm\.weight", torch.ones_like)),
    ("attention norm's shift", TINY_VIT, forget(r"attn\.norm\.bias")),
    *((n, TINY_VIT, wrapped(tiny_encoder, "scaled_heads", f)) for n, f in ATTENTION.items()),
    ("heads side by side", TINY_VIT, wrapped(tiny_encoder, "scaled_heads", bf.heads_as_thirds)),
    ("biases turned", TINY_VIT, wrapped(tiny_encoder, "distances", bf.rows_and_columns_swapped)),
    ("biases of the first query", TINY_VIT,
     wrapped(tiny_encoder, "distances", bf.distances_of_one_query)),
    ("padding not attended", TINY_VIT,
     wrapped(reference, "biased_window_attention", bf.biased_padding_not_attended)),
    ("no-mask embedding", TINY_VIT, wrapped(tiny_encoder, "fold_neck", b.no_mask_forgotten)),
    ("value scale", ("mobile_sam",), wrapped(tiny_encoder, "first_conv", b.value_scale_off)),
]  # fmt: skip
CASES = [(rule, family, broken) for rule, families, broken in BROKEN for family in families]


@pytest.mark.parametrize(
    ("family", "broken"),
    [(family, broken) for _, family, broken in CASES],
    ids=[f"{family}-{rule}" for rule, family, _ in CASES],
)
def test_a_broken_rule_is_seen(family: str, broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    found = oracle.errors(model_of(family))
    assert max(found.values()) > VISIBLE, found


def test_the_rewritten_generator_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that only its change is what the tests above see."""
    wrapped(PromptGenerator, "forward", bf.generated())(monkeypatch)
    found = oracle.errors(model_of("autosamus"))
    assert max(found.values()) < 1e-4, found


def test_depth_groups_by_window_are_right_where_there_is_one_window() -> None:
    """So that only the order of windows and slices is what the test above sees."""
    qkv = torch.randn(4, 9, 3 * 8)
    rel_h, rel_w = torch.randn(1, 4, 1), torch.randn(4, 4, 4)
    arguments = (qkv, rel_h, rel_w, 2, 3, 3, 4)
    expected = reference.depth_attention(*arguments)
    torch.testing.assert_close(bf.windows_apart(None, *arguments), expected, atol=1e-5, rtol=1e-5)


def test_the_attention_without_padding_keys_is_right_where_there_is_no_padding() -> None:
    """So that only its missing padding is what the test above sees."""
    qkv = torch.randn(2, 36, 3 * 8)
    rel_h, rel_w = torch.randn(3, 4, 3), torch.randn(3, 4, 3)
    expected = reference.window_attention(qkv, rel_h, rel_w, 2, 6)
    got = b.padding_not_attended(None, qkv, rel_h, rel_w, 2, 6)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_biased_attention_without_padding_keys_is_right_where_there_is_no_padding() -> None:
    """So that only its missing padding is what the test above sees."""
    qkv, bias = torch.randn(2, 36, 3 * 8), torch.randn(2, 9, 9)
    expected = reference.biased_window_attention(qkv, bias, 2, 6)
    got = bf.biased_padding_not_attended(None, qkv, bias, 2, 6)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", BOTH)
def test_dropping_the_key_bias_is_no_break(family: str) -> None:
    """Softmax does not see it: the eager model itself gives the same with other key biases."""
    model = oracle.random_model(CONFIGS[family])
    dim = model.config.embed_dim
    pixels = torch.rand(1, 3, model.config.img_size, model.config.img_size)
    with torch.no_grad():
        before = model.encode(pixels)
        for key, value in model.state_dict().items():
            if key.endswith("attn.qkv.bias"):
                value[dim : 2 * dim] += 3
            if key.endswith("Space_Adapter.k.bias"):
                value += 3
        after = model.encode(pixels)
    error = float((before - after).abs().max())
    assert error < 1e-4, error
