"""Explicit symmetric INT8: QuantizeLinear and DequantizeLinear around what is quantised.

    x -> QuantizeLinear(scale) -> DequantizeLinear(scale) -> Conv / MatMul
    int8 weight -> DequantizeLinear(scale per output channel) -^

OpenVINO, ONNX Runtime and TensorRT all read this as an INT8 product. Zero points are 0, weights are
stored as int8 numbers in -127..127, biases stay as they are. A value that several layers take is
quantised once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from samedge.export.graphs.model import OnnxGraph
from samedge.export.int8.quantisable import QuantisableLayer, channel_peaks

LEVELS = 127
_SMALLEST = 1e-12  # a channel of zeros needs a scale all the same

Floats = NDArray[np.float32]


def weight_scales(weight: NDArray[np.floating], axis: int) -> Floats:
    """float32 [channels]: what one step of each output channel is worth."""
    return (np.maximum(channel_peaks(weight, axis), _SMALLEST) / LEVELS).astype(np.float32)


def quantise_weight(weight: NDArray[np.floating], axis: int, scales: Floats) -> NDArray[np.int8]:
    """The nearest int8 numbers in -127..127 of `weight / scales`."""
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    steps = np.rint(weight / scales.reshape(shape))
    return np.asarray(np.clip(steps, -LEVELS, LEVELS), np.int8)


def quantised_graph(
    graph: OnnxGraph, layers: list[QuantisableLayer], scales: Mapping[str, float]
) -> OnnxGraph:
    """`graph` with `layers` in INT8; the graph itself is not changed.

    Args:
        graph: an encoder in float32 (or float16: scales then are float16 as well).
        layers: from `quantisable_layers(graph)`, those to quantise.
        scales: what one step of each layer's input is worth, by the layer's name; the same for
            layers that take the same value.
    """
    result = graph.copy()
    wanted = {layer.node: layer for layer in layers}
    quantised: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in result.nodes:
        layer = wanted.get(node.name)
        if layer is not None:
            if layer.value not in quantised:
                nodes += _activation(result, layer.value, scales[layer.name], layer.weight)
                quantised[layer.value] = nodes[-1].output[0]
            nodes.append(_weight(result, layer))
            node.input[0], node.input[1] = quantised[layer.value], nodes[-1].output[0]
        nodes.append(node)
    result.nodes = nodes
    return result


def _activation(graph: OnnxGraph, value: str, scale: float, like: str) -> list[onnx.NodeProto]:
    """The two nodes behind `value`. Scales have the type of the weights that they belong to."""
    graph.arrays[f"{value}.scale"] = _stored(np.array(scale), graph.arrays[like].dtype)
    graph.arrays.setdefault("const/int8_zero", np.zeros((), np.int8))
    made = []
    for kind, source in (
        ("QuantizeLinear", value),
        ("DequantizeLinear", f"{value}/QuantizeLinear"),
    ):
        name = f"{value}/{kind}"
        inputs = [source, f"{value}.scale", "const/int8_zero"]
        made.append(helper.make_node(kind, inputs, [name], name=name))
    return made


def _weight(graph: OnnxGraph, layer: QuantisableLayer) -> onnx.NodeProto:
    """Replace a weight by its int8 numbers; the node that makes numbers of them again."""
    weight = graph.arrays.pop(layer.weight)
    scales = _stored(weight_scales(weight, layer.axis), weight.dtype)
    key, scale_key, name = layer.weight, f"{layer.weight}.scale", f"{layer.weight}/DequantizeLinear"
    graph.arrays[key] = quantise_weight(weight, layer.axis, scales.astype(np.float32))
    graph.arrays[scale_key] = scales
    return helper.make_node(
        "DequantizeLinear", [key, scale_key], [name], name=name, axis=layer.axis
    )


def _stored(scales: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Scales in the graph's type, rounded up: a smaller one would cut the largest value off."""
    rounded = scales.astype(dtype)
    return np.where(rounded < scales, np.nextafter(rounded, dtype.type(np.inf)), rounded)
