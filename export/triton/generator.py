"""AutoSAMUS's prompt generator -> launches."""

from __future__ import annotations

from dataclasses import replace

from samedge.export.triton.context import Context
from samedge.fold import generator as fg
from samedge.fold import layers as fl
from samedge.kernels.attention.plain import attention
from samedge.kernels.launch import Array


def prompt_generator(c: Context, x: Array, layer: fg.PromptGenerator) -> tuple[Array, Array]:
    """`PromptGenerator` of `samedge.fold.generator`.

    Args:
        c: the context.
        x: [1, g * g, P], the embedding as tokens.
        layer: the generator.

    Returns:
        keys for the decoder, [1, g * g, P] in half precision, and the prompt token, fp32 [1, 1, P].
    """
    path = "decoder.generator"
    y = c.vector(f"{path}.tokens")
    last = len(layer.image) - 1
    for i, (image, prompt) in enumerate(zip(layer.image, layer.prompt, strict=True)):
        assert isinstance(image, fg.AttentionHalf)
        assert isinstance(prompt, fg.AttentionHalf)
        here, there = f"{path}.image.{i}", f"{path}.prompt.{i}"
        q, k, v = _parts(c, x, image, here)
        q_own, k_own, v_own = _parts(c, y, prompt, there)
        if i == last:  # nothing reads the other tokens any more
            y, q_own = _first(y), _first(q_own)
        with c.run.layer(here):
            asked = attention(c.run, q, k_own, v_own, layer.heads, one_more=True)
        with c.run.layer(there):
            answered = attention(c.run, q_own, k, v, layer.heads, one_more=True, few_queries=True)
        x = _feed(c, x, asked, image, here, c.half if i == last else "fp32")
        y = _feed(c, y, answered, prompt, there, "fp32")
    return _dense(c, x, layer, path), y


def _parts(c: Context, x: Array, half: fg.AttentionHalf, path: str) -> list[Array]:
    norm = c.row_norm(x, f"{path}.norm", half.norm.eps)
    qkv = c.linear(x, f"{path}.qkv", c.half, norm=norm)
    width = half.proj.weight.shape[0]
    return [qkv.columns(i * width, (i + 1) * width) for i in range(3)]


def _first(x: Array) -> Array:
    """The first token of [1, T, C]."""
    return replace(x, shape=(1, 1, x.shape[-1]))


def _feed(
    c: Context, x: Array, attended: Array, half: fg.AttentionHalf, path: str, dtype: str
) -> Array:
    x = c.linear(attended, f"{path}.proj", "fp32", residual=x)
    norm = c.row_norm(x, f"{path}.feed_norm", half.feed_norm.eps)
    hidden = c.linear(x, f"{path}.lin1", c.half, norm=norm, activation="relu")
    return c.linear(hidden, f"{path}.lin2", dtype, residual=x)


def _dense(c: Context, x: Array, layer: fg.PromptGenerator, path: str) -> Array:
    """x + the dense prompt."""
    grid, width = c.variant.grid, layer.tokens.shape[-1]
    y = x.reshape(1, grid, grid, width)
    last = len(layer.dense) - 1
    for i, conv in enumerate(layer.dense):
        assert isinstance(conv, fl.ConvNorm)
        here = f"{path}.dense.{i}"
        z = c.conv3x3(y, here)
        add = (x.reshape(1, grid, grid, width), 1.0) if i == last else None
        activation = "gelu" if conv.activation else ""
        y = c.rms_norm(
            z, f"{here}.norm", conv.norm.eps, c.half, activation=activation, add=add
        )  # fmt: skip
    return y.reshape(1, grid * grid, width)
