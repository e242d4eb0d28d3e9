"""Graphs of bundles that an earlier version wrote, in the form that this version writes.

The same nodes, weights and numbers, but for two things that engines look for: uint8 results are
named by the node that makes them, and the sizes of attention stand in the file's metadata.
"""

from __future__ import annotations

import re
from math import isqrt
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from samedge.bundle.attention_sizes import ATTENTION, AttentionSizes, attention_to_text

_TABLE = re.compile(r"(encoder\.blocks\.\d+\.attn)\.rel_h")


def update_file(path: Path) -> bool:
    """Bring an ONNX file up to date; returns whether it changed. Weights beside it stay."""
    model = onnx.load(str(path), load_external_data=False)
    changed = update_model(model)
    if changed:
        path.write_bytes(model.SerializeToString())
    return changed


def update_model(model: onnx.ModelProto) -> bool:
    """The same for a model in memory."""
    renamed, recorded = _name_bytes(model.graph), _record_attention(model)
    return renamed or recorded


def _name_bytes(graph: onnx.GraphProto) -> bool:
    """Take out the Identities that name uint8 results."""
    results = {v.name for v in graph.output if v.type.tensor_type.elem_type == TensorProto.UINT8}
    idle = [node for node in graph.node if node.op_type == "Identity" and node.output[0] in results]
    names = {node.input[0]: node.output[0] for node in idle}
    for node in idle:
        graph.node.remove(node)
    for node in graph.node:
        for values in (node.input, node.output):
            for at, value in enumerate(values):
                values[at] = names.get(value, value)
    return bool(idle)


def _record_attention(model: onnx.ModelProto) -> bool:
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    paths = [found.group(1) for found in map(_TABLE.fullmatch, shapes) if found]
    if not paths or any(entry.key == ATTENTION for entry in model.metadata_props):
        return False
    tokens = shapes["encoder.patch_embed.pos_embed"][-2]
    embedding = next(value for value in graph.output if value.name == "image_embedding")
    images = embedding.type.tensor_type.shape.dim[0].dim_value
    blocks = {}
    for path in paths:
        window, size, _ = shapes[f"{path}.rel_h"]
        heads = shapes[f"{path}.qkv.weight"][1] // 3 // size
        blocks[path] = AttentionSizes(images, isqrt(tokens), heads, size, window)
    known = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**known, ATTENTION: attention_to_text(blocks)})
    return True
