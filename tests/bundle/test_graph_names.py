"""The scheme of names in a bundle's graphs."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from samedge.bundle.graph_names import NETWORK_INPUT, operation_of


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("encoder.blocks.0.attn.qkv/MatMul", "MatMul"),
        ("encoder.blocks.0.attn/Reshape_12", "Reshape"),
        ("encoder.blocks.0.attn/Split:2", "Split"),
        ("encoder.blocks.0.attn/Split_2:1", "Split"),
        ("encoder.blocks.0.attn.qkv.weight", None),
        (NETWORK_INPUT, None),
        ("masks", None),
    ],
)
def test_names_say_the_operation(name: str, operation: str | None) -> None:
    assert operation_of(name) == operation


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_the_graphs_keep_to_it(tiny_bundle: Path, graph: str) -> None:
    for node in onnx.load(tiny_bundle / f"{graph}.fp32.onnx").graph.node:
        for value in node.output:
            assert operation_of(value) in (node.op_type, None)
        assert operation_of(node.name) == (None if node.op_type == "Identity" else node.op_type)
