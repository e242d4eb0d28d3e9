"""AutoSAMUS's prompt generator -> ONNX nodes."""

from __future__ import annotations

import numpy as np

from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.layers import (
    array,
    conv_norm,
    heads,
    key_heads,
    linear,
    merge,
    norm,
    split,
)
from samedge.fold import generator as fg
from samedge.fold import layers as fl


def prompt_generator(
    g: GraphBuilder, x: str, layer: fg.PromptGenerator, grid: int
) -> tuple[str, str]:
    """`PromptGenerator` of `samedge.fold.generator`: x is [1, g * g, P]; as there, two results."""
    path = "decoder.generator"
    y = g.weight(f"{path}.tokens", array(layer.tokens))
    last = len(layer.image) - 1
    for i, (image, prompt) in enumerate(zip(layer.image, layer.prompt, strict=True)):
        assert isinstance(image, fg.AttentionHalf)
        assert isinstance(prompt, fg.AttentionHalf)
        here, there = f"{path}.image.{i}", f"{path}.prompt.{i}"
        q, k, v = _parts(g, x, image, here)
        q_own, k_own, v_own = _parts(g, y, prompt, there)
        if i == last:  # nothing reads the other tokens any more
            y, q_own = _first(g, y, there), _first(g, q_own, there)
        asked = _one_more_attention(g, q, k_own, v_own, layer.heads, image, here)
        y = _feed(g, y, _one_more_attention(g, q_own, k, v, layer.heads, prompt, there), prompt,
                  there)  # fmt: skip
        x = _feed(g, x, asked, image, here)
    return g.add(x, _dense(g, x, layer, grid, path), f"{path}.dense"), y


def _parts(g: GraphBuilder, x: str, half: fg.AttentionHalf, path: str) -> list[str]:
    qkv = linear(g, norm(g, x, half.norm, f"{path}.norm"), half.qkv, f"{path}.qkv")
    return split(g, qkv, 3, half.proj.weight.shape[0], f"{path}.qkv")


def _first(g: GraphBuilder, x: str, path: str) -> str:
    """The first token of [1, T, C], as [1, 1, C]."""
    return str(g.op("Gather", [x, g.const([0], "first_token")], path, axis=1))


def _one_more_attention(
    g: GraphBuilder, q: str, k: str, v: str, count: int, half: fg.AttentionHalf, path: str
) -> str:
    """`one_more_attention` of `samedge.kernels.reference` and the projection behind it."""
    dim = half.proj.weight.shape[0]
    scores = g.matmul(heads(g, q, count, dim, path), key_heads(g, k, count, dim, path), path)
    largest = g.op("ReduceMax", [scores, g.const([-1], "last_axis")], path)
    weights = str(g.op("Exp", [g.op("Sub", [scores, largest], path)], path))
    total = g.op("ReduceSum", [weights, g.const([-1], "last_axis")], path)
    total = g.add(g.const(np.float32(1), "one_more"), str(total), path)
    y = str(g.op("Div", [g.matmul(weights, heads(g, v, count, dim, path), path), total], path))
    return linear(g, merge(g, y, dim, path), half.proj, f"{path}.proj")


def _feed(g: GraphBuilder, x: str, attended: str, half: fg.AttentionHalf, path: str) -> str:
    x = g.add(x, attended, path)
    y = linear(g, norm(g, x, half.feed_norm, f"{path}.feed_norm"), half.lin1, f"{path}.lin1")
    y = linear(g, str(g.op("Relu", [y], path)), half.lin2, f"{path}.lin2")
    return g.add(x, y, path)


def _dense(g: GraphBuilder, x: str, layer: fg.PromptGenerator, grid: int, path: str) -> str:
    """The dense prompt as tokens [1, g * g, P]."""
    width = layer.tokens.shape[-1]
    y = g.transpose(g.reshape(x, (1, grid, grid, width), path), (0, 3, 1, 2), path)
    for i, conv in enumerate(layer.dense):
        assert isinstance(conv, fl.ConvNorm)
        y = conv_norm(g, y, conv, f"{path}.dense.{i}")
    return g.reshape(g.transpose(y, (0, 2, 3, 1), path), (1, grid * grid, width), path)
