"""Smoothing: outlier channels of a normalised value, moved into the weights behind it.

A few channels behind a LayerNorm are often a hundred times as large as the others, and one int8
scale has to serve all. Dividing channel j by s_j and multiplying the weights' row j by it changes
nothing but rounding:

    (x / s) @ (diag(s) W) = x @ W        s_j = max|x_j|^a / max|W_j|^(1 - a)

The division is folded into the norm's own weight and bias. This is SmoothQuant (Xiao et al., 2023);
the exponent a is chosen for every norm by the error that is measured on calibration tokens. A GELU
between two layers does not let a factor through, so lin2 stays as it is; so do convolutions, since
behind the RMS norms of SAMUS no channel stands out (largest over median: 1.7 to 2.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samedge.export.graphs.model import OnnxGraph
from samedge.export.int8.activations import Activation, activation_scale, smoothed
from samedge.export.int8.quantisable import QuantisableLayer
from samedge.export.int8.quantised_graph import LEVELS, quantise_weight, weight_scales

EXPONENTS = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SMALLEST = 1e-5
_RANGE = 1e4  # s stays between 1 / this and this, so that half precision holds the results
_ROWS = 512  # tokens that a choice is made by

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """A norm and the linear layers behind it, which are all that take its result.

    Attributes:
        name: module path of the norm.
        value: the normalised value.
        factors: the norm's weight and bias, by name; [channels] each.
        layers: behind it.
    """

    name: str
    value: str
    factors: tuple[str, ...]
    layers: tuple[QuantisableLayer, ...]


def groups(graph: OnnxGraph, layers: list[QuantisableLayer]) -> list[Group]:
    """Where factors can move, in the order of the graph."""
    producers, consumers = graph.producers(), graph.consumers()
    by_value: dict[str, list[QuantisableLayer]] = {}
    for layer in layers:
        by_value.setdefault(layer.value, []).append(layer)
    uses = {name: sum(name in node.input for node in graph.nodes) for name in graph.arrays}
    found = []
    for value, behind in by_value.items():
        node = producers.get(value)
        if node is None or node.op_type != "LayerNormalization" or len(node.input) != 3:
            continue
        keys = [*node.input[1:], *(layer.weight for layer in behind)]
        alone = len(consumers[value]) == len(behind) and all(uses[key] == 1 for key in keys)
        if alone and not any(layer.convolution for layer in behind):
            name = node.input[1].removesuffix(".weight")
            found.append(Group(name, value, tuple(node.input[1:]), tuple(behind)))
    return found


def smoothing_scales(
    peaks: NDArray[np.float64], weight_peaks: NDArray[np.float64], exponent: float
) -> NDArray[np.float64]:
    """s of the formula above, float64 [channels], around 1."""
    x, w = np.maximum(peaks, _SMALLEST), np.maximum(weight_peaks, _SMALLEST)
    s = x**exponent / w ** (1 - exponent)
    s = s / np.exp(np.log(s).mean())
    return np.asarray(np.clip(s, 1 / _RANGE, _RANGE), np.float64)


def weight_peaks(graph: OnnxGraph, group: Group) -> NDArray[np.float64]:
    """Largest magnitude among all the group's weights for each input channel, [channels]."""
    peaks = [np.abs(graph.arrays[layer.weight]).max(axis=1) for layer in group.layers]
    return np.asarray(np.max(peaks, axis=0), np.float64)


def smooth(graph: OnnxGraph, group: Group, scales: NDArray[np.float64]) -> None:
    """Move the factors of one group, in float64; `graph` changes, its old arrays do not."""
    for key in group.factors:
        array = graph.arrays[key]
        graph.arrays[key] = (array / scales).astype(array.dtype)
    for layer in group.layers:
        weight = graph.arrays[layer.weight]
        graph.arrays[layer.weight] = (weight * scales[:, None]).astype(weight.dtype)


def choose_exponent(
    graph: OnnxGraph, group: Group, statistics: Activation
) -> tuple[float | None, float, float]:
    """The exponent with the smallest error of the linear layers' outputs on calibration tokens.

    Returns:
        The exponent (None: no smoothing), its relative error, and the error without smoothing.
    """
    tokens = statistics.tokens[:: max(1, len(statistics.tokens) // _ROWS)]
    weight = np.concatenate([graph.arrays[layer.weight] for layer in group.layers], axis=1)
    reference = tokens @ weight
    power = max(float(np.mean(reference.astype(np.float64) ** 2)), 1e-30)
    peaks = weight_peaks(graph, group)

    def error(exponent: float | None) -> float:
        s = np.ones(len(peaks))
        if exponent is not None:
            s = smoothing_scales(statistics.peaks, peaks, exponent)
        scale, _ = activation_scale(smoothed(statistics, s))
        x, w = rounded_tokens(tokens / s, scale), rounded_weight(weight * s[:, None])
        return float(np.sqrt(np.mean((x @ w - reference).astype(np.float64) ** 2) / power))

    errors = {exponent: error(exponent) for exponent in (None, *EXPONENTS)}
    best = min(errors, key=lambda exponent: errors[exponent])
    return best, errors[best], errors[None]


def rounded_tokens(tokens: NDArray[np.floating], scale: float) -> Floats:
    """What int8 makes of activations."""
    steps = np.clip(np.rint(tokens / scale), -LEVELS - 1, LEVELS)
    return np.asarray(steps * scale, np.float32)


def rounded_weight(weight: NDArray[np.floating], axis: int = 1) -> Floats:
    """What int8 makes of a weight, with one scale for each channel of `axis`."""
    scales = weight_scales(weight, axis)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    return np.asarray(quantise_weight(weight, axis, scales) * scales.reshape(shape), np.float32)
