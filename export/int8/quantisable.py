"""Which layers of an encoder graph may be INT8: convolutions and linear layers with their weights.

Not quantised: products of two activations (attention), relative position tables, resizing, and all
that is no product (LayerNorm, GELU, softmax). Those tables have more than two axes, and the
matrices of the preprocessing no key of a state dict, so a layer is known by its weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from samedge.export.graphs.model import OnnxGraph

_SUFFIX = ".weight"


@dataclass(frozen=True)
class QuantisableLayer:
    """A convolution or a linear layer.

    Attributes:
        name: its module path, `encoder.blocks.0.attn.qkv`; the key of its weight without `.weight`.
        node: the node's name.
        value: the activation that it takes.
        weight: the weight's key; [in, out] of a linear layer, [out, in / groups, h, w] of a
            convolution.
        convolution: which of the two it is.
        groups: of a convolution, that see different channels; otherwise 1.
    """

    name: str
    node: str
    value: str
    weight: str
    convolution: bool
    groups: int = 1

    @property
    def axis(self) -> int:
        """The weight's axis of output channels."""
        return 0 if self.convolution else 1


def quantisable_layers(graph: OnnxGraph) -> list[QuantisableLayer]:
    """All layers of `graph` that may be quantised, in the order in which they run."""
    layers = (_layer(node, graph) for node in graph.nodes)
    return [layer for layer in layers if layer is not None]


def _layer(node: onnx.NodeProto, graph: OnnxGraph) -> QuantisableLayer | None:
    axes = {"Conv": 4, "MatMul": 2}.get(node.op_type)
    if axes is None or node.input[0] in graph.arrays:
        return None
    weight = graph.arrays.get(node.input[1])
    if weight is None or weight.ndim != axes or not node.input[1].endswith(_SUFFIX):
        return None
    name = node.input[1].removesuffix(_SUFFIX)
    groups = _attribute(node, "group", 1)
    return QuantisableLayer(
        name, node.name, node.input[0], node.input[1], node.op_type == "Conv", groups
    )


def multiplications(
    graph: OnnxGraph, layers: list[QuantisableLayer], sizes: dict[str, int]
) -> dict[str, int]:
    """Multiplications of each layer for one frame, by layer name.

    Args:
        graph: with the weights.
        layers: of the graph.
        sizes: number of values of each layer's input, by the value's name.
    """
    strides = {node.name: int(np.prod(_attribute(node, "strides", [1]))) for node in graph.nodes}
    found = {}
    for layer in layers:
        weight = graph.arrays[layer.weight]
        channels = weight.shape[1 - layer.axis] * layer.groups
        places = sizes[layer.value] // channels  # tokens, or pixels
        found[layer.name] = int(weight.size * places // strides[layer.node])
    return found


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    found = (onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(found, default)


def channel_peaks(weight: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Largest absolute value of each slice of `weight` along `axis`."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    return np.asarray(np.abs(weight).max(axis=others), np.float64)
