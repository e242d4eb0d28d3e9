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
    Engine,
    Engines,
    GraphIO,
    LoadOptions,
    TensorSpec,
    both_graphs,
)
from samedge.runtime.openvino.tensors import GraphRunner
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
    options = LoadOptions(precision=precision)
    return Session(bundle, FileBackend(name, files, watch), options, "")


class FileBackend(Backend):
    """ONNX files in float32 on the CPU, whatever a bundle's own graphs are.

    Args:
        name: what `describe` is to say.
        files: "encoder" and "decoder".
        watch: gets all outputs of every run.
    """

    def __init__(self, name: str, files: Mapping[str, Path], watch: Watch | None = None) -> None:
        self.name = name
        self._files, self._watch = files, watch

    def unavailable(self) -> str | None:
        """None: it runs where samedge does."""
        return None

    def precisions(self) -> tuple[str, ...]:
        """None: the files say what is computed."""
        return ()

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Compile both files."""
        encoder, decoder = both_graphs(
            lambda graph: FileEngine(bundle, graph, self._files[graph], self._watch)
        )
        return Engines(encoder, decoder, "CPU")


class FileEngine(Engine):
    """One file; see `samedge.runtime.backend.Engine`.

    Args:
        bundle: says which inputs and outputs the graph has.
        graph: "encoder" or "decoder".
        path: of the ONNX file.
        watch: gets all outputs of every run.
        threads: for inference; default: the physical cores.
    """

    def __init__(
        self,
        bundle: Bundle,
        graph: str,
        path: Path,
        watch: Watch | None = None,
        threads: int | None = None,
    ) -> None:
        self._graph, self._watch = graph, watch
        self._runner: GraphRunner | None = GraphRunner(path, threads)
        entry = next(iter(bundle.manifest.graphs[graph].values()))
        specs = [
            tuple(TensorSpec(tensor.name, tensor.dtype, tensor.shape) for tensor in side)
            for side in (entry.inputs, entry.outputs)
        ]
        self._io = GraphIO(*specs)

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs, as the bundle has them."""
        return self._io

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """Compute `outputs` in place from `inputs`."""
        if self._runner is None:
            raise DeviceError("this engine is closed")
        values = self._runner.run(inputs)
        for key, array in outputs.items():
            array[...] = values[key]
        if self._watch is not None:
            self._watch(self._graph, values)

    def close(self) -> None:
        """Free the engine. Calling it twice is harmless."""
        if self._runner is not None:
            self._runner.close()
        self._runner = None
