"""FoldedDecoder -> launches: from embedding and prompts to scores, logits and masks.

A decoder has little to compute and much to start, so for the few tokens that there usually are all
of a layer that concerns tokens is fused (`token_self` and `token_update` in
`samedge.kernels.decoder`). `Tokens` with more than `FEW` places, and sequences that a prompt
generator makes, go through plain layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from samedge.export.triton.context import Context
from samedge.export.triton.generator import prompt_generator
from samedge.export.triton.preprocess import masks_at_frame_size
from samedge.fold import decoder_layers as fd
from samedge.fold.layers import Linear
from samedge.kernels.attention.plain import attention
from samedge.kernels.decoder.final_tokens import HeadWeights, final_tokens, stacked_heads
from samedge.kernels.decoder.image_update import image_update
from samedge.kernels.decoder.mask_head import UpscalingWeights, mask_head
from samedge.kernels.decoder.mask_prompt import MaskWeights, keys_of, mask_prompt
from samedge.kernels.decoder.prompt_tokens import found_tokens, prompt_tokens
from samedge.kernels.decoder.token_self import SelfWeights, token_self
from samedge.kernels.decoder.token_update import UpdateWeights, token_update
from samedge.kernels.launch import Array
from samedge.runtime.triton.sizes import Size, named

FEW = 16  # tokens per object that the fused kernels have places for


@dataclass(frozen=True)
class Tokens:
    """The tokens of all objects: `capacity` places for each, of which the first `count` are used.

    Attributes:
        code: fp32 [N, capacity, P], what they are before the first layer.
        count: how many there are, of every object.
        capacity: places per object.
    """

    code: Array
    count: Size
    capacity: int

    def used(self, x: Array) -> Array:
        """The places of x [N, capacity, C] that are used."""
        return Array(
            x.storage, x.dtype, (x.shape[0], self.count, x.shape[2]), x.strides, x.offset, x.name
        )


def lower_decoder(c: Context, decoder: fd.FoldedDecoder, capacity: int) -> None:
    """Write the launches of a decoder down; its ports are those of the bundle's graph.

    Args:
        c: the context.
        decoder: folded.
        capacity: tokens per object that there is room for.
    """
    embedding = c.input("image_embedding")
    keys = _keys(c, embedding, decoder)
    tokens, keys = _tokens(c, decoder, keys, capacity)
    x = tokens.code
    lower = _fused_layer if capacity <= FEW else _layer
    for i, layer in enumerate(decoder.layers):
        assert isinstance(layer, fd.DecoderLayer)
        x, keys = lower(c, x, keys, tokens, layer, f"decoder.layers.{i}")
    hyper = _final(c, x, keys, tokens, decoder)
    masks_at_frame_size(c, _logits(c, keys, hyper, decoder.head))


def _layer(
    c: Context, x: Array, keys: Array, tokens: Tokens, layer: fd.DecoderLayer, path: str
) -> tuple[Array, Array]:
    x = _self_attention(c, x, tokens, layer, path)
    k, v, image_q = _image(c, keys, f"{path}.image", layer.image.weight.shape[1] // 3, 3)
    q = c.linear(x, f"{path}.to_image_q", c.half, add=tokens.code, few=True)
    with c.run.layer(f"{path}.to_image"):
        y = attention(c.run, q, k, v, layer.heads, few_queries=True)
    y = c.linear(y, f"{path}.to_image_proj", "fp32", residual=x, few=True)
    x = c.layer_norm(y, f"{path}.norm2", layer.norm2.eps, "fp32")
    hidden = c.linear(x, f"{path}.lin1", c.half, activation="relu", few=True)
    y = c.linear(hidden, f"{path}.lin2", "fp32", residual=x, few=True)
    x = c.layer_norm(y, f"{path}.norm3", layer.norm3.eps, "fp32")
    k = c.linear(x, f"{path}.from_image_k", c.half, add=tokens.code, few=True)
    v = c.linear(x, f"{path}.from_image_v", c.half, few=True)
    with c.run.layer(f"{path}.from_image"):
        own = tokens.used(k), tokens.used(v)
        y = attention(c.run, image_q, *own, layer.heads, batch=x.shape[0])
    y = c.linear(y, f"{path}.from_image_proj", "fp32", residual=keys)
    return x, c.layer_norm(y, f"{path}.norm4", layer.norm4.eps, c.half)


def _fused_layer(
    c: Context, x: Array, keys: Array, tokens: Tokens, layer: fd.DecoderLayer, path: str
) -> tuple[Array, Array]:
    """The same for few tokens, in eight launches."""
    with c.run.layer(path):
        x, q = token_self(
            c.run, x, tokens.code, tokens.count, layer.self_attn.heads,
            _self_weights(c, layer, path), code_mode=layer.code, residual=layer.residual,
        )  # fmt: skip
    k, v, image_q = _image(c, keys, f"{path}.image", layer.image.weight.shape[1] // 3, 3)
    with c.run.layer(path):
        y = attention(c.run, tokens.used(q), k, v, layer.heads, few_queries=True)
        x, k, v = token_update(
            c.run, x, y, tokens.code, tokens.count, _update_weights(c, layer, path)
        )
        keys = image_update(
            c.run, image_q, k, v, keys, tokens.count, layer.heads,
            _linear(c, f"{path}.from_image_proj"), _norm(c, f"{path}.norm4"), layer.norm4.eps,
        )  # fmt: skip
    return x, keys


def _self_weights(c: Context, layer: fd.DecoderLayer, path: str) -> SelfWeights:
    own = f"{path}.self_attn"
    return SelfWeights(
        _linear(c, f"{own}.qk"), c.matrix(f"{own}.v.weight"), _linear(c, f"{own}.proj"),
        _norm(c, f"{path}.norm1"), layer.norm1.eps, _linear(c, f"{path}.to_image_q"),
    )  # fmt: skip


def _update_weights(c: Context, layer: fd.DecoderLayer, path: str) -> UpdateWeights:
    return UpdateWeights(
        _linear(c, f"{path}.to_image_proj"), _norm(c, f"{path}.norm2"), _norm(c, f"{path}.norm3"),
        layer.norm2.eps, _linear(c, f"{path}.lin1"), _linear(c, f"{path}.lin2"),
        (c.matrix(f"{path}.from_image_k.weight"), c.bias(f"{path}.from_image_k")),
        (c.matrix(f"{path}.from_image_v.weight"), c.bias(f"{path}.from_image_v")),
    )  # fmt: skip


def _linear(c: Context, path: str) -> tuple[Array, Array]:
    bias = c.bias(path)
    assert bias is not None, path
    return c.matrix(f"{path}.weight"), bias


def _self_attention(
    c: Context, x: Array, tokens: Tokens, layer: fd.DecoderLayer, path: str
) -> Array:
    own, own_path = layer.self_attn, f"{path}.self_attn"
    code = tokens.code
    asked = None if layer.code == "none" else code
    lasting = code if layer.code == "tokens" else None
    qk = c.linear(x, f"{own_path}.qk", c.half, add=asked, few=True)
    v = c.linear(x, f"{own_path}.v", c.half, add=lasting, few=True)
    width = own.proj.weight.shape[0]
    with c.run.layer(own_path):
        keys = tokens.used(qk.columns(width, 2 * width))
        y = attention(c.run, qk.columns(0, width), keys, tokens.used(v), own.heads)
    residual = x if layer.residual else None
    y = c.linear(y, f"{own_path}.proj", "fp32", residual=residual, table=lasting, few=True)
    return c.layer_norm(y, f"{path}.norm1", layer.norm1.eps, "fp32")


def _image(c: Context, keys: Array, path: str, width: int, parts: int) -> list[Array]:
    """The image's keys, values (and queries), position code added."""
    y = c.linear(keys, path, c.half, table=c.vector(f"{path}_code"))
    return [y.columns(i * width, (i + 1) * width) for i in range(parts)]


def _keys(c: Context, embedding: Array, decoder: fd.FoldedDecoder) -> Array:
    """The image's tokens, with what mask prompts add: [1 or M, g * g, P]."""
    path, prompt = "decoder.mask_prompt", decoder.mask_prompt
    if prompt is None:
        with c.run.layer("decoder.keys"):
            return keys_of(c.run, embedding, c.half)
    mask, has_mask = c.input("mask_input"), c.input("has_mask")
    lin1, lin2, lin3 = (c.matrix(f"{path}.lin{i}.weight") for i in (1, 2, 3))
    bias1, bias2, bias3 = (c.vector(f"{path}.lin{i}.bias") for i in (1, 2, 3))
    norm1, norm2 = (_norm(c, f"{path}.norm{i}") for i in (1, 2))
    eps = prompt.norm1.eps
    weights = MaskWeights(lin1, bias1, norm1, lin2, bias2, norm2, lin3, bias3, eps)
    with c.run.layer(path):
        return mask_prompt(c.run, embedding, mask, has_mask, weights)


def _norm(c: Context, path: str) -> tuple[Array, Array]:
    return c.vector(f"{path}.weight"), c.vector(f"{path}.bias")


def _tokens(
    c: Context, decoder: fd.FoldedDecoder, keys: Array, capacity: int
) -> tuple[Tokens, Array]:
    """The tokens before the first layer; a prompt generator makes one of them, and the keys."""
    learned, width = decoder.tokens.shape[1:]
    if decoder.prompt is not None:
        coords, labels = c.input("point_coords"), c.input("point_labels")
        path = "decoder.prompt"
        with c.run.layer(path):
            code = prompt_tokens(
                c.run, coords, labels, c.vector("decoder.tokens"),
                c.vector(f"{path}.phase.weight"), c.vector(f"{path}.phase.bias"),
                c.vector(f"{path}.labels"), capacity,
            )  # fmt: skip
        return Tokens(code, named("points") + learned, capacity), keys
    if decoder.generator is None:
        padded = torch.zeros(1, capacity, width)
        padded[:, :learned] = decoder.tokens
        return Tokens(c.constant(padded, "fp32", "decoder.tokens"), learned, capacity), keys
    keys, found = prompt_generator(c, keys, decoder.generator)
    with c.run.layer("decoder.tokens"):
        code = found_tokens(c.run, found, c.vector("decoder.tokens"), capacity)
    return Tokens(code, learned + 1, capacity), keys


def _final(c: Context, x: Array, keys: Array, tokens: Tokens, decoder: fd.FoldedDecoder) -> Array:
    """The last look at the image, the hypernetworks and the scores: weights of every mask."""
    path, layer = "decoder.final", decoder.final
    k, v = _image(c, keys, f"{path}.image", layer.image.weight.shape[1] // 2, 2)
    q = c.linear(x, f"{path}.q", c.half, add=tokens.code, few=True)
    with c.run.layer(path):
        y = attention(c.run, tokens.used(q), k, v, layer.heads, few_queries=True)
    scores = c.output("scores")
    chosen = c.input("mask_index") if c.takes("mask_index") else None
    with c.run.layer("decoder.head"):
        return final_tokens(
            c.run, x, y, _linear(c, f"{path}.proj"), _norm(c, f"{path}.norm"), layer.norm.eps,
            _heads(c, decoder.head), scores, chosen, decoder.masks[0],
        )  # fmt: skip


def _heads(c: Context, head: fd.MaskHead) -> HeadWeights:
    """The IoU head and the hypernetworks, which differ in width and depth, as one."""
    heads = []
    for layers in (head.iou, *head.hyper):
        linears = [layer for layer in layers.modules() if isinstance(layer, Linear)]
        heads.append([_detached(layer) for layer in linears])
    layers, biases, last, last_bias = stacked_heads(heads)
    width = heads[1][-1][0].shape[1]
    return HeadWeights(
        c.constant(layers, c.half, "layers of the mask heads"),
        c.constant(biases, "fp32", "biases of the mask heads"),
        c.constant(last, c.half, "last layers of the mask heads"),
        c.constant(last_bias, "fp32", "last biases of the mask heads"),
        width,
    )


def _detached(layer: Linear) -> tuple[torch.Tensor, torch.Tensor]:
    assert layer.bias is not None
    return layer.weight.detach(), layer.bias.detach()


def _logits(c: Context, keys: Array, hyper: Array, head: fd.MaskHead) -> Array:
    """Low-res logits of every mask, into the graph's output."""
    path = "decoder.head"
    up1, bias1 = _linear(c, f"{path}.up1")
    up2, bias2 = _linear(c, f"{path}.up2")
    weights = UpscalingWeights(up1, bias1, _norm(c, f"{path}.norm"), head.norm.eps, up2, bias2)
    logits = c.output("low_res_logits")
    with c.run.layer(path):
        mask_head(c.run, keys, weights, hyper, logits)
    return logits
