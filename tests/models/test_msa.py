"""Medical SAM Adapter's own parts against plain computations, from their description in words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from samedge import models
from samedge.errors import ModelError
from samedge.models.config import depth_grid
from samedge.models.msa import MsaBlock, MsaTwoWayBlock

XY = torch.tensor([[[10.0, 20.0]], [[30.0, 5.0]]])
LABELS = torch.tensor([[1], [0]])


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Every tensor matters: no bias is zero, no LayerNorm the identity, no table is zero."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter) * 0.3)


def msa(**changes: Any) -> models.Msa:
    model = models.build_model(models.tiny(models.MsaConfig, **changes))
    assert isinstance(model, models.Msa)
    randomise(model)
    return model


# --- the grid of a depth sequence -----------------------------------------------------------------


def test_grids_of_the_description() -> None:
    grids = {4: (1, 4), 12: (3, 4), 16: (2, 8), 96: (8, 12)}
    assert {depth: depth_grid(depth) for depth in grids} == grids


@given(st.integers(2, 3000))
def test_grids_by_the_description(depth: int) -> None:
    """a = int(sqrt(d)), b = a + 1; raise b while a b < d, lower a while a b > d."""
    a = int(math.sqrt(depth))
    b = a + 1
    while a * b != depth:
        while a * b < depth:
            b += 1
        while a * b > depth:
            a -= 1
    assert depth_grid(depth) == (a, b)
    assert a * b == depth


# --- blocks ---------------------------------------------------------------------------------------


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return x @ layer.weight.T + layer.bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * layer.weight + layer.bias


def adapter(layer: nn.Module, x: Tensor) -> Tensor:
    return linear(layer.D_fc2, gelu(linear(layer.D_fc1, x)))


def table_at(table: Tensor, side: int) -> Tensor:
    """Relative-position table for a side, resized linearly."""
    rows, wanted = table.shape[0], 2 * side - 1
    if rows == wanted:
        return table
    at = np.clip((np.arange(wanted) + 0.5) * rows / wanted - 0.5, 0, rows - 1)
    columns = [np.interp(at, np.arange(rows), c) for c in table.T.numpy()]
    return torch.from_numpy(np.stack(columns, 1)).to(table.dtype)


def attention(module: nn.Module, x: Tensor) -> Tensor:
    """One sequence `[h, w, C]`, query by query."""
    h, w, c = x.shape
    heads = module.num_heads
    q, k, v = linear(module.qkv, x.reshape(h * w, c)).reshape(h * w, 3, heads, -1).unbind(1)
    table_h, table_w = table_at(module.rel_h, h), table_at(module.rel_w, w)
    out = torch.empty_like(q)
    for i in range(h * w):
        rows = [i // w - j // w + h - 1 for j in range(h * w)]
        columns = [i % w - j % w + w - 1 for j in range(h * w)]
        for head in range(heads):
            query = q[i, head]
            scores = k[:, head] @ query / math.sqrt(c // heads)
            scores = scores + (table_h[rows] + table_w[columns]) @ query
            out[i, head] = scores.softmax(0) @ v[:, head]
    return linear(module.proj, out.reshape(h * w, c)).reshape(h, w, c)


def windows_of(x: Tensor, side: int) -> tuple[list[Tensor], list[tuple[int, int, int]]]:
    """Windows of `[B, H, W, C]`, slice by slice, with their places; padded with zeros."""
    cut, places = [], []
    b, h, w, c = x.shape
    for index in range(b):
        for top in range(0, h, side):
            for left in range(0, w, side):
                window = torch.zeros(side, side, c, dtype=x.dtype)
                part = x[index, top : top + side, left : left + side]
                window[: part.shape[0], : part.shape[1]] = part
                cut.append(window)
                places.append((index, top, left))
    return cut, places


def depth_branch(block: MsaBlock, windows: list[Tensor]) -> list[Tensor]:
    """Groups of windows in the order of the batch axis; each position is a sequence of its own."""
    size = block.chunk or len(windows)
    rows, columns = depth_grid(size)
    out = [torch.empty_like(window) for window in windows]
    for start in range(0, len(windows), size):
        group = torch.stack(windows[start : start + size])
        h, w, c = windows[0].shape
        for i in range(h):
            for j in range(w):
                sequence = group[:, i, j].reshape(rows, columns, c)
                result = attention(block.attn, sequence).reshape(size, c)
                for k in range(size):
                    out[start + k][i, j] = adapter(block.Depth_Adapter, result[k])
    return out


def block_by_hand(block: MsaBlock, x: Tensor) -> Tensor:
    side = block.window_size or x.shape[1]
    cut, places = windows_of(x, side)
    normed = [norm(block.norm1, window) for window in cut]
    deep = depth_branch(block, normed) if block.slices > 1 else [torch.zeros(1)] * len(cut)
    out = x.clone()
    for window, depth, (index, top, left) in zip(normed, deep, places, strict=True):
        y = attention(block.attn, window)
        y = y + adapter(block.Space_Adapter, y) + depth
        place = out[index, top : top + side, left : left + side]
        place += y[: place.shape[0], : place.shape[1]]
    normed_x = norm(block.norm2, out)
    mlp = linear(block.mlp.lin2, gelu(linear(block.mlp.lin1, normed_x)))
    return out + mlp + 0.5 * adapter(block.MLP_Adapter, normed_x)


SMALL = {"embed_dim": 8, "num_heads": 2, "window_size": 2, "depth": 2, "global_blocks": (1,)}


def small_block(index: int, **changes: Any) -> MsaBlock:
    config = models.tiny(models.MsaConfig, **{**SMALL, "img_size": 48, **changes})
    block = MsaBlock(config, index).double()
    randomise(block)
    return block


@pytest.mark.parametrize(
    ("slices", "chunk"), [(1, 0), (4, 4), (4, 2), (4, 0), (3, 3), (5, 0), (6, 3), (2, 0), (7, 0)]
)
@pytest.mark.parametrize("index", [0, 1], ids=["windowed", "global"])
@torch.no_grad()
def test_block_by_hand(index: int, slices: int, chunk: int) -> None:
    """A 3 x 3 grid in windows of 2: the padding is norm1's bias, and takes part."""
    block = small_block(index, slices=slices, chunk=chunk)
    x = torch.randn(slices, 3, 3, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), block_by_hand(block, x))


@given(groups=st.integers(1, 3), chunk=st.integers(2, 9), windows=st.integers(1, 2))
@torch.no_grad()
def test_along_depth(groups: int, chunk: int, windows: int) -> None:
    """Any number of chunks of any depth, also odd ones and primes, in any window."""
    block = small_block(0, slices=chunk * groups, chunk=chunk)
    x = torch.randn(chunk * groups, windows, 2, 8, dtype=torch.float64)
    got = block.along_depth(x)
    expected = torch.stack(depth_branch(block, list(x)))
    torch.testing.assert_close(got, expected)


@torch.no_grad()
def test_without_chunk_the_whole_batch_axis_is_related() -> None:
    """Windows of all slices together: a change in one window reaches all others."""
    whole, chunked = small_block(0, slices=4), small_block(0, slices=4, chunk=2)
    x = torch.randn(8, 2, 2, 8, dtype=torch.float64)
    other = x.clone()
    other[7] += torch.randn(2, 2, 8, dtype=torch.float64)
    for block, reached in ((whole, range(8)), (chunked, (6, 7))):
        change = (block.along_depth(other) - block.along_depth(x)).abs().amax((1, 2, 3))
        assert [i for i in range(8) if change[i] > 1e-6] == list(reached)


@torch.no_grad()
def test_images_leave_the_depth_adapter_idle() -> None:
    block = small_block(0)
    x = torch.randn(1, 3, 3, 8, dtype=torch.float64)
    before = block(x)
    randomise(block.Depth_Adapter)
    torch.testing.assert_close(block(x), before, rtol=0, atol=0)


# --- the encoder ----------------------------------------------------------------------------------


def cubic(values: np.ndarray, count: int) -> np.ndarray:
    """The first axis resized by cubic convolution (a = -0.75), clamped at the ends."""

    def weight(t: float) -> float:
        a, t = -0.75, abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    n = len(values)
    out = np.zeros((count, *values.shape[1:]))
    for i in range(count):
        at = (i + 0.5) * n / count - 0.5
        for j in range(math.floor(at) - 1, math.floor(at) + 3):
            out[i] += weight(at - j) * values[min(max(j, 0), n - 1)]
    return out


@pytest.mark.parametrize("stored", [13, 5, 8, 64])
@torch.no_grad()
def test_position_table(stored: int) -> None:
    encoder = msa(stored_grid=stored).image_encoder
    table = encoder.pos_embed[0].numpy().astype(np.float64)
    expected = cubic(cubic(table, 8).transpose(1, 0, 2), 8).transpose(1, 0, 2)
    np.testing.assert_allclose(encoder.position_table()[0].numpy(), expected, atol=1e-5)


@torch.no_grad()
def test_chunks_are_independent() -> None:
    model = msa(slices=4, chunk=2)
    x = torch.rand(6, 3, 128, 128)
    together = model.encode(x)
    pairs = torch.cat([model.encode(x[i : i + 2]) for i in (0, 2, 4)])
    torch.testing.assert_close(together, pairs, atol=1e-5, rtol=1e-5)
    alone = msa().encode(x[:2])
    assert (alone - together[:2]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "good", "bad", "wanted"),
    [
        ({"slices": 4}, (4,), (1, 3, 5, 8), "4"),
        ({"slices": 4, "chunk": 2}, (2, 4, 6), (1, 3, 5), "a multiple of 2"),
        ({"slices": 3, "chunk": 3}, (3, 6), (2, 4), "a multiple of 3"),
    ],
)
@torch.no_grad()
def test_stacks(
    options: dict[str, int], good: tuple[int, ...], bad: tuple[int, ...], wanted: str
) -> None:
    model = models.build_model(models.tiny(models.MsaConfig, **options))
    for count in good:
        assert model.encode(torch.rand(count, 3, 128, 128)).shape == (count, 32, 8, 8)
    for count in bad:
        with pytest.raises(ModelError, match=f"a stack of {count} slices; expected {wanted}"):
            model.encode(torch.rand(count, 3, 128, 128))


# --- the decoder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
@torch.no_grad()
def test_two_way_block(first: bool) -> None:
    """The code stays in the tokens and is in the values; the first layer keeps its residual."""
    block = MsaTwoWayBlock(models.tiny(models.MsaConfig), first)
    randomise(block)
    tokens, tokens_pe = torch.randn(2, 1, 6, 32).unbind()
    image, image_pe = torch.randn(2, 1, 9, 32).unbind()
    got_tokens, got_image = block(tokens, image, tokens_pe, image_pe)

    if not first:
        tokens = tokens + tokens_pe
    x = block.norm1(tokens + block.self_attn(tokens, tokens, tokens))
    q, k = x + tokens_pe, image + image_pe
    x = block.norm2(x + block.cross_attn_token_to_image(q, k, image))
    hidden = linear(block.mlp.layers[0][0], x).clamp(min=0)
    x = block.norm3(x + linear(block.mlp.fc, hidden))
    y = block.norm4(image + block.cross_attn_image_to_token(k, x + tokens_pe, x))
    torch.testing.assert_close(got_tokens, x)
    torch.testing.assert_close(got_image, y)


@pytest.mark.parametrize("classes", [(), ("disc", "cup"), ("a", "b", "c", "d")])
@torch.no_grad()
def test_structures_are_the_first_masks(classes: tuple[str, ...]) -> None:
    """They are counted from mask token 0, which SAM keeps for single answers."""
    every = msa(classes=("a", "b", "c", "d"))
    model = models.build_model(models.tiny(models.MsaConfig, classes=classes), every.state_dict())
    x = torch.rand(2, 3, 128, 128)
    low_res, iou = model(x, XY, LABELS)
    count = len(classes) or 1
    assert low_res.shape == (2, count, 32, 32)
    assert iou.shape == (2, count)
    torch.testing.assert_close(low_res, every(x, XY, LABELS)[0][:, :count])


@torch.no_grad()
def test_what_it_does_not_take() -> None:
    model = msa()
    embedding = torch.zeros(1, 32, 8, 8)
    with pytest.raises(ModelError, match="Medical SAM Adapter takes no box prompts"):
        model.decode(embedding, boxes=torch.zeros(1, 4))
    with pytest.raises(ModelError, match="one mask per prompt"):
        model.decode(embedding, XY, LABELS, multimask=True)
    with pytest.raises(ModelError, match=r"expected \[B, 3, 128, 128\]"):
        model(torch.zeros(1, 1, 128, 128), XY, LABELS)
    with pytest.raises(ModelError, match="3 image embeddings and 2 prompts"):
        model(torch.zeros(3, 3, 128, 128), XY, LABELS)
