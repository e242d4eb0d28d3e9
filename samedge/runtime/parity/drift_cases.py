"""What a session feeds to its graphs on the self-test frames: inputs to compare engines with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle, SelfTest
from samedge.errors import BundleError
from samedge.runtime.backend import Arrays, LoadOptions
from samedge.runtime.openvino.backend import OpenVinoBackend
from samedge.runtime.parity.verify import run_selftests
from samedge.runtime.session import Session

MOST = 4  # frames, and prompts: each is computed for every comparison


@dataclass(frozen=True)
class Case:
    """One set of a graph's inputs, and the self-test that it is from."""

    name: str
    inputs: Mapping[str, NDArray[Any]]


class _Recorder(OpenVinoBackend):
    """Keeps a copy of the inputs of every run."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls: list[dict[str, NDArray[Any]]] = []

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        self.calls.append({name: np.array(inputs[name]) for name in inputs})
        super().run(inputs, outputs)


def recorded_cases(bundle: Bundle, threads: int) -> dict[str, list[Case]]:
    """Graph -> inputs of the first few self-tests, float32 embeddings for the decoder.

    Raises:
        BundleError: there are no self-test frames.
    """
    cases: dict[str, list[Case]] = {"encoder": [], "decoder": []}
    options = LoadOptions("fp32", threads, cache=False)
    with Session(bundle, _Recorder, options, "reference") as session:
        engines = {"encoder": session._encoder, "decoder": session._decoder}
        for test in _few(bundle.selftest()):
            before = {graph: len(_calls(engine)) for graph, engine in engines.items()}
            for _ in run_selftests(session, [test]):
                pass
            for graph, engine in engines.items():
                call = _calls(engine)[before[graph]]
                if not any(_same(call, case.inputs) for case in cases[graph]):
                    cases[graph].append(Case(test.name, call))
    return cases


def _same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def _calls(engine: Any) -> list[dict[str, NDArray[Any]]]:
    calls: list[dict[str, NDArray[Any]]] = engine.calls
    return calls


def _few(tests: list[SelfTest]) -> list[SelfTest]:
    if not tests:
        raise BundleError(
            "the bundle has no self-test frames, so nothing can be compared; export it again"
        )
    return tests[:MOST]
