"""What flows into the layers of an encoder: the statistics that INT8 scales are chosen by.

The graph is run in float32 on calibration frames. What is kept of each value is made inside the
engine: the largest magnitude of every channel, over all places, and an evenly spread subset of the
places, for a histogram and for the choice of smoothing. So memory does not grow with the frames.

How large one step of an int8 activation should be follows from them. The largest magnitude divided
by 127 loses nothing at the top and is coarse everywhere else. Cutting rare large values off makes
the steps finer. What is taken is the cut with the smallest mean square error over the histogram.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops, ov
from samedge.errors import FrameError
from samedge.export.int8.encoder_runs import EncoderModel, NetworkInputs, compiled, run
from samedge.export.int8.quantisable import QuantisableLayer
from samedge.export.int8.quantised_graph import LEVELS
from samedge.machine.memory import release_memory
from samedge.progress import Progress, Step, silent

BINS = 1 << 13
_SHIFT = 18  # bits of a float32 below 8 of exponent and 5 of mantissa: bins of 3 % width
_PLACES = 256  # of a value and frame, about, in the histogram
_TOKENS = 1024  # of a linear layer's input, over all frames, for the choice of smoothing
_CHUNK = 1 << 27  # bytes of values that one pass may hold; the engine needs as much again

# Share of the largest magnitude at which values are cut off.
CUTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2)
_SMALLEST = 1e-8


@dataclass
class Activation:
    """Statistics of one value.

    Attributes:
        peaks: float64 [channels], the largest magnitude.
        histogram: int64 [BINS]: magnitudes, by the upper bits of float32 (see `magnitudes`).
        tokens: float32 [n, channels], an evenly spread subset; [0, channels] for convolutions.
        size: numbers in the value, of one frame.
    """

    peaks: NDArray[np.float64]
    histogram: NDArray[np.int64]
    tokens: NDArray[np.float32]
    size: int

    @property
    def peak(self) -> float:
        """The largest magnitude of all."""
        return float(self.peaks.max())


def magnitudes() -> NDArray[np.float64]:
    """[BINS]: the middle of each bin of a histogram."""
    edges = (np.arange(BINS, dtype=np.uint32) << _SHIFT).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        middle = edges.astype(np.float64) + np.append(np.diff(edges.astype(np.float64)), 0) / 2
    return np.where(np.isfinite(middle), middle, 0.0)


def histogram(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """[BINS]: how many of the values have which magnitude."""
    bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    return np.bincount((bits & np.uint32(0x7FFFFFFF)) >> _SHIFT, minlength=BINS)


def activations(
    encoder: EncoderModel,
    layers: Sequence[QuantisableLayer],
    inputs: NetworkInputs,
    threads: int,
    progress: Progress = silent,
    names: Sequence[str] = (),
) -> dict[str, Activation]:
    """Statistics of what every layer takes, by the value's name.

    Args:
        encoder: the float32 graph.
        layers: of it.
        inputs: the frames.
        threads: of the engine.
        progress: told how many of the passes are done.
        names: of the frames, for messages.

    Raises:
        FrameError: a frame made the network compute NaN or infinity.
    """
    values = {layer.value: layer for layer in layers}
    sizes = _sizes(encoder, values)
    chunks = _chunks(sizes)
    found: dict[str, Activation] = {}
    called = names or [f"calibration frame {n}" for n in range(len(inputs))]
    passes = len(chunks) * len(inputs)
    progress(Step("INT8: activation statistics", 0, passes))
    for number, chunk in enumerate(chunks):
        collectors = {name: _Collector(values[name], len(inputs), sizes[name]) for name in chunk}
        request = compiled(_reduced(encoder, collectors), threads).create_infer_request()
        for index, x in enumerate(inputs):
            for collector, pair in zip(collectors.values(), _pairs(run(request, x)), strict=True):
                collector.add(*pair, called[index])
            done = number * len(inputs) + index + 1
            progress(Step("INT8: activation statistics", done, passes))
        found |= {name: collector.result() for name, collector in collectors.items()}
        del request  # before the next one is made
        release_memory()
    return found


def rounds(encoder: EncoderModel, layers: Sequence[QuantisableLayer]) -> int:
    """How often `activations` runs over all frames: so much of their values is held at once."""
    return len(_chunks(_sizes(encoder, {layer.value: layer for layer in layers})))


def _pairs(arrays: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def _sizes(encoder: EncoderModel, values: dict[str, QuantisableLayer]) -> dict[str, int]:
    """Numbers in each value."""
    outputs = encoder.outputs()
    return {name: int(np.prod(outputs[name].get_shape())) for name in values}


def _chunks(sizes: dict[str, int]) -> list[list[str]]:
    """The values in groups that are small enough to be held together."""
    chunks: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if chunks[-1] and held + 4 * size > _CHUNK:
            chunks.append([])
            held = 0
        chunks[-1].append(name)
        held += 4 * size
    return chunks


def _reduced(encoder: EncoderModel, collectors: dict[str, _Collector]) -> ov.Model:
    """The encoder with two outputs for each value: channel peaks, and some of its places."""
    outputs = encoder.outputs()
    results = []
    for name, collector in collectors.items():
        value = outputs[name]
        shape = [int(n) for n in value.get_shape()]
        axis = 1 if collector.layer.convolution else len(shape) - 1
        others = [i for i in range(len(shape)) if i != axis]
        peaks = ops.reduce_max(ops.abs(value), ops.constant(np.array(others)), False)
        flat = [shape[0], shape[1], -1] if collector.layer.convolution else [-1, shape[-1]]
        places = ops.reshape(value, ops.constant(np.array(flat)), False)
        at = 2 if collector.layer.convolution else 0
        count = int(np.prod(shape)) // (shape[1] * shape[0] if at else shape[-1])
        step = _odd(count // _PLACES)
        bounds = [ops.constant(np.array([n])) for n in (0, count, step, at)]
        results += [ops.result(peaks), ops.result(ops.slice(places, *bounds))]
    return ov.Model(results, encoder.model.get_parameters(), "statistics")


def _odd(step: int) -> int:
    """Not a divisor of a grid's width, so that all columns have their turn."""
    return max(1, step) | 1


@dataclass
class _Collector:
    layer: QuantisableLayer
    frames: int
    size: int
    peaks: NDArray[np.float64] | None = None
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    tokens: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, peaks: NDArray[np.float32], places: NDArray[np.float32], name: str) -> None:
        """One frame's."""
        if not np.isfinite(peaks).all():
            raise FrameError(
                f"{name} makes the input of {self.layer.name} "
                f"{'NaN' if np.isnan(peaks).any() else 'infinite'}; expected finite numbers: leave "
                "the frame out, or check the checkpoint's weights"
            )
        wide = peaks.astype(np.float64)
        self.peaks = wide if self.peaks is None else np.maximum(self.peaks, wide)
        self.counts += histogram(places)
        if not self.layer.convolution:
            count = -(-_TOKENS // self.frames)
            self.tokens.append(places[:: _odd(len(places) // count)][:count].copy())

    def result(self) -> Activation:
        assert self.peaks is not None  # there is at least one frame
        none = np.zeros((0, len(self.peaks)), np.float32)
        return Activation(self.peaks, self.counts, np.concatenate([none, *self.tokens]), self.size)


def pack(found: dict[str, Activation]) -> bytes:
    """Statistics as the bytes of an .npz file."""
    arrays: dict[str, Any] = {"names": np.array(list(found))}
    for index, one in enumerate(found.values()):
        arrays |= {f"peaks{index}": one.peaks, f"histogram{index}": one.histogram,
                   f"tokens{index}": one.tokens, f"size{index}": np.array(one.size)}  # fmt: skip
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def unpack(data: bytes) -> dict[str, Activation]:
    """What `pack` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {
            str(name): Activation(
                file[f"peaks{index}"],
                file[f"histogram{index}"],
                file[f"tokens{index}"],
                int(file[f"size{index}"]),
            )
            for index, name in enumerate(file["names"])
        }


def square_error(counts: NDArray[np.int64], limit: float) -> float:
    """Mean square error of int8 numbers up to `limit`, for magnitudes that occur `counts` times.

    Within the limits rounding is off by at most half a step, evenly; values below half a step are
    lost, those above the limit cut off.
    """
    size = magnitudes()
    step = limit / LEVELS
    rounding = np.where(size < step / 2, size**2, step**2 / 12)
    error = np.where(size > limit, (size - limit) ** 2, rounding)
    return float((error * counts).sum() / max(int(counts.sum()), 1))


def best_cut(counts: NDArray[np.int64], peak: float) -> float:
    """The share of `peak`, one of `CUTS`, with the smallest error."""
    return min(CUTS, key=lambda cut: square_error(counts, cut * peak))


def activation_scale(statistics: Activation) -> tuple[float, float]:
    """What one step is worth, and the cut behind it."""
    peak = max(statistics.peak, _SMALLEST)
    cut = best_cut(statistics.histogram, peak)
    return cut * peak / LEVELS, cut


def smoothed(statistics: Activation, scales: NDArray[np.float64]) -> Activation:
    """The statistics of the same value with its channels divided by `scales`."""
    tokens = (statistics.tokens / scales).astype(np.float32)
    return Activation(statistics.peaks / scales, histogram(tokens), tokens, statistics.size)
