"""A half graph computed in float32 with its values rounded to half: a GPU's numbers on a CPU.

Tensor cores multiply float16 numbers, add up in float32 and round the sum to float16 when they
write it. So does this graph: weights and values are float16 numbers held in float32, and behind
every operation that makes new numbers they are rounded to the 11 bits of a float16. What it does
not show: values beyond 65504 (the overflow probe is for that), numbers below 6e-5 losing bits, and
the order of additions. A fused attention keeps scores in float32 that are rounded here, so the
error of an engine is rather smaller.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper

from samedge.export.graphs.model import OnnxGraph
from samedge.export.half.graph import MOVING, cast_to, half_values

# Veltkamp's splitting: c = 2^13 + 1 leaves 24 - 13 = 11 bits. Dekker, "A floating-point technique
# for extending the available precision", 1971.
_SPLITTER = np.float32(2**13 + 1)
_KEY = "emulation.splitter"


def emulated(half: OnnxGraph) -> OnnxGraph:
    """The float32 graph with the numbers of `half` (of `to_half`), same inputs and outputs."""
    rounded = half_values(half)
    graph = half.copy()
    graph.arrays = {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in half.arrays.items()
    }
    graph.arrays[_KEY] = np.array(_SPLITTER)
    graph.nodes = [new for node in graph.nodes for new in _emulate(node, rounded)]
    return graph


def _emulate(node: onnx.NodeProto, rounded: set[str]) -> Iterator[onnx.NodeProto]:
    if node.op_type == "Cast" and cast_to(node) == TensorProto.FLOAT16:
        yield from _round(node.input[0], node.output[0])
    elif node.op_type == "Cast" and node.input[0] in rounded:
        yield helper.make_node("Identity", node.input, node.output, name=node.name)
    elif node.op_type in MOVING or node.output[0] not in rounded:
        yield node
    else:
        exact = [f"{value}/exact" for value in node.output]
        made = list(node.output)
        del node.output[:]
        node.output.extend(exact)
        yield node
        for before, after in zip(exact, made, strict=True):
            yield from _round(before, after)


def _round(value: str, result: str) -> list[onnx.NodeProto]:
    """x -> c x - (c x - x), the nearest number of 11 bits."""
    scaled, rest = f"{result}/scaled", f"{result}/rest"
    return [
        helper.make_node("Mul", [value, _KEY], [scaled], name=scaled),
        helper.make_node("Sub", [scaled, value], [rest], name=rest),
        helper.make_node("Sub", [scaled, rest], [result], name=f"{result}/rounded"),
    ]
