"""How long making an encoder INT8 takes on this machine, said before it starts.

Nearly all of the time goes into passes of the encoder and into compiling it: of each layer by
itself a network is compiled anew. Both are measured once, in float32, and multiplied.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from samedge.export.graphs.model import OnnxGraph
from samedge.export.int8.activations import rounds
from samedge.export.int8.encoder_runs import EncoderModel, NetworkInputs, compiled, run
from samedge.export.int8.quantisable import QuantisableLayer
from samedge.machine.memory import release_memory


@dataclass(frozen=True)
class Duration:
    """What takes the time.

    Attributes:
        compile_s, pass_s: of the encoder in float32, measured.
        layers: each of them is compiled and run by itself.
        probes: frames that it is run on.
        frames: whose statistics are measured; 0 where they are known.
        rounds: over those frames.
        questions: frames that masks are compared on.
        attempts: with more and more layers in higher precision, at most.
    """

    compile_s: float
    pass_s: float
    layers: int
    probes: int
    frames: int
    rounds: int
    questions: int
    attempts: int

    def seconds(self, attempts: int) -> float:
        """With so many attempts."""
        # Each round ends at the last of its layers: the first ones are short.
        statistics = (
            self.frames * (self.rounds + 1) / 2 * self.pass_s + self.rounds * self.compile_s
        )
        sensitivity = (self.layers + 1) * (self.compile_s + self.probes * self.pass_s)
        masks = (attempts + 1) * (self.compile_s + self.questions * self.pass_s)
        return (statistics if self.frames else 0.0) + sensitivity + masks

    def __str__(self) -> str:
        least, most = (about(self.seconds(n)) for n in (1, self.attempts))
        time_ = least if least == most else f"{least} to {most}"
        frames = f", {self.frames} frames" if self.frames else ""
        return (
            f"about {time_} ({self.layers} layers{frames}; a pass of the encoder takes "
            f"{self.pass_s:.2g} s, compiling it {self.compile_s:.2g} s)"
        )


def about(seconds: float) -> str:
    """A time in words, no more exact than an estimate is."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes >= 10 else f"{round(2 * minutes) / 2:g} min"


def measured(
    graph: OnnxGraph,
    layers: Sequence[QuantisableLayer],
    inputs: NetworkInputs,
    *,
    threads: int,
    probes: int,
    questions: int,
    attempts: int,
    known: bool,
) -> Duration:
    """Measure one compilation and one pass.

    Args:
        graph: the encoder in float32.
        layers: of it.
        inputs: all frames whose statistics will be measured.
        threads: of the engine.
        probes, questions, attempts: see `Duration`.
        known: the statistics need not be measured.
    """
    with EncoderModel(graph) as encoder:
        needed = rounds(encoder, layers)
        start = time.perf_counter()
        request = compiled(encoder.model, threads).create_infer_request()
        compile_s = time.perf_counter() - start
        first = next(iter(inputs))
        run(request, first)  # allocates what later ones find ready
        start = time.perf_counter()
        run(request, first)
        pass_s = time.perf_counter() - start
        del request
    release_memory()
    frames = 0 if known else len(inputs)
    return Duration(compile_s, pass_s, len(layers), probes, frames, needed, questions, attempts)
