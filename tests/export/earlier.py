"""Graphs and bundles as versions wrote them that named uint8 results by an Identity and recorded no
sizes of attention."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from samedge.bundle import Bundle
from tests.runtime.quantised import with_graph


def earlier_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of today in the form of before; the one given is not changed."""
    before = onnx.ModelProto()
    before.CopyFrom(model)
    del before.metadata_props[:]
    for result in before.graph.output:
        if result.type.tensor_type.elem_type == TensorProto.UINT8:
            node = next(node for node in before.graph.node if result.name in node.output)
            node.output[0] = node.name
            for other in before.graph.node:
                for at, value in enumerate(other.input):
                    other.input[at] = node.name if value == result.name else value
            name = f"{before.graph.name}.{result.name}"
            before.graph.node.append(
                helper.make_node("Identity", [node.name], [result.name], name=name)
            )
    return before


def earlier_bundle(source: Path, target: Path) -> Bundle:
    """A copy of a bundle in a folder, its float32 graphs in the form of before."""
    shutil.copytree(source, target)
    for name in ("encoder", "decoder"):
        path = target / f"{name}.fp32.onnx"
        path.write_bytes(earlier_model(onnx.load(path)).SerializeToString())
        bundle = with_graph(target, path.name)
    return bundle
