"""Attention without queries of padding computes what the graph before it computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge._openvino import ops, ov
from samedge.bundle.attention_sizes import (
    AttentionSizes,
    attention_from_text,
    attention_to_text,
)
from samedge.errors import BundleError
from samedge.runtime.openvino.compile import read_model, split_encoder
from samedge.runtime.openvino.rewrites import dense as openvino_dense
from samedge.runtime.openvino.rewrites import int8 as openvino_int8
from samedge.runtime.openvino.rewrites import windows as openvino_windows
from samedge.runtime.openvino.rewrites.nodes import ints
from tests.runtime.openvino.rewrites.test_dense import assert_unchanged

Shape = tuple[int, int, int, int, int]  # images, side, window (0: none), heads, channels of a head
Change = dict[str, Any]


def attention(shape: Shape, change: Change | None = None) -> Any:
    """x [images, side * side, heads * d] -> attention in windows with a bias by row and column.

    change: "block" is its number; "recorded" what stands in the metadata, by default its sizes;
    "names" whether its nodes have those that an export gives them.
    """
    b, n, window, h, d = shape
    change = change or {}
    path = f"encoder.blocks.{change.get('block', 0)}.attn"
    rng = np.random.default_rng(sum(shape))
    w, dim = window or n, h * d
    weights = (rng.standard_normal((3, dim, dim)) / np.sqrt(dim)).astype(np.float32)
    shift = rng.standard_normal((3, 1, 1, dim)).astype(np.float32)
    tables = (rng.standard_normal((2, w, d, w)) / np.sqrt(d)).astype(np.float32)
    count = -(-n // w)
    pad, windows = count * w - n, b * count**2

    def cut(x: Any) -> Any:
        x = ops.reshape(x, ints(b, n, n, dim), False)
        if pad:
            x = ops.pad(x, ints(0, 0, 0, 0), ints(0, pad, pad, 0), "constant")
        x = ops.reshape(x, ints(b * count, w, count, w, h, d), False)
        x = ops.transpose(x, ints(0, 2, 4, 1, 3, 5))
        return ops.reshape(x, ints(windows, h, w * w, d), False)

    def bias(q: Any) -> Any:
        q = ops.reshape(q, ints(windows, h, w, w, d), False)
        turned = ops.transpose(q, ints(0, 1, 3, 2, 4))
        names = [f"{path}.{key}/MatMul" for key in ("rel_h", "rel_w")]
        rows = ops.matmul(q, ops.constant(tables[0]), False, False, name=names[0])
        columns = ops.matmul(turned, ops.constant(tables[1]), False, False, name=names[1])
        columns = ops.transpose(columns, ints(0, 1, 3, 2, 4))
        total = ops.add(ops.unsqueeze(rows, ints(-1)), ops.unsqueeze(columns, ints(-2)))
        return ops.reshape(total, ints(windows, h, w * w, w * w), False)

    def uncut(y: Any) -> Any:
        y = ops.reshape(y, ints(b * count, count, h, w, w, d), False)
        y = ops.transpose(y, ints(0, 3, 1, 4, 2, 5))
        y = ops.reshape(y, ints(b, count * w, count * w, dim), False)
        if pad:
            y = ops.slice(y, ints(0, 0), ints(n, n), ints(1, 1), ints(1, 2))
        return ops.reshape(y, ints(b, n * n, dim), False)

    def build() -> ov.Model:
        x = ops.parameter([b, n * n, dim], np.float32)
        parts = [ops.matmul(x, ops.constant(weight), False, False) for weight in weights]
        parts[0] = ops.add(parts[0], ops.constant(shift[0]))
        if change.get("bias_of_values", True):
            parts[2] = ops.add(parts[2], ops.constant(shift[2]))
        q, k, v = (cut(part) for part in parts)
        scores = ops.add(ops.matmul(q, k, False, True), bias(q))
        name = f"{path}/Softmax" if change.get("names", True) else "something/Softmax"
        shares = ops.softmax(scores, -1, name=name)
        model = ov.Model([ops.relu(uncut(ops.matmul(shares, v, False, False)))], [x])
        sizes = {path: AttentionSizes(b, n, h, d, w)}
        text = change.get("recorded", attention_to_text(sizes))
        if text is not None:
            model.set_rt_info(text, openvino_windows.RECORDED)
        return model

    return build


def tokens_of(shape: Shape) -> Any:
    b, n, _, h, d = shape
    return np.random.default_rng(1).standard_normal((b, n * n, h * d)).astype(np.float32)


def kinds(model: ov.Model) -> list[str]:
    return [node.get_type_name() for node in model.get_ops()]


WHOLE = (1, 4, 0, 2, 3)
FITTING = (1, 6, 3, 2, 4)
PADDED = (1, 8, 3, 2, 4)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        (WHOLE, 1),
        ((2, 4, 0, 3, 2), 1),
        (FITTING, 1),
        ((3, 4, 2, 1, 5), 1),
        (PADDED, 3),
        ((2, 5, 3, 2, 4), 3),
        ((1, 4, 7, 2, 3), 1),  # one window, larger than the grid
        ((2, 3, 5, 1, 2), 1),
        ((1, 8, 7, 2, 16), 3),  # the corner is one token
        ((1, 3, 0, 2, 26), 1),  # no spare channels: 26 + 3 + 3
    ],
)
def test_attend_from_tokens(shape: Shape, groups: int) -> None:
    model = assert_unchanged(
        attention(shape), tokens_of(shape), openvino_windows.attend_from_tokens, 1
    )
    assert kinds(model).count("Softmax") == groups
    assert not {"Pad", "Slice", "Unsqueeze"} & set(kinds(model))
    b, n, _, h, _ = shape
    softmax = [node for node in model.get_ops() if node.get_type_name() == "Softmax"]
    rows = sum(int(np.prod(node.get_output_shape(0)[:3])) for node in softmax)
    assert rows == b * n * n * h  # no query of padding
    for node in softmax:
        assert node.input_value(0).get_node().input_value(0).get_shape()[-1] % 32 == 0


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 2), st.integers(1, 7), st.integers(1, 8), st.integers(1, 3))
def test_any_grid_and_window(images: int, side: int, window: int, heads: int) -> None:
    shape = (images, side, window, heads, 3)
    assert_unchanged(attention(shape), tokens_of(shape), openvino_windows.attend_from_tokens, 1)


def test_every_block_of_an_exported_graph_is_found(tiny_bundle: Path) -> None:
    path = tiny_bundle / "encoder.fp32.onnx"
    _, encoder = split_encoder(read_model(path))
    recorded = attention_from_text(encoder.get_rt_info(openvino_windows.RECORDED).value)
    names = {node.get_friendly_name() for node in encoder.get_ops()}
    assert {f"{block}/Softmax" for block in recorded} <= names
    assert openvino_windows.attend_from_tokens(encoder) == len(recorded) == 4


@pytest.mark.parametrize("shape", [WHOLE, PADDED, (2, 5, 3, 2, 4)])
def test_a_graph_of_before_sizes_were_recorded(shape: Shape) -> None:
    build = attention(shape, {"recorded": None})
    assert_unchanged(build, tokens_of(shape), openvino_windows.attend_from_tokens, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"names": False},
        {"recorded": attention_to_text({"encoder.blocks.0.attn": AttentionSizes(1, 8, 2, 4, 4)})},
        {"recorded": attention_to_text({"encoder.blocks.0.attn": AttentionSizes(1, 8, 4, 2, 3)})},
        {"recorded": attention_to_text({"encoder.blocks.0.attn": AttentionSizes(4, 4, 2, 4, 3)})},
    ],
)
def test_what_is_something_else_stays(change: Change) -> None:
    """Another name, or other sizes than the graph has."""
    build = attention(PADDED, change)
    assert_unchanged(build, tokens_of(PADDED), openvino_windows.attend_from_tokens, 0)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": 1}', '{"a": {}}', '{"a": {"images": 1, "grid": 0}}',
             '{"a": {"images": 1, "grid": 2, "heads": 1, "head_size": 1, "window": "2"}}']
)  # fmt: skip
def test_damaged_metadata_is_an_error(text: str) -> None:
    with pytest.raises(BundleError, match="export the bundle again"):
        openvino_windows.attend_from_tokens(attention(PADDED, {"recorded": text})())


def test_keys_and_values_share_one_reordered_input() -> None:
    model = attention(PADDED)()
    assert openvino_windows.attend_from_tokens(model) == 1
    model.validate_nodes_and_infer_types()
    assert kinds(model).count("Gather") == 3  # x for k and v; q; the way back


def test_blocks_share_their_constants() -> None:
    first = attention(PADDED)()
    second = attention(PADDED, {"block": 1, "recorded": None})()
    x = second.get_parameters()[0]
    for target in list(x.output(0).get_target_inputs()):
        target.replace_source_output(first.get_results()[0].input_value(0))
    model = ov.Model(second.get_results(), first.get_parameters())
    assert openvino_windows.attend_from_tokens(model) == 2
    large = [n for n in model.get_ops() if n.get_type_name() == "Constant"
             and len(n.get_output_shape(0)) == 4 and n.get_output_shape(0)[1] > 1]  # fmt: skip
    # The places of 3 groups of windows; keys and values of padding, for edges and for the corner
    assert len(large) == 3 + 2 * 2


def test_int8_takes_it_before_the_more_general_rewrites() -> None:
    steps = openvino_int8.int8_steps()
    at = steps.index(openvino_windows.attend_from_tokens)
    assert at > steps.index(openvino_int8.untransposed_keys)
    assert at > steps.index(openvino_int8.split_quantised)
    assert at < steps.index(openvino_int8.relative_positions)


@pytest.mark.parametrize(("precision", "takes"), [("fp32", False), ("bf16", True), ("int8", True)])
def test_precisions_that_take_it(precision: str, takes: bool) -> None:
    """It was no gain in float32."""
    model = openvino_dense.optimise(attention(PADDED)(), precision)
    assert kinds(model).count("Softmax") == (3 if takes else 1)
    assert ("Pad" in kinds(model)) is not takes
