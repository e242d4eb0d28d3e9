"""Which layers of an encoder graph may be INT8: convolutions and linear layers with their weights.

Not quantised: products of two activations (attention), relative position tables, resizing, and all
that is no product (LayerNorm, GELU, softmax). Those tables have more than two axes, and the
matrices of the preprocessing no key of a state dict, so a layer is known by its weight.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        weight: the weight's key; [in, out] of a linear layer, [out, in, h, w] of a convolution.
        convolution: which of the two it is.
    """

    name: str
    node: str
    value: str
    weight: str
    convolution: bool

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
    return QuantisableLayer(name, node.name, node.input[0], node.input[1], node.op_type == "Conv")


def multiplications(
    graph: OnnxGraph, layers: list[QuantisableLayer], sizes: dict[str, int]
) -> dict[str, int]:
    """Multiplications of each layer for one frame, by layer name.

    Args:
        graph: with the weights.
        layers: of the graph.
        sizes: number of values of each layer's input, by the value's name.
    """
    strides = {node.name: _stride(node) for node in graph.nodes if node.op_type == "Conv"}
    found = {}
    for layer in layers:
        weight = graph.arrays[layer.weight]
        inner = weight.shape[1 - layer.axis]
        places = sizes[layer.value] // inner  # tokens, or pixels
        found[layer.name] = int(weight.size * places // strides.get(layer.node, 1))
    return found


def _stride(node: onnx.NodeProto) -> int:
    """Input pixels per output pixel."""
    for attribute in node.attribute:
        if attribute.name == "strides":
            return int(np.prod(list(attribute.ints)))
    return 1


def channel_peaks(weight: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Largest absolute value of each slice of `weight` along `axis`."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    return np.asarray(np.abs(weight).max(axis=others), np.float64)
