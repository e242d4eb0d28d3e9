"""A float32 encoder graph -> INT8: calibrated, smoothed, and no more of it than the masks allow.

1. Statistics of what flows into every convolution and linear layer, on calibration frames, and on
   the self-test frames: the masks of those are what every device is verified with.
2. Outliers behind norms move into the weights (`samedge.export.int8.smoothing`), exactly.
3. Each layer by itself is made INT8, and the error of the image embedding measured.
4. All layers are, but for those that are beyond a bound by themselves; then the worst of the rest
   go back to higher precision, one after the other, until masks agree with float32 masks: on
   average, and each by itself.

The result has explicit Q/DQ and is one file for OpenVINO, ONNX Runtime and TensorRT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
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
from samedge.export.int8.calibration_data import (
    CalibrationData,
    choose_frames,
    frames_sha256,
)
from samedge.export.int8.duration import measured
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
        self.own = _new_frames(bundle, data)
        self.frames = [*data.frames, *self.own]

    @cached_property
    def digest(self) -> str:
        return graph_sha256(self.original)

    def run(self) -> Quantised:
        if not self.layers:
            raise ModelError(
                f"the graph '{self.graph.name}' has no convolution or linear layer with weights of "
                "its own; expected the float32 encoder of a bundle: export it again"
            )
        key = CalibrationKey(VERSION, self.digest, frames_sha256(self.frames))
        store = EngineStore.of_user(self.bundle) if self.options.cache else EngineStore(())
        stored = store.find(key)
        known = isinstance(stored, StoredEngine)
        self._tell_duration(known)
        if isinstance(stored, StoredEngine):
            statistics = unpack(stored.file.array().tobytes())
        else:
            statistics = self._measured_statistics(store, key)
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
        record = make_record(self.data, self.findings, self.options, self.digest, len(self.own))
        return Quantised(quantised, record, self.data.warnings, passed)

    def _tell_duration(self, known: bool) -> None:
        """Say how long all of it will take; `known`: the statistics need not be measured."""
        step = Step("INT8: how long it will take")
        self.progress(step)
        options = self.options
        found = measured(
            self.original,
            self.layers,
            NetworkInputs(self.frames, self.bundle),
            threads=options.threads,
            probes=min(options.probes, len(self.data.frames)),
            questions=min(options.questions, len(self.data.frames)) + len(self.own),
            attempts=len(_attempts(0, len(self.layers))),
            known=known,
        )
        self.progress(replace(step, done=1, of=1, phase=str(found)))

    def _measured_statistics(self, store: EngineStore, key: CalibrationKey) -> Statistics:
        inputs = NetworkInputs(self.frames, self.bundle)
        names = [*self.data.names(), *["a self-test frame"] * len(self.own)]
        with EncoderModel(self.graph) as encoder:
            found = activations(
                encoder, self.layers, inputs, self.options.threads, self.progress, names
            )
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
        places = _spread(len(self.data.frames), self.options.probes)
        inputs = NetworkInputs([self.data.frames[n] for n in places], self.bundle)
        with EncoderModel(self.graph) as encoder:
            return sensitivity(
                encoder, self.layers, scales, inputs, self.options.threads, self.progress
            )

    def _until_masks_agree(self, scales: dict[str, float]) -> tuple[OnnxGraph, bool]:
        """Leave the worst layers out, more and more of them, until the bound holds."""
        masks = self._questions()
        release_memory()
        ranked = sorted(self.findings.layers, key=lambda layer: -layer.error)
        base = self._base()
        beyond = sum(layer.error > self.options.max_error for layer in ranked)
        for kept in _attempts(beyond, len(ranked)):
            step = f"INT8: masks with {kept} of {len(ranked)} layers in higher precision"
            self.progress(Step(step))
            out = {layer.name for layer in ranked[:kept]}
            layers = [layer for layer in quantisable_layers(base) if layer.name not in out]
            quantised = quantised_graph(base, layers, scales)
            agreement = masks.compare(quantised, "bf16", self.progress, step)
            self.findings.trials.append(Trial(kept, agreement))
            release_memory()
            if self.options.allows(agreement):
                break
        self._explain(ranked[:kept])
        return quantised, self.options.allows(agreement)

    def _questions(self) -> MaskAgreement:
        """What the float32 model says about some of the frames."""
        places, names = _spread(len(self.data.frames), self.options.questions), self.data.names()
        frames = [self.data.frames[n] for n in places]
        called = [names[n] for n in places]
        return MaskAgreement.ask(self.bundle, frames, self.options.threads, called, self.progress)

    def _base(self) -> OnnxGraph:
        """What Q/DQ is put into."""
        return to_half(self.graph, self.options.keep_float) if self.options.half else self.graph

    def _explain(self, kept: Sequence[LayerRecord]) -> None:
        for layer in kept:
            if layer.error > self.options.max_error:
                layer.kept = f"its error alone is above {self.options.max_error:g}"
            else:
                layer.kept = "masks agreed too little with it in INT8"


def _attempts(first: int, layers: int) -> Sequence[int]:
    """How many layers to leave out: `first`, then 1, 2, 4, ... more, up to half of them."""
    found, more = [first], 1
    while first + more <= layers // 2:
        found.append(first + more)
        more *= 2
    return found


def _spread(frames: int, count: int) -> list[int]:
    """Places of `count` of the frames, evenly spread."""
    if frames <= count:
        return list(range(frames))
    return [(2 * i + 1) * frames // (2 * count) for i in range(count)]


def _new_frames(bundle: Bundle, data: CalibrationData) -> list[Any]:
    """The bundle's self-test frames that are not among the calibration's, each once."""
    seen = {frames_sha256([frame]) for frame in data.frames}
    found = []
    for frame in choose_frames((t.frame for t in bundle.selftest()), bundle.family).frames:
        digest = frames_sha256([frame])
        if digest not in seen:
            found.append(frame)
            seen.add(digest)
    return found


def graph_sha256(graph: OnnxGraph) -> str:
    """Hash of a graph's nodes and weights."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        digest.update(node.SerializeToString(deterministic=True))
    for name, array in graph.arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
