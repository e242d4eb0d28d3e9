"""The least bytes that the products of a folded network can move: what an account is held against.

Every linear layer, attention and convolution reads its operands, its weights and what is added to
its result (a bias, the residual, a position table) once, and writes its result once, all in half
precision. Norms, activations, pooling and changes of layout ride along and cost nothing. Products
are not joined: the hidden vector of an MLP, say, is written and read.
"""

from __future__ import annotations

from collections import defaultdict

from samedge._optional import importing
from samedge.errors import NotSupportedError

with importing("torch", extra="export", what="the least bytes of a network"):
    import torch

    from samedge.fold import decoder_layers as fd
    from samedge.fold import generator as fg
    from samedge.fold import layers as fl
    from samedge.fold.model import FoldedModel
    from samedge.fold.tiny_layers import FoldedTinyEncoder

HALF = 2  # bytes
POINTS = 2  # of the one object: a click and the padding point beside it, or a box's corners


class _Sum:
    """Values read and written per part."""

    def __init__(self) -> None:
        self.values: dict[str, int] = defaultdict(int)
        self.part = ""

    def linear(self, rows: int, layer: fl.Linear, added: bool = False, out: int = 0) -> None:
        """`rows` rows through a layer, on top of a residual of its `out` columns if `added`."""
        k, n = layer.weight.shape
        bias = 0 if layer.bias is None else n
        self.add(rows * (k + n), k * n + bias, rows * (out or n) if added else 0)

    def conv(self, places: int, layer: fl.ConvNorm) -> None:
        """A 3x3 convolution of `places` places."""
        out, into = layer.weight.shape[:2]
        self.add(places * (into + out), layer.weight.numel())

    def add(self, *values: int) -> None:
        """Numbers of values that are moved."""
        self.values[self.part] += sum(map(int, values))


def least_bytes(folded: FoldedModel) -> dict[str, int]:
    """Bytes per part of a folded model: one frame (or stack), one object per image.

    Parts are those of `samedge.bench.account.launches.Entry`; what is in front of the network and
    behind it is not among them, for it has no products of weights.
    """
    least, batch = _Sum(), folded.family.slices
    _encoder(least, folded, batch)
    least.part = "decoder"
    _decoder(least, folded)
    return {part: HALF * values for part, values in least.values.items()}


def _encoder(least: _Sum, folded: FoldedModel, batch: int) -> None:
    encoder, side = folded.encoder, folded.variant.input_size
    if isinstance(encoder, FoldedTinyEncoder):
        raise NotSupportedError(
            f"{folded.family.title} has no Triton kernels, so there are no launches to account for"
        )
    patch = encoder.patch_embed
    dim, tokens = patch.pos_embed.shape[-1], batch * patch.pos_embed.shape[1]
    least.part = "patch_embed"
    total, channels = patch.weight.shape[:2]
    resized = side if patch.resize is None else patch.resize.shape[0]
    least.add(
        batch * channels * resized**2, patch.weight.numel(), patch.pos_embed.numel(),
        tokens * total,
    )  # fmt: skip
    if patch.adapter is not None:
        least.linear(tokens, patch.adapter, added=True)
    if encoder.cnn is not None:
        least.part = "cnn"
        for i, conv in enumerate(encoder.cnn.convs):
            assert isinstance(conv, fl.ConvNorm)
            least.conv(batch * (side >> i) ** 2, conv)
    for i, block in enumerate(encoder.blocks):
        assert isinstance(block, fl.Block)
        least.part = f"blocks.{i}"
        _block(least, block, tokens, dim)
    least.part = "neck"
    least.linear(tokens, encoder.neck.lin)
    if encoder.cnn is not None:
        least.add(tokens * dim)  # the branch that is added to the tokens
    least.conv(tokens, encoder.neck.conv)


def _block(least: _Sum, block: fl.Block, tokens: int, dim: int) -> None:
    attn = block.attn
    if block.cross is not None and block.refine is not None:
        least.linear(tokens, block.cross.q)
        least.linear(tokens, block.cross.kv)
        least.add(4 * tokens * block.cross.q.weight.shape[1])  # queries, keys, values, result
        least.linear(tokens, block.cross.proj, added=True)
        least.conv(tokens, block.refine)
    least.linear(tokens, attn.qkv)
    _relative(least, tokens, attn.qkv, attn.rel_h, attn.rel_w)
    least.linear(tokens, attn.proj, added=True, out=dim)
    if attn.depth is not None:
        _relative(least, tokens, attn.qkv, attn.depth.rel_h, attn.depth.rel_w)
        least.linear(tokens, attn.depth.down)
    if attn.adapter is not None:
        least.linear(tokens, attn.adapter, added=True)
    least.linear(tokens, block.mlp.lin1)
    least.linear(tokens, block.mlp.lin2, added=True)


def _relative(
    least: _Sum, tokens: int, qkv: fl.Linear, rel_h: torch.Tensor, rel_w: torch.Tensor
) -> None:
    """Attention: the qkv product's result and the tables in, a third of it out."""
    width = qkv.weight.shape[1]
    least.add(tokens * (width + width // 3), rel_h.numel(), rel_w.numel())


def _decoder(least: _Sum, folded: FoldedModel) -> None:
    decoder, image = folded.decoder, folded.variant.grid**2
    objects, tokens = folded.family.slices, int(decoder.tokens.shape[1])
    if decoder.prompt is not None:
        least.linear(objects * POINTS, decoder.prompt.phase)
        tokens += POINTS
    if decoder.generator is not None:
        _generator(least, decoder.generator, image)
        tokens += 1
    images = objects
    for layer in decoder.layers:
        assert isinstance(layer, fd.DecoderLayer)
        _layer(least, layer, objects * tokens, images * image)
    final = decoder.final
    _attend(least, images * image, final.image)
    least.linear(objects * tokens, final.q)
    least.add(2 * objects * tokens * final.q.weight.shape[1])
    least.linear(objects * tokens, final.proj, added=True)
    _head(least, decoder, objects, image)


def _layer(least: _Sum, layer: fd.DecoderLayer, tokens: int, image: int) -> None:
    own = layer.self_attn
    width = own.v.weight.shape[1]
    least.linear(tokens, own.qk)
    least.linear(tokens, own.v)
    least.add(4 * tokens * width)
    least.linear(tokens, own.proj, added=layer.residual)
    _attend(least, image, layer.image)
    inner = layer.to_image_q.weight.shape[1]
    least.linear(tokens, layer.to_image_q)
    least.add(2 * tokens * inner)
    least.linear(tokens, layer.to_image_proj, added=True)
    least.linear(tokens, layer.lin1)
    least.linear(tokens, layer.lin2, added=True)
    least.linear(tokens, layer.from_image_k)
    least.linear(tokens, layer.from_image_v)
    least.add(2 * tokens * inner, image * inner)  # keys, values; the result
    least.linear(image, layer.from_image_proj, added=True)


def _attend(least: _Sum, image: int, layer: fl.Linear) -> None:
    """The image's product of keys and values (and queries), and its reading by attentions."""
    least.linear(image, layer)
    least.add(image * layer.weight.shape[1])


def _generator(least: _Sum, generator: fg.PromptGenerator, image: int) -> None:
    for halves, rows in ((generator.image, image), (generator.prompt, generator.tokens.shape[1])):
        for half in halves:
            assert isinstance(half, fg.AttentionHalf)
            # Of the prompt tokens only the first leaves the last layer.
            asking = 1 if half is generator.prompt[-1] else rows
            width = half.qkv.weight.shape[1] // 3
            least.linear(rows, half.qkv)
            least.add((2 * rows + 2 * asking) * width)
            least.linear(asking, half.proj, added=True)
            least.linear(asking, half.lin1)
            least.linear(asking, half.lin2, added=True)
    for conv in generator.dense:
        assert isinstance(conv, fl.ConvNorm)
        least.conv(image, conv)


def _head(least: _Sum, decoder: fd.FoldedDecoder, objects: int, image: int) -> None:
    """Upscaling and hypernetworks; the upscaled features meet the masks' weights at once."""
    head, masks = decoder.head, len(decoder.masks)
    rows = objects * image
    least.linear(rows, head.up1)
    least.linear(4 * rows, head.up2)
    features = 16 * rows * head.up2.weight.shape[1] // 4
    least.add(features, 16 * rows * masks)
    for hyper in head.hyper:
        assert isinstance(hyper, torch.nn.ModuleList)
        for layer in hyper:
            assert isinstance(layer, fl.Linear)
            least.linear(objects, layer)
    for layer in head.iou:
        assert isinstance(layer, fl.Linear)
        least.linear(objects, layer)
