"""Layers of a folded TinyViT encoder -> ONNX nodes."""

from __future__ import annotations

from samedge.bundle.attention_sizes import AttentionSizes
from samedge.export.graphs.attention import cut, uncut
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.layers import array, linear, mlp, norm, softmax_value, split
from samedge.fold import tiny_layers as tl


def tiny_encoder(g: GraphBuilder, x: str, encoder: tl.FoldedTinyEncoder) -> str:
    """All of `FoldedTinyEncoder` in front of its neck; x and the result are [1, C, y, x]."""
    first, second = encoder.patch_embed
    assert isinstance(first, tl.Conv)
    assert isinstance(second, tl.Conv)
    path = "encoder.patch_embed"
    x = conv(g, x, first, f"{path}.0")
    x = conv(g, g.gelu(x, f"{path}.0"), second, f"{path}.1")
    for i, block in enumerate(encoder.blocks):
        here = f"encoder.blocks.{i}"
        if isinstance(block, tl.TinyBlock):
            x = _block(g, x, block, here)
        else:
            assert isinstance(block, tl.MbConv | tl.Merge)
            x = _convolutions(g, x, block, here)
    return x


def conv(g: GraphBuilder, x: str, layer: tl.Conv, path: str) -> str:
    """Convolution with bias; x is [1, C, y, x]."""
    size, stride = layer.size, layer.stride
    inputs = [
        x,
        g.weight(f"{path}.weight", array(layer.weight)),
        g.weight(f"{path}.bias", array(layer.bias)),
    ]
    return str(
        g.op(
            "Conv",
            inputs,
            path,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=layer.groups,
        )
    )


def _convolutions(g: GraphBuilder, x: str, block: tl.MbConv | tl.Merge, path: str) -> str:
    y = g.gelu(conv(g, x, block.conv1, f"{path}.conv1"), f"{path}.conv1")
    y = g.gelu(conv(g, y, block.conv2, f"{path}.conv2"), f"{path}.conv2")
    y = conv(g, y, block.conv3, f"{path}.conv3")
    return g.gelu(g.add(y, x, path), path) if isinstance(block, tl.MbConv) else y


def _block(g: GraphBuilder, x: str, block: tl.TinyBlock, path: str) -> str:
    grid, dim = block.attn.grid, block.attn.qkv.weight.shape[0]
    x = _to_tokens(g, x, grid, dim, path)
    y = norm(g, x, block.norm1, f"{path}.norm1")
    x = g.add(x, _attention(g, y, block.attn, f"{path}.attn"), f"{path}.attn")
    x = conv(g, _to_image(g, x, grid, dim, path), block.local_conv, f"{path}.local_conv")
    x = _to_tokens(g, x, grid, dim, path)
    y = mlp(g, norm(g, x, block.norm2, f"{path}.norm2"), block.mlp, f"{path}.mlp")
    return _to_image(g, g.add(x, y, f"{path}.mlp"), grid, dim, path)


def _to_tokens(g: GraphBuilder, x: str, grid: int, dim: int, path: str) -> str:
    return g.reshape(g.transpose(x, (0, 2, 3, 1), path), (1, grid * grid, dim), path)


def _to_image(g: GraphBuilder, x: str, grid: int, dim: int, path: str) -> str:
    return g.transpose(g.reshape(x, (1, grid, grid, dim), path), (0, 3, 1, 2), path)


def _attention(g: GraphBuilder, x: str, layer: tl.BiasedAttention, path: str) -> str:
    """x and the result are [1, n * n, dim]."""
    dim = layer.qkv.weight.shape[0]
    s = AttentionSizes(1, layer.grid, layer.heads, dim // layer.heads, layer.window)
    parts = split(g, linear(g, x, layer.qkv, f"{path}.qkv"), 3, dim, path)
    q, k, v = (cut(g, part, s, path) for part in parts)
    bias = g.weight(f"{path}.bias", array(layer.bias))
    scores = g.add(g.matmul(q, g.transpose(k, (0, 1, 3, 2), path), path), bias, path)
    y = uncut(g, softmax_value(g, scores, v, path), s, path)
    return linear(g, y, layer.proj, f"{path}.proj")
