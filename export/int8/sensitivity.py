"""What each layer costs: the error of the image embedding when that layer alone is INT8.

The network runs in float32 with one layer's input and weight rounded as INT8 would round them.
Errors of different layers are nearly independent, so their squares add up to that of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops
from samedge.errors import FrameError
from samedge.export.int8.encoder_runs import EncoderModel, NetworkInputs, compiled, run
from samedge.export.int8.quantisable import QuantisableLayer
from samedge.export.int8.quantised_graph import LEVELS
from samedge.export.int8.smoothing import rounded_weight
from samedge.progress import Progress, Step, silent


def sensitivity(
    encoder: EncoderModel,
    layers: Sequence[QuantisableLayer],
    scales: Mapping[str, float],
    inputs: NetworkInputs,
    threads: int,
    progress: Progress = silent,
) -> dict[str, float]:
    """RMS of the embedding's error over RMS of the embedding, by layer name.

    Args:
        encoder: the float32 graph, smoothed if it is to be.
        layers: to try one after the other.
        scales: of their inputs, by layer name.
        inputs: a few frames.
        threads: of the engine.
        progress: told the layers that are done.
    """
    progress(Step("INT8: sensitivity of each layer", 0, len(layers)))
    references = _embeddings(encoder, inputs, threads)
    power = sum(float(np.mean(r**2)) for r in references)
    if not np.isfinite(power) or power <= 0:
        raise FrameError("the encoder gives NaN, or nothing but zeros, for the calibration frames")
    errors = {}
    for done, layer in enumerate(layers):
        with _rounded(encoder, layer, scales[layer.name]):
            results = _embeddings(encoder, inputs, threads)
        pairs = zip(results, references, strict=True)
        square = sum(float(np.mean((a - b) ** 2)) for a, b in pairs)
        errors[layer.name] = float(np.sqrt(square / power))
        progress(Step("INT8: sensitivity of each layer", done + 1, len(layers)))
    return errors


def _embeddings(
    encoder: EncoderModel, inputs: NetworkInputs, threads: int
) -> list[NDArray[np.float64]]:
    request = compiled(encoder.model, threads).create_infer_request()
    return [run(request, x)[0].astype(np.float64) for x in inputs]


@contextmanager
def _rounded(encoder: EncoderModel, layer: QuantisableLayer, scale: float) -> Iterator[None]:
    """The model with one layer rounded; as it was afterwards."""
    node = encoder.product(layer.node)
    sources = [node.input_value(index) for index in (0, 1)]
    weight: Any = sources[1].get_node()
    while weight.get_type_name() != "Constant":  # a group's weight is given another shape
        weight = weight.input_value(0).get_node()
    low, high = (
        ops.constant(np.float32(-(LEVELS + 1) * scale)),
        ops.constant(np.float32(LEVELS * scale)),
    )
    rounded = ops.fake_quantize(sources[0], low, high, low, high, 2 * LEVELS + 2)
    node.input(0).replace_source_output(rounded.output(0))
    values = rounded_weight(weight.get_data(), layer.axis).reshape(sources[1].get_shape())
    node.input(1).replace_source_output(ops.constant(values).output(0))
    try:
        yield
    finally:
        for index, source in enumerate(sources):
            node.input(index).replace_source_output(source)
