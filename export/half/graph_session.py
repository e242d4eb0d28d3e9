"""A session over graph files that are no bundle yet: what probes and emulated gates run on.

`samedge.runtime.Session` brings frames and prompts to the graphs as a device would, so a probe sees
the very numbers that a device will.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from samedge.bundle import Bundle
from samedge.errors import DeviceError
from samedge.runtime.backend import (
    Arrays,
    Backend,
    GraphIO,
    HostMemory,
    LoadOptions,
    TensorSpec,
)
from samedge.runtime.openvino.runner import GraphRunner
from samedge.runtime.session import Session

# Called with the graph's name and all values that came out of it.
Watch = Callable[[str, Mapping[str, Any]], None]


def graph_session(
    bundle: Bundle,
    files: Mapping[str, Path],
    precision: str,
    name: str = "graph",
    watch: Watch | None = None,
) -> Session:
    """A session that computes `files` ("encoder" and "decoder") in float32 on the CPU.

    Args:
        bundle: says which inputs and outputs the graphs have; its own graphs are not run.
        files: the ONNX files. They may have further outputs.
        precision: what `describe` and the rows of `verify_session` are to say.
        name: likewise, of the backend.
        watch: gets all outputs of every run.
    """

    class Files(FileBackend):
        @classmethod
        def load(cls, bundle: Bundle, graph: str, options: LoadOptions) -> Backend:
            return cls(bundle, graph, files[graph], options, watch)

    Files.name = name
    return Session(bundle, Files, LoadOptions(precision=precision), "")


class FileBackend(HostMemory):
    """One file; see `samedge.runtime.backend.Backend`."""

    name = ""
    device_name = "CPU"

    def __init__(
        self, bundle: Bundle, graph: str, path: Path, options: LoadOptions, watch: Watch | None
    ) -> None:
        self.precision = options.precision
        self._graph, self._watch = graph, watch
        self._runner: GraphRunner | None = GraphRunner(path)
        record = next(iter(bundle.manifest["graphs"][graph].values()))
        sides = (record["inputs"], record["outputs"])
        specs = [
            tuple(TensorSpec(e["name"], e["dtype"], tuple(e["shape"])) for e in side)
            for side in sides
        ]
        self.io = GraphIO(*specs)

    @classmethod
    def unavailable(cls) -> str | None:
        return None

    @classmethod
    def precisions(cls) -> tuple[str, ...]:
        return ()

    @classmethod
    def load(cls, bundle: Bundle, graph: str, options: LoadOptions) -> Backend:
        raise NotImplementedError

    @property
    def stage_ms(self) -> Mapping[str, float]:
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        if self._runner is None:
            raise DeviceError("this engine is closed")
        values = self._runner.run(inputs)
        for key, array in outputs.items():
            array[...] = values[key]
        if self._watch is not None:
            self._watch(self._graph, values)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
        self._runner = None
