"""The torch references against float64 numpy, written as the formulas say, element by element."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge.families import LITEMEDSAM, MEDSAM, MSA_3D, SAM, SAMED, SAMUS, Family
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import encoder_inputs, to_network_colours
from samedge.geometry.network_input import resize_frame as resize_in_numpy
from samedge.kernels import reference as ops
from samedge.models.common import LayerNorm2d
from samedge.models.image_encoder import Attention, window_partition, window_unpartition
from samedge.models.samus import CrossAttention

Floats = NDArray[np.float64]
LIMIT = {"atol": 2e-6, "rtol": 2e-5}  # float32 against float64, values of about 1


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(got: torch.Tensor, expected: Floats, **limit: float) -> None:
    np.testing.assert_allclose(got.detach().numpy(), expected, **(limit or LIMIT))


def f64(x: torch.Tensor) -> Floats:
    return x.numpy().astype(np.float64)


def softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu(x: Floats) -> Floats:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


sides = st.integers(1, 7)


@given(sides, sides, st.sampled_from([1e-6, 1e-5, 0.1]))
def test_layer_norm(tokens: int, dim: int, eps: float) -> None:
    x, w, b = normal(0, 2, tokens, dim), normal(1, dim), normal(2, dim)
    mean, variance = f64(x).mean(-1, keepdims=True), f64(x).var(-1, keepdims=True)
    expected = (f64(x) - mean) / np.sqrt(variance + eps) * f64(w) + f64(b)
    close(ops.layer_norm(x, w, b, eps), expected, atol=1e-4, rtol=1e-4)


@given(sides, sides, st.sampled_from([1e-6, 1e-5, 0.1]))
def test_rms_norm(tokens: int, dim: int, eps: float) -> None:
    x, w, b = normal(0, 2, tokens, dim), normal(1, dim), normal(2, dim)
    root = np.sqrt((f64(x) ** 2).mean(-1, keepdims=True) + eps)
    close(ops.rms_norm(x, w, b, eps), f64(x) / root * f64(w) + f64(b))


def test_rms_norm_is_layer_norm_of_what_has_no_mean() -> None:
    x, norm = normal(0, 2, 6, 5, 5), LayerNorm2d(6)
    x = x - x.mean(1, keepdim=True)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    got = ops.rms_norm(x.permute(0, 2, 3, 1), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(got.permute(0, 3, 1, 2), norm(x))


@given(sides, sides, sides, st.booleans())
def test_linear(tokens: int, inner: int, outer: int, with_bias: bool) -> None:
    x, w, b = normal(0, 2, tokens, inner), normal(1, inner, outer), normal(2, outer)
    expected = f64(x) @ f64(w) + (f64(b) if with_bias else 0)
    close(ops.linear(x, w, b if with_bias else None), expected)


@given(sides, sides, st.integers(1, 40))
def test_mlp(tokens: int, dim: int, hidden: int) -> None:
    x, w1, b1 = normal(0, 2, tokens, dim), normal(1, dim, hidden), normal(2, hidden)
    w2, b2 = normal(3, hidden, dim), normal(4, dim)
    expected = gelu(f64(x) @ f64(w1) + f64(b1)) @ f64(w2) + f64(b2)
    close(ops.mlp(x, w1, b1, w2, b2), expected, atol=2e-5, rtol=2e-5)


def test_gelu_is_the_exact_one() -> None:
    """The tanh approximation is 5e-4 away."""
    x = torch.linspace(-4, 4, 81)[:, None]
    one, zero = torch.ones(1, 1), torch.zeros(1)
    close(ops.mlp(x, one, zero, one, zero), gelu(f64(x)), atol=1e-6, rtol=0)


@given(st.integers(1, 3), sides, st.integers(1, 4), st.integers(1, 5))
def test_heads_are_reversible(batch: int, tokens: int, heads: int, dim: int) -> None:
    x = torch.arange(batch * tokens * heads * dim).reshape(batch, tokens, heads * dim)
    split = ops.split_heads(x, heads)
    assert split.shape == (batch, heads, tokens, dim)
    h, d = heads - 1, dim - 1
    assert torch.equal(split[:, h, :, d], x[..., h * dim + d])
    assert torch.equal(ops.merge_heads(split), x)


@given(st.integers(1, 3), sides, sides, st.integers(1, 3), sides, sides)
def test_attention(n: int, tokens: int, keys: int, heads: int, dim: int, width: int) -> None:
    """Values may be wider than keys."""
    q, k = normal(0, n, tokens, heads * dim), normal(1, n, keys, heads * dim)
    v = normal(2, n, keys, heads * width)
    expected = np.empty((n, tokens, heads * width))
    for i, h in np.ndindex(n, heads):
        mine, theirs = slice(h * dim, (h + 1) * dim), slice(h * width, (h + 1) * width)
        weights = softmax(f64(q)[i, :, mine] @ f64(k)[i, :, mine].T)
        expected[i, :, theirs] = weights @ f64(v)[i, :, theirs]
    close(ops.attention(q, k, v, heads), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shared", ["queries", "keys"])
def test_attention_shares_a_batch_of_one(shared: str) -> None:
    q = normal(0, 1 if shared == "queries" else 3, 4, 6)
    k, v = (normal(i, 1 if shared == "keys" else 3, 5, 6) for i in (1, 2))
    expected = ops.attention(*(x.expand(3, -1, -1) for x in (q, k, v)), 2)
    torch.testing.assert_close(ops.attention(q, k, v, 2), expected)


def test_attention_is_samus_cross_attention() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(8, 2)
    tokens, branch = torch.randn(2, 3, 3, 8), torch.randn(2, 3, 3, 8)
    with torch.no_grad():
        q, k, v = (
            f(x).flatten(1, 2) for f, x in ((layer.q, tokens), (layer.k, branch), (layer.v, branch))
        )
        got = layer.proj(ops.attention(q * layer.scale, k, v, 2)).reshape(2, 3, 3, 8)
        torch.testing.assert_close(got, layer(tokens, branch))


@given(st.integers(1, 3), sides, sides, st.integers(1, 3), sides, st.sampled_from([1, 30]))
def test_one_more_attention(
    n: int, tokens: int, keys: int, heads: int, dim: int, size: int
) -> None:
    """`exp(s - max s) / (1 + sum exp(s - max s))`, without overflow for large scores."""
    q, k, v = (normal(i, n, t, heads * dim) for i, t in enumerate((tokens, keys, keys)))
    q = q * size
    expected = np.empty((n, tokens, heads * dim))
    for i, h in np.ndindex(n, heads):
        mine = slice(h * dim, (h + 1) * dim)
        scores = f64(q)[i, :, mine] @ f64(k)[i, :, mine].T
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights = weights / (1 + weights.sum(-1, keepdims=True))
        expected[i, :, mine] = weights @ f64(v)[i, :, mine]
    close(ops.one_more_attention(q, k, v, heads), expected, atol=1e-4 * size, rtol=1e-4)


def test_one_more_attention_shares_a_batch_of_one() -> None:
    q, k, v = normal(0, 3, 4, 6), normal(1, 1, 5, 6), normal(2, 1, 5, 6)
    expected = ops.one_more_attention(q, *(x.expand(3, -1, -1) for x in (k, v)), 2)
    torch.testing.assert_close(ops.one_more_attention(q, k, v, 2), expected)


def relative_oracle(
    q: Floats, k: Floats, v: Floats, rel_h: Floats, rel_w: Floats, heads: int
) -> Floats:
    """One query at a time."""
    (m, _, u), (n, _, w) = rel_h.shape, rel_w.shape
    d = q.shape[-1] // heads
    out = np.empty((*q.shape[:2], heads * d))
    for b, h, y, x in np.ndindex(len(q), heads, m, n):
        mine = slice(h * d, (h + 1) * d)
        query = q[b, y * n + x, mine]
        bias = [query @ (rel_h[y, :, j] + rel_w[x, :, i]) for j in range(u) for i in range(w)]
        out[b, y * n + x, mine] = softmax(k[b, :, mine] @ query + np.array(bias)) @ v[b, :, mine]
    return out


@given(
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 4),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 99),
)
def test_relative_attention(
    batch: int, heads: int, dim: int, side: tuple[int, int], corner: int
) -> None:
    """Queries may be fewer than keys in both directions, and the grid need not be square."""
    rows, cols = side
    m, n = 1 + corner % rows, 1 + corner // 10 % cols
    q = normal(0, batch, m * n, heads * dim)
    k, v = (normal(i, batch, rows * cols, heads * dim) for i in (1, 2))
    rel_h, rel_w = normal(3, m, dim, rows), normal(4, n, dim, cols)
    expected = relative_oracle(*map(f64, (q, k, v, rel_h, rel_w)), heads)
    close(ops.relative_attention(q, k, v, rel_h, rel_w, heads), expected, atol=1e-5, rtol=1e-5)


@given(st.integers(1, 40), st.integers(1, 20))
def test_window_parts_cover_the_grid_once(grid: int, window: int) -> None:
    covered = []
    for first, count, side in ops.window_parts(grid, window):
        assert 1 <= side <= window
        assert side == window or count == 1
        covered += list(range(first, first + count * side))
    assert covered == list(range(grid))


@given(st.integers(1, 2), *[st.integers(1, 4)] * 5)
def test_windows_are_reversible(b: int, ny: int, m: int, nx: int, n: int, c: int) -> None:
    x = torch.arange(b * ny * m * nx * n * c).reshape(b, ny * m, nx * n, c)
    cut = ops.windows(x, (ny, m), (nx, n))
    assert cut.shape == (b * ny * nx, m * n, c)
    last = x[-1, (ny - 1) * m :, (nx - 1) * n :].reshape(m * n, c)
    assert torch.equal(cut[-1], last)
    assert torch.equal(ops.unwindows(cut, (ny, m), (nx, n)), x)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_windows_are_those_of_the_eager_model(batch: int, count: int, window: int) -> None:
    x = normal(0, batch, count * window, count * window, 3)
    eager, _ = window_partition(x, window)
    got = ops.windows(x, (count, window), (count, window))
    assert torch.equal(got, eager.flatten(1, 2))


@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 6)
)
def test_window_attention(batch: int, heads: int, dim: int, grid: int, window: int) -> None:
    """Whole windows of zeros, with the tokens in their upper left corners."""
    c = heads * dim
    qkv, rel_h, rel_w = (
        normal(0, batch, grid**2, 3 * c),
        *(normal(i, window, dim, window) for i in (1, 2)),
    )
    side = -(-grid // window) * window
    padded = np.zeros((batch, side, side, 3 * c))
    padded[:, :grid, :grid] = f64(qkv).reshape(batch, grid, grid, 3 * c)
    expected = np.empty((batch, side, side, c))
    for y, x in np.ndindex(side // window, side // window):
        at = np.s_[:, y * window : (y + 1) * window, x * window : (x + 1) * window]
        block = padded[at].reshape(batch, window**2, 3 * c)
        parts = np.split(block, 3, axis=-1)
        out = relative_oracle(*parts, f64(rel_h), f64(rel_w), heads)
        expected[at] = out.reshape(batch, window, window, c)
    got = ops.window_attention(qkv, rel_h, rel_w, heads, grid)
    expected = expected[:, :grid, :grid].reshape(batch, grid**2, c)
    close(got, expected, atol=1e-5, rtol=1e-5)


@given(st.integers(1, 3), st.sampled_from([2, 4]), st.integers(1, 9), st.integers(1, 6))
def test_window_attention_is_the_eager_one(heads: int, dim: int, grid: int, window: int) -> None:
    """The padded original, all biases in place, against ours after the three moves of the fold.

    The scale goes into the queries (and out of the tables), the key bias away, the value bias
    behind the attention: then padding tokens have zero keys and values.
    """
    torch.manual_seed(grid * 10 + window)
    c, scale = heads * dim, dim**-0.5
    eager = Attention(c, heads, window)
    for parameter in eager.parameters():
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(2, grid, grid, c)
    with torch.no_grad():
        padded, size = window_partition(tokens, window)
        expected = window_unpartition(eager(padded), window, size, (grid, grid))
        weight, bias = eager.qkv.weight.clone(), eager.qkv.bias.clone()
        weight[:c] *= scale
        bias[:c] *= scale
        value_bias = bias[2 * c :].clone()
        bias[c:] = 0
        index = torch.arange(window)[:, None] - torch.arange(window) + window - 1
        tables = [t[index].transpose(1, 2) / scale for t in (eager.rel_pos_h, eager.rel_pos_w)]
        qkv = tokens.reshape(2, grid * grid, c) @ weight.t() + bias
        got = eager.proj(ops.window_attention(qkv, *tables, heads, grid) + value_bias)
    torch.testing.assert_close(got.reshape(2, grid, grid, c), expected, atol=1e-4, rtol=1e-4)


def depth_oracle(
    qkv: Floats, rel_h: Floats, rel_w: Floats, heads: int, grid: int, window: int
) -> Floats:
    """Windows as a list, cut into groups; one place of a group at a time."""
    b, c, depth = len(qkv), qkv.shape[-1] // 3, len(rel_h) * len(rel_w)
    count = -(-grid // window)
    padded = np.zeros((b, count * window, count * window, 3 * c))
    padded[:, :grid, :grid] = qkv.reshape(b, grid, grid, 3 * c)
    out = np.empty((*padded.shape[:3], c))
    entries = [(i, y, x) for i in range(b) for y in range(count) for x in range(count)]
    for first in range(0, len(entries), depth):
        group = entries[first : first + depth]
        for dy, dx in np.ndindex(window, window):
            at = [(i, y * window + dy, x * window + dx) for i, y, x in group]
            parts = np.split(np.stack([padded[p] for p in at])[None], 3, axis=-1)
            for p, y in zip(at, relative_oracle(*parts, rel_h, rel_w, heads)[0], strict=True):
                out[p] = y
    return out[:, :grid, :grid].reshape(b, grid * grid, c)


@given(
    st.sampled_from([(1, 2), (2, 2), (1, 3), (3, 2)]),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_depth_attention(
    shape: tuple[int, int], groups: int, heads: int, dim: int, grid: int, window: int
) -> None:
    """Groups of slices, of windows of a slice, or of both, as the batch axis happens to be cut."""
    rows, cols = shape
    slices, c = groups * rows * cols, heads * dim
    qkv = normal(0, slices, grid**2, 3 * c)
    rel_h, rel_w = normal(1, rows, dim, rows), normal(2, cols, dim, cols)
    expected = depth_oracle(*map(f64, (qkv, rel_h, rel_w)), heads, grid, window)
    got = ops.depth_attention(qkv, rel_h, rel_w, heads, grid, window, rows * cols)
    close(got, expected, atol=1e-5, rtol=1e-5)


def test_depth_attention_of_global_blocks_relates_slices() -> None:
    """One window that covers the grid: every place sees itself in the other slices only."""
    qkv = normal(0, 4, 9, 12)
    tables = normal(1, 1, 2, 1), normal(2, 4, 2, 4)
    before = ops.depth_attention(qkv, *tables, 2, 3, 3, 4)
    qkv[3, 5] += 1
    changed = (ops.depth_attention(qkv, *tables, 2, 3, 3, 4) != before).any(-1)
    assert changed[:, 5].all()
    assert changed.sum() == 4


@given(st.integers(1, 2), sides, sides, st.integers(1, 3), st.integers(1, 3))
def test_conv3x3(batch: int, height: int, width: int, inner: int, outer: int) -> None:
    x, weight = normal(0, batch, height, width, inner), normal(1, outer, inner, 3, 3)
    padded = np.pad(f64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((batch, height, width, outer))
    for i, j in np.ndindex(3, 3):
        expected += padded[:, i : i + height, j : j + width] @ f64(weight)[:, :, i, j].T
    close(ops.conv3x3(x, weight), expected, atol=1e-5, rtol=1e-5)


frame_sides = st.integers(16, 90)


@given(
    st.sampled_from([SAM, SAMUS, MEDSAM, SAMED, MSA_3D, LITEMEDSAM]), frame_sides, frame_sides,
    st.sampled_from([16, 33, 64]), st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_resize_frame(
    family: Family, height: int, width: int, size: int, colour: bool, seed: int
) -> None:
    """Bit for bit where frames are rounded; all rules, also where the vertical pass comes first."""
    family = replace(family, slices=1)
    shape = (height, width, 3) if colour else (height, width)
    rng, crop = np.random.default_rng(seed), (0, 0, 16, height) if seed < 3 else None
    frame = rng.integers(0, 256, shape, dtype=np.uint8)
    frame[:, :16] = frame[:, :16] // 4 + 50  # a cubic filter overshoots what is in the crop
    geometry = frame_geometry(family, height, width, crop, input_size=size, low_res=16)
    colours = to_network_colours(frame, family)
    expected = resize_in_numpy(colours, geometry, family)
    inputs, pixels = encoder_inputs(family, geometry, 3 if colour else 1)
    pixels[:] = np.atleast_3d(frame)
    mapped = np.floor(inputs["frame"].astype(np.float32) @ inputs["colour"] + np.float32(0.5))
    planar = torch.from_numpy(mapped).permute(2, 0, 1)
    rows, cols = (torch.from_numpy(inputs[name]) for name in ("rows", "cols"))
    got = ops.resize_frame(planar, rows, cols, family.interpolation)
    if inputs["rows_first"][0]:
        got = got.transpose(1, 2)
    slack = 0 if family.rounded else 1e-3
    np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), expected, rtol=0, atol=slack)


@pytest.mark.parametrize("family", [SAMUS, MEDSAM, MSA_3D, LITEMEDSAM])
def test_resize_of_a_volume_is_that_of_its_slices(family: Family) -> None:
    geometry = frame_geometry(family, 40, 30, input_size=32, low_res=16)
    rows, cols = (torch.from_numpy(x.copy()) for x in (geometry.rows, geometry.cols))
    volume = torch.randint(0, 256, (3, 2, 40, 30), generator=torch.manual_seed(0)).float()
    whole = ops.resize_frame(volume, rows, cols, family.interpolation)
    for one, expected in zip(volume, whole, strict=True):
        got = ops.resize_frame(one, rows, cols, family.interpolation)
        torch.testing.assert_close(got, expected, rtol=0, atol=0 if family.rounded else 1e-3)


@pytest.mark.parametrize("family", [SAMUS, MEDSAM, LITEMEDSAM])
def test_resize_frame_at_extremes(family: Family) -> None:
    """Black, white and the largest frame that samedge takes."""
    geometry = frame_geometry(family, 4096, 4096, input_size=256)
    rows, cols = (torch.from_numpy(x.copy()) for x in (geometry.rows, geometry.cols))
    for level in (0, 255):
        frame = torch.full((1, 4096, 4096), float(level))
        got = ops.resize_frame(frame, rows, cols, family.interpolation)
        assert torch.equal(got, torch.full((1, 256, 256), float(level)))


def test_min_max() -> None:
    pixels = torch.stack([normal(0, 3, 8, 8), 5 + 2 * normal(1, 3, 8, 8), torch.full((3, 8, 8), 7)])
    got = ops.min_max(pixels)
    for one, image in zip(pixels[:2], got, strict=False):
        torch.testing.assert_close(image, (one - one.min()) / (one.max() - one.min()))
    assert not got[2].any()
