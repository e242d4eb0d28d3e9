"""A bundle's float32 encoder with explicit symmetric Q/DQ, in the plainest way: for the runtime.

Ranges are the largest values on the self-test's frames. What samedge ships is made with more care
(`samedge.export`); what an engine does with it is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from samedge._openvino import ov
from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.bundle.sealing import seal
from samedge.export.graphs.model import OnnxGraph


def quantise(source: Path, target: Path, inputs: Mapping[str, Any]) -> int:
    """Write `source` with every MatMul and Conv by constant weights quantised.

    Args:
        source: a float32 graph.
        target: the file to write.
        inputs: of the graph, to take the ranges from.

    Returns:
        How many operations were quantised.
    """
    graph = OnnxGraph.read(source)
    after = _after(graph, NETWORK_INPUT)
    nodes = [n for n in graph.nodes if n.output[0] in after and _is_weighted(graph, n)]
    ranges = _ranges(source, sorted({node.input[0] for node in nodes}), inputs)
    scaled: dict[str, str] = {}
    added: dict[int, list[Any]] = {}
    for node in nodes:
        value = node.input[0]
        if value not in scaled:
            scaled[value] = f"{value}/dequantised"
            added[id(node)] = _activation(graph, value, ranges[value])
        node.input[0] = scaled[value]
        added.setdefault(id(node), []).append(_weight(graph, node))
    graph.nodes = [m for node in graph.nodes for m in (*added.get(id(node), ()), node)]
    graph.prune()
    graph.save(target)
    return len(nodes)


def with_int8(folder: Path, inputs: Mapping[str, Any]) -> tuple[Bundle, int]:
    """A bundle in a folder with an int8 encoder added, and how many operations it quantises."""
    count = quantise(folder / "encoder.fp32.onnx", folder / "encoder.int8.onnx", inputs)
    return with_graph(folder, "encoder.int8.onnx"), count


def with_graph(folder: Path, name: str) -> Bundle:
    """A bundle in a folder, told of a further graph in it: "encoder.int8.onnx"."""
    manifest = json.loads((folder / "manifest.json").read_text())
    graph, precision = name.split(".")[:2]
    data = (folder / name).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    manifest["files"][name] = {"bytes": len(data), "sha256": digest}
    entry = {**manifest["graphs"][graph]["fp32"], "file": name, "sha256": digest}
    manifest["graphs"][graph][precision] = entry
    (folder / "manifest.json").write_bytes(seal(manifest))
    return Bundle.open(folder)


def _is_weighted(graph: OnnxGraph, node: Any) -> bool:
    """A convolution or a linear layer; products with tables of relative positions are neither."""
    sides = {"Conv": 4, "MatMul": 2}.get(node.op_type)
    return sides is not None and np.ndim(graph.arrays.get(node.input[1])) == sides


def _after(graph: OnnxGraph, name: str) -> set[str]:
    """Values that depend on the value `name`."""
    found = {name}
    for node in graph.nodes:
        if found.intersection(node.input):
            found.update(node.output)
    return found


def _ranges(path: Path, names: list[str], inputs: Mapping[str, Any]) -> dict[str, float]:
    core = ov.Core()
    model = core.read_model(path)
    kept = {port.get_any_name() for port in model.inputs}
    ports = model.add_outputs(names)
    results = [port.get_node() for port in ports]
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = {name: value for name, value in inputs.items() if name in kept}
    values = list(compiled(given).values())[-len(results) :]
    return {name: float(np.abs(v).max()) for name, v in zip(names, values, strict=True)}


def _activation(graph: OnnxGraph, value: str, largest: float) -> list[Any]:
    scale, zero = f"{value}/scale", f"{value}/zero"
    graph.arrays[scale] = np.float32(max(largest, 1e-6) / 127)
    graph.arrays[zero] = np.int8(0)
    middle, out = f"{value}/quantised", f"{value}/dequantised"
    return [
        helper.make_node("QuantizeLinear", [value, scale, zero], [middle], name=middle),
        helper.make_node("DequantizeLinear", [middle, scale, zero], [out], name=out),
    ]


def _weight(graph: OnnxGraph, node: Any) -> Any:
    key = node.input[1]
    weight = graph.arrays[key]
    axis = 0 if node.op_type == "Conv" else weight.ndim - 1
    rest = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(axis=rest), 1e-8).astype(np.float32) / 127
    wide = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    names = [f"{node.output[0]}/{part}" for part in ("weight", "weight_scale", "weight_zero")]
    graph.arrays[names[0]] = np.clip(np.rint(weight / wide), -127, 127).astype(np.int8)
    graph.arrays[names[1]] = scale
    graph.arrays[names[2]] = np.zeros(len(scale), np.int8)
    out = f"{names[0]}/dequantised"
    node.input[1] = out
    return helper.make_node("DequantizeLinear", names, [out], name=out, axis=axis)
