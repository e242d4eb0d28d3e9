"""Folding of the prompt encoder and mask decoder: official weights -> FoldedDecoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from samedge.fold.attention import EPS, scaled_heads
from samedge.fold.decoder_layers import (
    DecoderLayer,
    FinalAttention,
    FoldedDecoder,
    MaskHead,
    MaskPrompt,
    PromptEncoder,
    TokenAttention,
)
from samedge.fold.generator import fold_generator
from samedge.fold.layers import Linear, Norm
from samedge.fold.report import Notes
from samedge.fold.tree import Tree

DECODER_EPS = 1e-5  # torch's default, in the two-way transformer


@dataclass(frozen=True)
class DecoderSpec:
    """What the shapes of the tensors do not tell.

    Attributes:
        input_size: side of the frame that prompts live in, px.
        grid: side of the image embedding, tokens.
        heads: attention heads.
        masks: indices of the mask tokens whose masks can be asked for.
        prompts: what the family takes, of "point", "box" and "mask".
        lasting_code: the position code is added to the tokens for good, and the first layer keeps
            its residual (Medical SAM Adapter).
        generator_heads: of the prompt generator's attentions (AutoSAMUS); 0 without one.
    """

    input_size: int
    grid: int
    heads: int
    masks: tuple[int, ...]
    prompts: tuple[str, ...]
    lasting_code: bool = False
    generator_heads: int = 0


def fold_decoder(
    tensors: dict[str, torch.Tensor], spec: DecoderSpec, notes: Notes
) -> FoldedDecoder:
    """Fold `prompt_encoder.*`, `mask_decoder.*` and a prompt generator of a state dict."""
    t = Tree(tensors, "mask_decoder.")
    p = Tree(tensors, "prompt_encoder.")
    gauss = p["pe_layer.positional_encoding_gaussian_matrix"]
    code = dense_code(gauss, spec.grid)
    trunk = t.below("transformer")
    layers = [_layer(trunk, i, code, spec, notes) for i in trunk.indices("layers")]
    notes.add("decoder", "dense position code through the image's projections, once")
    notes.add("decoder", "image keys, values, queries of a layer in one matrix, shared by prompts")
    total = t["mask_tokens.weight"].shape[0]
    if len(spec.masks) < total:
        notes.add("decoder", f"hypernetworks: {len(spec.masks)} of {total} masks")
    tokens = torch.cat([t["iou_token.weight"], t["mask_tokens.weight"]])[None]
    generator = None
    if spec.generator_heads:
        generator = fold_generator(tensors, tokens, spec.generator_heads, notes)
    return FoldedDecoder(
        _prompt(p, gauss, spec, notes),
        _mask_prompt(p, spec, notes),
        generator,
        tokens,
        layers,
        _final(trunk, code, spec.heads, notes),
        _head(t, spec.masks),
        spec.masks,
    )


def dense_code(gauss: torch.Tensor, grid: int) -> torch.Tensor:
    """Position code of the cell centres, [grid * grid, P], float64."""
    centre = 2 * (torch.arange(grid, dtype=torch.float64) + 0.5) / grid - 1
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    phase = 2 * math.pi * (torch.stack([x, y], -1) @ gauss)
    return torch.cat([phase.sin(), phase.cos()], -1).reshape(grid * grid, -1)


def _prompt(p: Tree, gauss: torch.Tensor, spec: DecoderSpec, notes: Notes) -> PromptEncoder | None:
    if not {"point", "box"} & set(spec.prompts):
        notes.add("decoder", "encoding of points and boxes left out: the family takes none")
        return None
    notes.add("decoder", "px of the network input into the position code's frequencies")
    # phase = 2 pi (2 (xy + 0.5) / S - 1) G
    matrix = gauss * (4 * math.pi / spec.input_size)
    offset = gauss.sum(0) * (2 * math.pi * (1 / spec.input_size - 1))
    rows = [p["not_a_point_embed.weight"]]
    rows += [p[f"point_embeddings.{i}.weight"] for i in range(4)]
    return PromptEncoder(Linear(matrix, offset), torch.cat(rows))


def _mask_prompt(p: Tree, spec: DecoderSpec, notes: Notes) -> MaskPrompt | None:
    if "mask" not in spec.prompts:
        notes.add("decoder", "mask-prompt branch left out: the family takes no mask prompts")
        return None
    d = p.below("mask_downscaling")
    w1, w2, w3 = d["0.weight"], d["3.weight"], d["6.weight"]
    return MaskPrompt(
        Linear(w1.reshape(w1.shape[0], -1).t(), d["0.bias"]),
        Norm(d["1.weight"], d["1.bias"], EPS),
        Linear(w2.permute(2, 3, 1, 0).reshape(-1, w2.shape[0]), d["3.bias"]),
        Norm(d["4.weight"], d["4.bias"], EPS),
        Linear(w3[:, :, 0, 0].t(), d["6.bias"] - p["no_mask_embed.weight"].reshape(-1)),
    )


def _attention(t: Tree, heads: int, notes: Notes) -> tuple[Linear, Linear, Linear, Linear]:
    (q, q_bias), (k, _), (v, v_bias) = (t.linear(f"{x}_proj", notes) for x in "qkv")
    return scaled_heads((q, k, v), (q_bias, v_bias), t.linear("out_proj", notes), heads)


def _norm(t: Tree) -> Norm:
    return Norm(t["weight"], t["bias"], DECODER_EPS)


def _layer(
    trunk: Tree, index: int, code: torch.Tensor, spec: DecoderSpec, notes: Notes
) -> DecoderLayer:
    t, heads = trunk.below(f"layers.{index}"), spec.heads
    q, k, v, proj = _attention(t.below("self_attn"), heads, notes)
    assert q.bias is not None
    qk = Linear(torch.cat([q.weight, k.weight], 1), torch.cat([q.bias, torch.zeros_like(q.bias)]))
    self_attn = TokenAttention(qk, v, proj, heads)
    to_q, to_k, to_v, to_proj = _attention(t.below("cross_attn_token_to_image"), heads, notes)
    fr_q, fr_k, fr_v, fr_proj = _attention(t.below("cross_attn_image_to_token"), heads, notes)
    assert fr_q.bias is not None
    image = Linear(torch.cat([to_k.weight, to_v.weight, fr_q.weight], 1))
    image_code = torch.cat(
        [
            code @ to_k.weight.double(),
            torch.zeros(code.shape[0], to_v.weight.shape[1], dtype=torch.float64),
            code @ fr_q.weight.double() + fr_q.bias.double(),
        ],
        1,
    )
    norms = [_norm(t.below(f"norm{i}")) for i in (1, 2, 3, 4)]
    names = ("mlp.layers.0.0", "mlp.fc") if "mlp.fc" in t else ("mlp.lin1", "mlp.lin2")
    (w1, b1), (w2, b2) = (t.linear(name, notes) for name in names)
    own_code = "tokens" if spec.lasting_code else "scores"
    return DecoderLayer(
        self_attn,
        norms,
        (Linear(w1.t(), b1), Linear(w2.t(), b2)),
        (image, image_code),
        (to_q, to_proj),
        (fr_k, fr_v, fr_proj),
        heads,
        code="none" if index == 0 else own_code,
        residual=index > 0 or spec.lasting_code,
    )


def _final(t: Tree, code: torch.Tensor, heads: int, notes: Notes) -> FinalAttention:
    q, k, v, proj = _attention(t.below("final_attn_token_to_image"), heads, notes)
    of_keys = code @ k.weight.double()
    of_values = torch.zeros(len(code), v.weight.shape[1], dtype=torch.float64)
    image_code = torch.cat([of_keys, of_values], 1)
    image = Linear(torch.cat([k.weight, v.weight], 1))
    return FinalAttention(image, image_code, q, proj, _norm(t.below("norm_final_attn")), heads)


def _head(t: Tree, masks: tuple[int, ...]) -> MaskHead:
    def upscale(i: int) -> Linear:  # [in, out, a, b] -> columns (a, b, out)
        weight, bias = t[f"output_upscaling.{i}.weight"], t[f"output_upscaling.{i}.bias"]
        return Linear(weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1), bias.repeat(4))

    def mlp(prefix: str) -> list[Linear]:
        d = t.below(prefix)
        return [Linear(d[f"{i}.weight"].t(), d[f"{i}.bias"]) for i in t.indices(prefix)]

    iou = mlp("iou_prediction_head.layers")
    last = iou[-1]
    assert last.bias is not None
    index = list(masks)
    iou[-1] = Linear(last.weight[:, index], last.bias[index])
    norm = Norm(t["output_upscaling.1.weight"], t["output_upscaling.1.bias"], EPS)
    hyper = [mlp(f"output_hypernetworks_mlps.{m}.layers") for m in masks]
    return MaskHead(upscale(0), norm, upscale(3), hyper, iou)
