"""A float32 graph -> the same in half precision, every type written into the graph itself.

"Strongly typed" is what TensorRT calls it: an engine takes the types from the graph and decides
nothing. Weights and activations are float16. These stay float32:

* pre-processing (its sums are exact integers) and post-processing, inputs and outputs;
* the sums of squares of RMS norms, which leave the half range long before the values do.
  LayerNormalization keeps half inputs and outputs: its own attribute has it compute in float32;
* the phase of prompt coordinates, and the last product that makes the logits;
* what the overflow probe found too large (`samedge.export.half.overflow`).

Softmax is half: every engine accumulates it in float32, and a Cast beside it would keep attention
from being fused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import ModelError
from samedge.export.graphs.model import Array, OnnxGraph

HALF_MAX = 65504.0  # the largest float16

_FLOAT_PATHS = ("preprocess", "postprocess", "decoder.prompt")
# Operations that only move numbers, or take one of several: they make no new ones.
MOVING = frozenset(
    (
        *("Concat", "Expand", "Gather", "Identity", "Max", "MaxPool", "Min", "Pad", "Relu"),
        *("Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze", "Where"),
    )
)
# Operations that compare numbers: float32 in, no number out.
_COMPARING = frozenset(("ArgMax", "Equal", "Greater", "Less"))
# Operations that take a number's shape or change its type.
_UNTYPED = frozenset(("Cast", "Shape"))


def to_half(graph: OnnxGraph, keep: Collection[str] = ()) -> OnnxGraph:
    """The half-precision twin of a bundle's float32 graph.

    Args:
        graph: from a bundle; not changed, its large arrays are not copied where they need not be.
        keep: names of nodes that stay in float32, beside those named above.

    Returns:
        A graph with the same inputs, outputs and node names. Casts between types are named after
        the value that they cast.

    Raises:
        ModelError: a weight of a half node does not fit into float16.
    """
    return _Conversion(graph, float_nodes(graph) | set(keep)).run()


def float_nodes(graph: OnnxGraph) -> set[str]:
    """Names of the nodes that are float32 by rule, whatever the model's values are."""
    names = {node.name for node in graph.nodes if node.name.startswith(_FLOAT_PATHS)}
    names |= _norms(graph)
    names |= _last_products(graph)
    # Engines and probes cut the encoder at the network's input, which is float32 everywhere.
    ends = {NETWORK_INPUT, *(value.name for value in graph.outputs)}
    return names | {node.name for node in graph.nodes if ends.intersection(node.output)}


def _norms(graph: OnnxGraph) -> set[str]:
    """All nodes of RMS norms: x -> x^2 -> mean -> root -> x / root."""
    found = set()
    for node in graph.nodes:
        if node.op_type == "ReduceMean":
            path = node.name.rpartition("/")[0]
            found |= {n.name for n in graph.nodes if n.name.rpartition("/")[0] == path}
    return found


def _last_products(graph: OnnxGraph) -> set[str]:
    """The MatMul that ends in `low_res_logits`, and what only moves its result."""
    producers = graph.producers()
    value = next((v.name for v in graph.outputs if v.name == "low_res_logits"), None)
    found: set[str] = set()
    while value in producers:
        node = producers[value]
        found.add(node.name)
        if node.op_type == "MatMul":
            break
        value = node.input[0]
    return found


def cast_to(node: onnx.NodeProto) -> int:
    """The type that a Cast makes."""
    return int(next(attribute.i for attribute in node.attribute if attribute.name == "to"))


@dataclass
class _Conversion:
    graph: OnnxGraph
    floats: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)
    # value -> its floating point type; values of other types are not in it
    types: dict[str, int] = field(default_factory=dict)
    casts: dict[tuple[str, int], str] = field(default_factory=dict)

    def run(self) -> OnnxGraph:
        self.numbers = number_values(self.graph)
        for value in self.graph.inputs:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                self.types[value.name] = TensorProto.FLOAT
        for node in self.graph.nodes:
            self._convert(node)
        made = self.graph.copy()
        made.nodes, made.arrays = self.nodes, self.arrays
        return made

    def _convert(self, original: onnx.NodeProto) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        wanted = self._type_of(node)
        for at, value in enumerate(node.input):
            if value in self.graph.arrays:
                node.input[at] = self._weight(value, wanted)
            elif value in self.types and wanted is not None:
                node.input[at] = self._cast(value, wanted)
        result = self._result_type(node, wanted)
        if result is not None:
            self.types.update(dict.fromkeys(node.output, result))
        self.nodes.append(node)

    def _type_of(self, node: onnx.NodeProto) -> int | None:
        """The floating point type a node computes in; None where it has none."""
        if node.op_type in _UNTYPED or not any(self._is_float(value) for value in node.input):
            return None
        kept = node.op_type in _COMPARING or node.name in self.floats
        return TensorProto.FLOAT if kept else TensorProto.FLOAT16

    def _is_float(self, value: str) -> bool:
        array = self.graph.arrays.get(value)
        return value in self.numbers or (array is not None and array.dtype == np.float32)

    def _result_type(self, node: onnx.NodeProto, wanted: int | None) -> int | None:
        if node.op_type == "Cast":  # an index or a truth value that becomes a factor
            return TensorProto.FLOAT if cast_to(node) == TensorProto.FLOAT else None
        return None if node.op_type in _COMPARING else wanted

    def _weight(self, key: str, wanted: int | None) -> str:
        array = self.graph.arrays[key]
        if array.dtype != np.float32 or wanted != TensorProto.FLOAT16:
            name = key
            if name in self.arrays and self.arrays[name].dtype != array.dtype:
                name = f"{key}.float32"
            self.arrays[name] = array
            return name
        largest = float(np.abs(array).max(initial=0.0))
        if not largest <= HALF_MAX:
            raise ModelError(
                f"the weight {key} has values up to {largest:.3g}; 16-bit floats end at "
                f"{HALF_MAX:.0f}: keep its node in float32, or export without fp16"
            )
        name = key
        if name in self.arrays and self.arrays[name].dtype != np.float16:
            name = f"{key}.float16"
        if name not in self.arrays:
            self.arrays[name] = array.astype(np.float16)
        return name

    def _cast(self, value: str, wanted: int) -> str:
        if self.types[value] == wanted:
            return value
        if (value, wanted) not in self.casts:
            kind = "float16" if wanted == TensorProto.FLOAT16 else "float32"
            name = f"{value}/to_{kind}"
            self.nodes.append(helper.make_node("Cast", [value], [name], name=name, to=wanted))
            self.casts[value, wanted] = name
        return self.casts[value, wanted]


def number_values(graph: OnnxGraph) -> set[str]:
    """Values of a float32 graph that are floating point numbers."""
    given = {v.name for v in graph.inputs if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return _typed_values(graph, np.dtype(np.float32), given)


def half_values(graph: OnnxGraph) -> set[str]:
    """Values of a graph of `to_half` that are float16; weights are not among them."""
    return _typed_values(graph, np.dtype(np.float16), set())


def _typed_values(graph: OnnxGraph, dtype: np.dtype[Any], given: set[str]) -> set[str]:
    """`given`, and what nodes make of it and of weights of the same type."""
    weights = {name for name, array in graph.arrays.items() if array.dtype == dtype}
    kind, found = helper.np_dtype_to_tensor_dtype(dtype), set(given)
    for node in graph.nodes:
        if node.op_type == "Cast":
            made = cast_to(node) == kind
        else:
            made = node.op_type not in _UNTYPED | _COMPARING and any(
                value in found or value in weights for value in node.input
            )
        if made:
            found.update(node.output)
    return found
