"""Where a frame's time goes, from the engine's own counters of each layer of both graphs.

    python -m samedge.bench.layers BUNDLE [--backend auto] [--precision auto] [--threads 1]

Counting slows a network down a little: use these numbers to compare layers with each other, and
`samedge bench` for speeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samedge.bench.contenders.sessions import Variant, variants
from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.frames import Footage, footage, send
from samedge.bench.report.values import Layer, Report, Row
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.machine.fingerprint import fingerprint
from samedge.runtime.backend import Backend, Engines, LoadOptions
from samedge.runtime.choice import named_backend
from samedge.runtime.openvino.engine import OpenVinoEngine
from samedge.runtime.session import Session

_RUNS = 5


class _Opened(Backend):
    """A backend whose engines are open already."""

    def __init__(self, backend: Backend, engines: Engines) -> None:
        self.name, self._backend, self._engines = backend.name, backend, engines

    def unavailable(self) -> str | None:
        return self._backend.unavailable()

    def precisions(self) -> tuple[str, ...]:
        return self._backend.precisions()

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        return self._engines


def profile(variant: Variant, clip: Footage, runs: int = _RUNS) -> list[Layer]:
    """Median milliseconds of each layer that took any, slowest first.

    Args:
        variant: what to load.
        clip: frames to send through it.
        runs: frames that count; one goes before.

    Raises:
        NotSupportedError: its engines do not tell their layers' times, or were compiled before.
        SamEdgeError: whatever loading raises.
    """
    backend = named_backend(variant.backend)
    if not variant.backend.startswith("openvino"):
        raise NotSupportedError(
            f"engines of {variant.backend} do not tell what each layer takes; samedge inspect "
            "ENGINE lists their layers and kernels"
        )
    if variant.engines is not None:
        raise NotSupportedError(
            "an engine of samedge build was compiled without counters: leave the folder of "
            "engines out to profile the same network"
        )
    options = LoadOptions(variant.precision, variant.threads, cache=False, profile=True)
    engines = backend.open(variant.bundle, options)
    samples: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    with Session(variant.bundle, _Opened(backend, engines), options, "profile") as session:
        for number in range(runs + 1):
            send(session, clip, number)
            if number:
                for engine in (engines.encoder, engines.decoder):
                    assert isinstance(engine, OpenVinoEngine)
                    for *key, milliseconds in engine.profile():
                        part, name, kind, kernel = key
                        samples[(part, name, kind, kernel)].append(milliseconds)
    rows = [Layer(variant.name, *key, float(np.median(ms))) for key, ms in samples.items()]
    return sorted((row for row in rows if row.ms > 0), key=lambda row: -row.ms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("layers", __doc__)
    made.add_argument("bundle", type=Path)
    made.add_argument("--backend", default="auto")
    made.add_argument("--precision", default="auto")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--source", type=Path, help="as for samedge bench")
    add_files(made)
    options = parsed(made, arguments)
    bundle, clip = Bundle.open(options.bundle), footage(options.source)
    found = variants([bundle], [options.backend], [options.precision], [options.threads])
    report = Report(
        f"{bundle.manifest.title}, layer by layer",
        tuple(Row(one.name, about=one.about) for one in found.found),
        machine=fingerprint(),
        source=clip.about,
        layers=tuple(layer for one in found.found for layer in profile(one, clip)),
    )
    return finish(report, options, arguments)


if __name__ == "__main__":
    run(main)
