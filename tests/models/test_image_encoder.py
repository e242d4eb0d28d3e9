"""Windows, relative positions and attention against plain oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samedge import models
from samedge.models.image_encoder import (
    Attention,
    add_relative_positions,
    relative_rows,
    resize_table,
    window_partition,
    window_unpartition,
)


@given(
    st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(1, 7), st.integers(1, 4)
)
def test_windows_are_reversible(b: int, h: int, w: int, window: int, c: int) -> None:
    x = torch.arange(b * h * w * c, dtype=torch.float32).reshape(b, h, w, c) + 1
    windows, padded = window_partition(x, window)
    assert windows.shape[1:] == (window, window, c)
    assert padded == (-(-h // window) * window, -(-w // window) * window)
    assert torch.equal(windows.sum(), x.sum())  # padding is zero
    assert torch.equal(window_unpartition(windows, window, padded, (h, w)), x)


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 5))
def test_tables_are_resized_linearly(rows: int, side: int, c: int) -> None:
    table = torch.from_numpy(np.random.default_rng(rows).standard_normal((rows, c)))
    new = 2 * side - 1
    # half-pixel centres, clamped at the ends
    at = np.clip((np.arange(new) + 0.5) * rows / new - 0.5, 0, rows - 1)
    columns = [np.interp(at, np.arange(rows), column) for column in table.numpy().T]
    np.testing.assert_allclose(resize_table(table, side), np.stack(columns, axis=1), atol=1e-9)


def test_row_of_query_and_key() -> None:
    table = torch.arange(9.0)[:, None]
    rows = relative_rows(table, 5)[..., 0]
    assert all(rows[i, j] == i - j + 4 for i in range(5) for j in range(5))


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize(("h", "w"), [(3, 3), (2, 5)])
def test_relative_positions_by_hand(h: int, w: int, gradient: bool) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, h * w, 4, dtype=torch.float64)
    scores = torch.randn(2, h * w, h * w, dtype=torch.float64)
    table_h = torch.randn(2 * h - 1, 4, dtype=torch.float64)
    table_w = torch.randn(2 * w - 1, 4, dtype=torch.float64)
    given = scores.clone().requires_grad_(gradient)
    got = add_relative_positions(given, q, table_h, table_w, (h, w)).detach()
    for query in range(h * w):
        for key in range(h * w):
            row_h = table_h[query // w - key // w + h - 1]
            row_w = table_w[query % w - key % w + w - 1]
            expected = scores[:, query, key] + q[:, query] @ (row_h + row_w)
            torch.testing.assert_close(got[:, query, key], expected)


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention = Attention(dim=8, num_heads=2, table_side=3)
    torch.nn.init.normal_(attention.rel_pos_h)
    torch.nn.init.normal_(attention.rel_pos_w)
    x = torch.randn(1, 3, 3, 8)
    with torch.no_grad():
        q, k, v = attention.qkv(x.reshape(9, 8)).reshape(9, 3, 2, 4).permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) / 2  # sqrt(4)
        scores = add_relative_positions(scores, q, attention.rel_pos_h, attention.rel_pos_w, (3, 3))
        heads = torch.softmax(scores, -1) @ v
        expected = attention.proj(heads.transpose(0, 1).reshape(9, 8)).reshape(1, 3, 3, 8)
        torch.testing.assert_close(attention(x), expected)


def test_padding_takes_part_in_attention() -> None:
    """The last window has 3x3 real tokens; its 16 padding tokens are zeros, and are attended."""
    torch.manual_seed(0)
    block = models.build_sam(models.tiny_sam_config()).image_encoder.blocks[0]
    torch.nn.init.normal_(block.attn.qkv.bias)
    x = torch.randn(1, 8, 8, 32)
    window = torch.zeros(1, 5, 5, 32)
    window[:, :3, :3] = x[:, 5:, 5:]
    with torch.inference_mode():
        got = block.attend(x)[:, 5:, 5:]
        torch.testing.assert_close(got, block.attn(window)[:, :3, :3])
        assert (got - block.attn(x[:, 5:, 5:])).abs().max() > 0.01  # as if they were masked


def test_tables_of_another_size_are_resized_at_run_time() -> None:
    torch.manual_seed(0)
    large = models.build_sam(models.tiny_sam_config(rel_pos_grid=16))
    tensors = dict(large.state_dict())
    for i in large.config.global_blocks:
        for axis in "hw":
            name = f"image_encoder.blocks.{i}.attn.rel_pos_{axis}"
            assert tensors[name].shape[0] == 31
            tensors[name] = resize_table(tensors[name], 8)
    small = models.build_sam(models.tiny_sam_config(), tensors)
    x = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        torch.testing.assert_close(large.encode(x), small.encode(x))
