"""A backend that another one works for, with engines that tests can watch and hold up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from samedge.bundle import Bundle
from samedge.runtime.backend import Backend, Engine, Engines, GraphIO, LoadOptions


def _nothing(_graph: str) -> None:
    """No test waits."""


class Watched(Backend):
    """Everything is the other backend's.

    Args:
        backend: that works.
        before: called with "encoder" or "decoder" before each run.

    Attributes:
        runs: graph, inputs and outputs of every run, the very arrays.
        closed: graphs whose engines were closed, in that order.
    """

    def __init__(self, backend: Backend, before: Callable[[str], None] = _nothing) -> None:
        self.name, self.graphs = backend.name, backend.graphs
        self.backend, self.before = backend, before
        self.runs: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.closed: list[str] = []

    def unavailable(self) -> str | None:
        return self.backend.unavailable()

    def precisions(self) -> tuple[str, ...]:
        return self.backend.precisions()

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        opened = self.backend.open(bundle, options)
        return replace(
            opened,
            encoder=_WatchedEngine(self, "encoder", opened.encoder),
            decoder=_WatchedEngine(self, "decoder", opened.decoder),
        )


class _WatchedEngine(Engine):
    def __init__(self, owner: Watched, graph: str, engine: Engine) -> None:
        self._owner, self._graph, self._engine = owner, graph, engine

    @property
    def io(self) -> GraphIO:
        return self._engine.io

    @property
    def stage_ms(self) -> Mapping[str, float]:
        return self._engine.stage_ms

    @property
    def notes(self) -> tuple[str, ...]:
        return self._engine.notes

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        self._owner.before(self._graph)
        self._owner.runs.append((self._graph, dict(inputs), dict(outputs)))
        self._engine.run(inputs, outputs)

    def buffer(self, name: str) -> Any:
        return self._engine.buffer(name)

    def close(self) -> None:
        self._owner.closed.append(self._graph)
        self._engine.close()
