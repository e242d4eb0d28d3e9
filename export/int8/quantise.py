"""A float32 encoder graph -> INT8: calibrated, smoothed, and no more of it than the masks allow.

1. Statistics of what flows into every convolution and linear layer, on calibration frames.
2. Outliers behind norms move into the weights (`samedge.export.int8.smoothing`), exactly.
3. Each layer by itself is made INT8, and the error of the image embedding measured.
4. All layers are, but for those that are beyond a bound by themselves; then the worst of the rest
   go back to higher precision, one after the other, until masks agree with float32 masks.

The result has explicit Q/DQ and is one file for OpenVINO, ONNX Runtime and TensorRT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np

from samedge.bundle import Bundle
from samedge.errors import ModelError, OutputError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.half.graph import to_half
from samedge.export.int8.activations import (
    Activation,
    activation_scale,
    activations,
    pack,
    smoothed,
    unpack,
)
from samedge.export.int8.calibration_data import CalibrationData
from samedge.export.int8.encoder_runs import EncoderModel, NetworkInputs
from samedge.export.int8.mask_agreement import MaskAgreement
from samedge.export.int8.quantisable import multiplications, quantisable_layers
from samedge.export.int8.quantised_graph import quantised_graph
from samedge.export.int8.record import (
    Findings,
    Int8Options,
    LayerRecord,
    Quantised,
    Trial,
    make_record,
)
from samedge.export.int8.sensitivity import sensitivity
from samedge.export.int8.smoothing import (
    choose_exponent,
    groups,
    smooth,
    smoothing_scales,
    weight_peaks,
)
from samedge.machine.memory import release_memory
from samedge.progress import Progress, Step, silent
from samedge.runtime.engines.keys import CalibrationKey
from samedge.runtime.engines.store import EngineStore, StoredEngine

VERSION = 1  # of the statistics in the cache

Statistics = dict[str, Activation]


def quantise(
    graph: OnnxGraph,
    data: CalibrationData,
    bundle: Bundle,
    *,
    options: Int8Options | None = None,
    progress: Progress = silent,
) -> Quantised:
    """Make an encoder INT8.

    Args:
        graph: the encoder in float32; not changed.
        data: frames to calibrate with, from `choose_frames`.
        bundle: with the float32 graphs and self-tests that masks are compared with.
        options: bounds and how much is measured.
        progress: told each step and how much of it is done.

    Returns:
        The graph and its record. `passed` is False where even the layers that are left in INT8 do
        not reach the bound; the record then says which ones hurt most.

    Raises:
        FrameError: a frame makes the network compute NaN.
        ModelError: the graph has no layer that could be INT8, or weights that half cannot hold.
    """
    chosen = options or Int8Options()
    work = _Work(graph, data, bundle, chosen, progress)
    return work.run()


class _Work:
    """The steps above, and what they hand on."""

    def __init__(
        self,
        graph: OnnxGraph,
        data: CalibrationData,
        bundle: Bundle,
        options: Int8Options,
        progress: Progress,
    ) -> None:
        self.data, self.bundle, self.options = data, bundle, options
        self.progress = progress
        self.original, self.graph = graph, graph.copy()
        self.layers = quantisable_layers(graph)
        self.findings = Findings([])

    @cached_property
    def digest(self) -> str:
        return graph_sha256(self.original)

    def run(self) -> Quantised:
        if not self.layers:
            raise ModelError(
                f"the graph '{self.graph.name}' has no convolution or linear layer with weights of "
                "its own; expected the float32 encoder of a bundle: export it again"
            )
        statistics = self._statistics()
        exponents = self._smooth(statistics) if self.options.smoothing else {}
        scales = {layer.name: activation_scale(statistics[layer.value]) for layer in self.layers}
        shares = self._shares(statistics)
        del statistics
        release_memory()
        steps = {name: scale for name, (scale, _) in scales.items()}
        errors = self._sensitivity(steps)
        self.findings.layers = [
            LayerRecord(
                layer.name, errors[layer.name], shares[layer.name], *scales[layer.name],
                exponents.get(layer.name),
            )
            for layer in self.layers
        ]  # fmt: skip
        quantised, passed = self._until_masks_agree(steps)
        record = make_record(self.data, self.findings, self.options, self.digest)
        return Quantised(quantised, record, self.data.warnings, passed)

    def _statistics(self) -> Statistics:
        """From the cache, or measured. The key is what they depend on."""
        key = CalibrationKey(VERSION, self.digest, self.data.sha256())
        store = EngineStore.of_user() if self.options.cache else EngineStore(())
        stored = store.find(key)
        if isinstance(stored, StoredEngine):
            return unpack(stored.file.array().tobytes())
        inputs = NetworkInputs(self.data.frames, self.bundle)
        with EncoderModel(self.graph) as encoder:
            found = activations(encoder, self.layers, inputs, self.options.threads, self.progress)
        if self.options.cache:
            with suppress(OutputError):  # the next export measures again
                store.save(key, memoryview(pack(found)))
        return found

    def _smooth(self, statistics: Statistics) -> dict[str, float]:
        """Smooth graph and statistics; the exponents by layer name."""
        chosen: dict[str, float] = {}
        found = groups(self.graph, self.layers)
        for done, group in enumerate(found, 1):
            before = statistics[group.value]
            exponent, *errors = choose_exponent(self.graph, group, before)
            self.findings.smoothed[group.name] = (exponent, errors[0], errors[1])
            if exponent is not None:
                factors = smoothing_scales(before.peaks, weight_peaks(self.graph, group), exponent)
                smooth(self.graph, group, factors)
                statistics[group.value] = smoothed(before, factors)
                chosen |= dict.fromkeys((layer.name for layer in group.layers), exponent)
            self.progress(Step("INT8: smoothing", done, len(found)))
        return chosen

    def _shares(self, statistics: Statistics) -> dict[str, float]:
        """Each layer's share of the multiplications."""
        sizes = {value: one.size for value, one in statistics.items()}
        counts = multiplications(self.graph, self.layers, sizes)
        total = max(sum(counts.values()), 1)
        return {name: count / total for name, count in counts.items()}

    def _sensitivity(self, scales: dict[str, float]) -> dict[str, float]:
        inputs = NetworkInputs(_spread(self.data.frames, self.options.probes), self.bundle)
        with EncoderModel(self.graph) as encoder:
            return sensitivity(
                encoder, self.layers, scales, inputs, self.options.threads, self.progress
            )

    def _until_masks_agree(self, scales: dict[str, float]) -> tuple[OnnxGraph, bool]:
        """Leave the worst layers out, more and more of them, until the bound holds."""
        frames = _spread(self.data.frames, self.options.questions)
        masks = MaskAgreement.ask(self.bundle, frames, self.options.threads)
        release_memory()
        ranked = sorted(self.findings.layers, key=lambda layer: -layer.error)
        base = self._base()
        kept = sum(layer.error > self.options.max_error for layer in ranked)
        attempts = [*_attempts(kept, len(ranked))]
        for number, kept in enumerate(attempts, 1):
            self.progress(Step("INT8: comparing masks", number - 1, len(attempts)))
            out = {layer.name for layer in ranked[:kept]}
            layers = [layer for layer in quantisable_layers(base) if layer.name not in out]
            quantised = quantised_graph(base, layers, scales)
            agreement = masks.compare(quantised, "bf16")
            self.findings.trials.append(Trial(kept, agreement))
            release_memory()
            if agreement.dice >= self.options.min_dice:
                break
        self.progress(Step("INT8: comparing masks", len(attempts), len(attempts)))
        self._explain(ranked[:kept])
        return quantised, agreement.dice >= self.options.min_dice

    def _base(self) -> OnnxGraph:
        """What Q/DQ is put into."""
        return to_half(self.graph, self.options.keep_float) if self.options.half else self.graph

    def _explain(self, kept: Sequence[LayerRecord]) -> None:
        for layer in kept:
            if layer.error > self.options.max_error:
                layer.kept = f"its error alone is above {self.options.max_error:g}"
            else:
                layer.kept = f"masks agreed by less than {self.options.min_dice:g} with it in INT8"


def _attempts(first: int, layers: int) -> Sequence[int]:
    """How many layers to leave out: `first`, then 1, 2, 4, ... more, up to half of them."""
    found, more = [first], 1
    while first + more <= layers // 2:
        found.append(first + more)
        more *= 2
    return found


def _spread(frames: Sequence[Any], count: int) -> list[Any]:
    """`count` of the frames, evenly spread."""
    if len(frames) <= count:
        return list(frames)
    return [frames[(2 * i + 1) * len(frames) // (2 * count)] for i in range(count)]


def graph_sha256(graph: OnnxGraph) -> str:
    """Hash of a graph's nodes and weights."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        digest.update(node.SerializeToString(deterministic=True))
    for name, array in graph.arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
