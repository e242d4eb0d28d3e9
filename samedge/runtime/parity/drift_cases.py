"""What a session feeds to its graphs on the self-test frames: inputs to compare engines with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle, SelfTest
from samedge.errors import BundleError
from samedge.runtime.backend import Arrays, Backend, Engine, Engines, GraphIO, LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.parity.verify import run_selftests
from samedge.runtime.session import Session

MOST = 4  # frames, and prompts: each is computed for every comparison


@dataclass(frozen=True)
class Case:
    """One set of a graph's inputs, and the self-test that it is from."""

    name: str
    inputs: Mapping[str, NDArray[Any]]


class _Recorded(Engine):
    """An engine that keeps a copy of the inputs of every run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[dict[str, NDArray[Any]]] = []

    @property
    def io(self) -> GraphIO:
        return self._engine.io

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        self.calls.append({name: np.array(inputs[name]) for name in inputs})
        self._engine.run(inputs, outputs)

    def close(self) -> None:
        self._engine.close()


class _Recorder(Backend):
    """OpenVINO, with engines that keep what they were given."""

    name = OPENVINO.name
    graphs = OPENVINO.graphs

    def __init__(self) -> None:
        self.engines: dict[str, _Recorded] = {}

    def unavailable(self) -> str | None:
        return OPENVINO.unavailable()

    def precisions(self) -> tuple[str, ...]:
        return OPENVINO.precisions()

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        opened = OPENVINO.open(bundle, options)
        encoder, decoder = _Recorded(opened.encoder), _Recorded(opened.decoder)
        self.engines |= {"encoder": encoder, "decoder": decoder}
        return replace(opened, encoder=encoder, decoder=decoder)


def recorded_cases(bundle: Bundle, threads: int) -> dict[str, list[Case]]:
    """Graph -> inputs of the first few self-tests, float32 embeddings for the decoder.

    Raises:
        BundleError: there are no self-test frames.
    """
    cases: dict[str, list[Case]] = {"encoder": [], "decoder": []}
    recorder = _Recorder()
    options = LoadOptions("fp32", threads, cache=False)
    with Session(bundle, recorder, options, "reference") as session:
        engines = recorder.engines
        for test in _few(bundle.selftest()):
            before = {graph: len(engine.calls) for graph, engine in engines.items()}
            for _ in run_selftests(session, [test]):
                pass
            for graph, engine in engines.items():
                calls = engine.calls[before[graph] :]
                if not calls:  # the float32 embedding was NaN: there is nothing to decode
                    continue
                call = calls[0]
                if not any(_same(call, case.inputs) for case in cases[graph]):
                    cases[graph].append(Case(test.name, call))
    return cases


def _same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def _few(tests: list[SelfTest]) -> list[SelfTest]:
    if not tests:
        raise BundleError(
            "the bundle has no self-test frames, so nothing can be compared; export it again"
        )
    return tests[:MOST]
