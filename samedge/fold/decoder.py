"""Folding of the prompt encoder and mask decoder: official weights -> FoldedDecoder.

Several prompts on one image share the image's keys and values of the first layer; position codes
go through their projections once, here; transposed convolutions whose kernel equals their stride
are matrix products, so nothing is rearranged before the final logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from samedge.fold.encoder import EPS, Tree, scaled_heads
from samedge.fold.layers import Linear, Norm, _parameter
from samedge.fold.report import Notes
from samedge.kernels import reference as ops

DECODER_EPS = 1e-5  # torch's default, in the two-way transformer


@dataclass(frozen=True)
class DecoderSpec:
    """What the shapes of the tensors do not tell.

    Attributes:
        input_size: side of the frame that prompts live in, px.
        grid: side of the image embedding, tokens.
        heads: attention heads.
        masks: indices of the mask tokens whose masks can be asked for.
        mask_prompt: keep the branch that encodes a mask prompt.
    """

    input_size: int
    grid: int
    heads: int
    masks: tuple[int, ...]
    mask_prompt: bool


class PromptEncoder(nn.Module):
    """Points and box corners -> tokens. Labels: -1 padding, 0, 1 points, 2, 3 box corners."""

    def __init__(self, phase: Linear, labels: torch.Tensor) -> None:
        super().__init__()
        self.phase, self.labels = phase, _parameter(labels)  # labels [5, P], row = label + 1

    def forward(self, coords: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        phase = self.phase(coords)
        code = torch.cat([phase.sin(), phase.cos()], dim=-1)
        return code * (labels >= 0)[..., None] + self.labels[labels.long() + 1]


class MaskPrompt(nn.Module):
    """Low-res logits [M, 1, L, L] -> what they add to the embedding, [M, g*g, P].

    The no-mask embedding is part of the image embedding, so it is subtracted here.
    """

    def __init__(self, lin1: Linear, norm1: Norm, lin2: Linear, norm2: Norm, lin3: Linear) -> None:
        super().__init__()
        self.lin1, self.norm1, self.lin2, self.norm2 = lin1, norm1, lin2, norm2
        self.lin3 = lin3

    def forward(self, mask: torch.Tensor, has_mask: torch.Tensor) -> torch.Tensor:
        m, _, size, _ = mask.shape
        g = size // 4
        # [m, y, a, c, x, b, d] -> [m, y, x, a, b, (c, d)]
        x = mask.reshape(m, g, 2, 2, g, 2, 2).permute(0, 1, 4, 2, 5, 3, 6).reshape(m, g * g, 4, 4)
        x = F.gelu(self.norm1(self.lin1(x))).reshape(m, g * g, -1)
        x = F.gelu(self.norm2(self.lin2(x)))
        out: torch.Tensor = self.lin3(x) * has_mask[:, None, None]
        return out


class TokenAttention(nn.Module):
    """Self-attention of the tokens; queries and keys in one matrix."""

    def __init__(self, qk: Linear, v: Linear, proj: Linear, heads: int) -> None:
        super().__init__()
        self.qk, self.v, self.proj, self.heads = qk, v, proj, heads

    def forward(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        q, k = self.qk(x).chunk(2, dim=-1)
        out: torch.Tensor = self.proj(ops.attention(q, k, self.v(values), self.heads))
        return out


class DecoderLayer(nn.Module):
    """One two-way layer.

    `image` holds, side by side, the image's keys and values for the tokens and its queries to
    the tokens; `image_code` what the dense position code adds to them.
    """

    def __init__(
        self,
        self_attn: TokenAttention,
        norms: list[Norm],
        mlp: tuple[Linear, Linear],
        image: tuple[Linear, torch.Tensor],
        to_image: tuple[Linear, Linear],
        from_image: tuple[Linear, Linear, Linear],
        heads: int,
    ) -> None:
        super().__init__()
        self.self_attn, self.heads = self_attn, heads
        self.norm1, self.norm2, self.norm3, self.norm4 = norms
        self.lin1, self.lin2 = mlp
        self.image, self.image_code = image[0], _parameter(image[1])
        self.to_image_q, self.to_image_proj = to_image
        self.from_image_k, self.from_image_v, self.from_image_proj = from_image

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, code: torch.Tensor, first: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.self_attn(x if first else x + code, x)
        x = self.norm1(y if first else x + y)
        k, v, q = (self.image(keys) + self.image_code).chunk(3, dim=-1)
        y = ops.attention(self.to_image_q(x + code), k, v, self.heads)
        x = self.norm2(x + self.to_image_proj(y))
        x = self.norm3(x + self.lin2(F.relu(self.lin1(x))))
        y = ops.attention(q, self.from_image_k(x + code), self.from_image_v(x), self.heads)
        return x, self.norm4(keys + self.from_image_proj(y))


class FinalAttention(nn.Module):
    """The last look of the tokens at the image."""

    def __init__(
        self,
        image: Linear,
        image_code: torch.Tensor,
        q: Linear,
        proj: Linear,
        norm: Norm,
        heads: int,
    ) -> None:
        super().__init__()
        self.image, self.image_code = image, _parameter(image_code)
        self.q, self.proj, self.norm, self.heads = q, proj, norm, heads

    def forward(self, x: torch.Tensor, keys: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        k, v = (self.image(keys) + self.image_code).chunk(2, dim=-1)
        y = ops.attention(self.q(x + code), k, v, self.heads)
        out: torch.Tensor = self.norm(x + self.proj(y))
        return out


class MaskHead(nn.Module):
    """Upscaled image features times the hypernetworks' weights; predicted IoU."""

    def __init__(
        self,
        up1: Linear,
        norm: Norm,
        up2: Linear,
        hyper: list[list[Linear]],
        iou: list[Linear],
    ) -> None:
        super().__init__()
        self.up1, self.norm, self.up2 = up1, norm, up2
        self.hyper = nn.ModuleList(nn.ModuleList(layers) for layers in hyper)
        self.iou = nn.ModuleList(iou)

    def forward(
        self, tokens: torch.Tensor, masks: tuple[int, ...], keys: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        n, t, _ = keys.shape
        g = int(t**0.5)
        x = self.up1(keys).reshape(n, t, 4, -1)
        x = F.gelu(self.up2(F.gelu(self.norm(x)))).reshape(n, t * 16, -1)
        weights = torch.stack(
            [_relu_mlp(h, tokens[:, 1 + m]) for h, m in zip(self.hyper, masks, strict=True)], 1
        )  # fmt: skip
        k = weights.shape[1]
        logits = (weights @ x.transpose(1, 2)).reshape(n, k, g, g, 2, 2, 2, 2)
        # [n, k, y, x, a, b, c, d] -> rows (y, a, c), columns (x, b, d)
        logits = logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(n, k, 4 * g, 4 * g)
        return logits, _relu_mlp(self.iou, tokens[:, 0])


def _relu_mlp(layers: nn.Module, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(layers, nn.ModuleList)
    for i, layer in enumerate(layers):
        x = layer(x) if i == 0 else layer(F.relu(x))
    return x


class FoldedDecoder(nn.Module):
    """Prompts and embedding -> low-res logits and scores of every mask in `masks`."""

    def __init__(
        self,
        prompt: PromptEncoder,
        mask_prompt: MaskPrompt | None,
        tokens: torch.Tensor,
        layers: list[DecoderLayer],
        final: FinalAttention,
        head: MaskHead,
        masks: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.prompt, self.mask_prompt = prompt, mask_prompt
        self.tokens = _parameter(tokens)  # [1, 1 + masks, P]: IoU token first
        self.layers, self.final, self.head = nn.ModuleList(layers), final, head
        self.masks = masks

    def forward(
        self,
        embedding: torch.Tensor,
        coords: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor | None = None,
        has_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode.

        Args:
            embedding: [1 or N, P, g, g], no-mask embedding included.
            coords: [N, points, 2], px of the network input; labels [N, points].
            mask: [1 or N, 1, 4g, 4g] logits, with has_mask [1 or N] (0 or 1).

        Returns:
            logits [N, K, 4g, 4g] and scores [N, K] for the K masks in `self.masks`.
        """
        keys = embedding.flatten(2).transpose(1, 2)
        if self.mask_prompt is not None and mask is not None and has_mask is not None:
            keys = keys + self.mask_prompt(mask, has_mask)
        n = coords.shape[0]
        code = torch.cat([self.tokens.expand(n, -1, -1), self.prompt(coords, labels)], 1)
        x = code
        for i, layer in enumerate(self.layers):
            x, keys = layer(x, keys, code, first=i == 0)
        x = self.final(x, keys, code)
        logits, scores = self.head(x, self.masks, keys)
        return logits, scores


def fold_decoder(
    tensors: dict[str, torch.Tensor], spec: DecoderSpec, notes: Notes
) -> FoldedDecoder:
    """Fold `prompt_encoder.*` and `mask_decoder.*` of an official state dict."""
    t = Tree(tensors, "mask_decoder.")
    p = Tree(tensors, "prompt_encoder.")
    gauss = p["pe_layer.positional_encoding_gaussian_matrix"]
    code = dense_code(gauss, spec.grid)
    trunk = t.below("transformer")
    depth = 1 + max(int(k.split(".")[3]) for k in tensors if k.startswith(trunk.prefix + "layers."))
    layers = [_layer(trunk.below(f"layers.{i}"), code, spec.heads) for i in range(depth)]
    notes.add("decoder", "dense position code through the image's projections, once")
    notes.add("decoder", "image keys, values, queries of a layer in one matrix, shared by prompts")
    total = t["mask_tokens.weight"].shape[0]
    if len(spec.masks) < total:
        notes.add("decoder", f"hypernetworks: {len(spec.masks)} of {total} masks")
    notes.add("decoder", "px of the network input into the position code's frequencies")
    mask_prompt = _mask_prompt(p) if spec.mask_prompt else None
    if mask_prompt is None:
        notes.add("decoder", "mask-prompt branch left out: the family takes no mask prompts")
    tokens = torch.cat([t["iou_token.weight"], t["mask_tokens.weight"]])[None]
    return FoldedDecoder(
        _prompt(p, gauss, spec.input_size),
        mask_prompt,
        tokens,
        layers,
        _final(trunk, code, spec.heads),
        _head(t, spec.masks),
        spec.masks,
    )


def dense_code(gauss: torch.Tensor, grid: int) -> torch.Tensor:
    """Position code of the cell centres, [grid * grid, P], float64."""
    centre = 2 * (torch.arange(grid, dtype=torch.float64) + 0.5) / grid - 1
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    phase = 2 * math.pi * (torch.stack([x, y], -1) @ gauss)
    return torch.cat([phase.sin(), phase.cos()], -1).reshape(grid * grid, -1)


def _prompt(p: Tree, gauss: torch.Tensor, input_size: int) -> PromptEncoder:
    # phase = 2 pi (2 (xy + 0.5) / S - 1) G
    matrix = gauss * (4 * math.pi / input_size)
    offset = gauss.sum(0) * (2 * math.pi * (1 / input_size - 1))
    rows = [p["not_a_point_embed.weight"]]
    rows += [p[f"point_embeddings.{i}.weight"] for i in range(4)]
    return PromptEncoder(Linear(matrix, offset), torch.cat(rows))


def _mask_prompt(p: Tree) -> MaskPrompt:
    d = p.below("mask_downscaling")
    w1, w2, w3 = d["0.weight"], d["3.weight"], d["6.weight"]
    return MaskPrompt(
        Linear(w1.reshape(w1.shape[0], -1).t(), d["0.bias"]),
        Norm(d["1.weight"], d["1.bias"], EPS),
        Linear(w2.permute(2, 3, 1, 0).reshape(-1, w2.shape[0]), d["3.bias"]),
        Norm(d["4.weight"], d["4.bias"], EPS),
        Linear(w3[:, :, 0, 0].t(), d["6.bias"] - p["no_mask_embed.weight"].reshape(-1)),
    )


def _attention(t: Tree, heads: int) -> tuple[Linear, Linear, Linear, Linear]:
    return scaled_heads(
        (t["q_proj.weight"], t["k_proj.weight"], t["v_proj.weight"]),
        (t["q_proj.bias"], t["v_proj.bias"]),
        (t["out_proj.weight"], t["out_proj.bias"]),
        heads,
    )


def _norm(t: Tree) -> Norm:
    return Norm(t["weight"], t["bias"], DECODER_EPS)


def _layer(t: Tree, code: torch.Tensor, heads: int) -> DecoderLayer:
    q, k, v, proj = _attention(t.below("self_attn"), heads)
    assert q.bias is not None
    qk = Linear(torch.cat([q.weight, k.weight], 1), torch.cat([q.bias, torch.zeros_like(q.bias)]))
    self_attn = TokenAttention(qk, v, proj, heads)
    to_q, to_k, to_v, to_proj = _attention(t.below("cross_attn_token_to_image"), heads)
    fr_q, fr_k, fr_v, fr_proj = _attention(t.below("cross_attn_image_to_token"), heads)
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
    mlp = (
        Linear(t["mlp.lin1.weight"].t(), t["mlp.lin1.bias"]),
        Linear(t["mlp.lin2.weight"].t(), t["mlp.lin2.bias"]),
    )
    return DecoderLayer(
        self_attn, norms, mlp, (image, image_code), (to_q, to_proj), (fr_k, fr_v, fr_proj), heads
    )


def _final(t: Tree, code: torch.Tensor, heads: int) -> FinalAttention:
    q, k, v, proj = _attention(t.below("final_attn_token_to_image"), heads)
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
        n = 1 + max(int(k[len(d.prefix) :].split(".")[0])
                    for k in t.tensors if k.startswith(d.prefix))  # fmt: skip
        return [Linear(d[f"{i}.weight"].t(), d[f"{i}.bias"]) for i in range(n)]

    iou = mlp("iou_prediction_head.layers")
    last = iou[-1]
    assert last.bias is not None
    index = list(masks)
    iou[-1] = Linear(last.weight[:, index], last.bias[index])
    norm = Norm(t["output_upscaling.1.weight"], t["output_upscaling.1.bias"], EPS)
    hyper = [mlp(f"output_hypernetworks_mlps.{m}.layers") for m in masks]
    return MaskHead(upscale(0), norm, upscale(3), hyper, iou)
