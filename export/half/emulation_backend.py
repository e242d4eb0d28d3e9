"""Half precision without a GPU: the backend `emulation`, for gates and scores, not for speed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.half.emulation import emulated
from samedge.export.half.graph_session import FileBackend
from samedge.runtime.backend import Arrays, Backend, Engines, InnerTensors, LoadOptions
from samedge.runtime.openvino.tensors import GraphRunner
from samedge.runtime.precision import graph_key


class EmulationBackend(Backend):
    """A bundle's fp16 graphs as a GPU would compute them; see `samedge.export.half.emulation`.

    Several times slower than float32. It tells what half precision does to masks before there is a
    device: `samedge eval --backend emulation`, `samedge verify --backend emulation --locate`.
    """

    name = "emulation"

    def unavailable(self) -> str | None:
        """None: it runs where the module can be imported."""
        return None

    def precisions(self) -> tuple[str, ...]:
        """Half precision only."""
        return ("fp16",)

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Compile the emulation of both graphs.

        Raises:
            NotSupportedError: another precision, or the bundle has no fp16 graphs.
        """
        with tempfile.TemporaryDirectory(prefix="samedge-emulation-") as folder:
            files = {
                graph: _write(bundle, graph, options, Path(folder), ())
                for graph in ("encoder", "decoder")
            }
            return FileBackend(self.name, files).open(bundle, options)

    @property
    def inner(self) -> InnerTensors:
        """The emulation's graphs give out tensors by their names."""
        return self

    def named_outputs(
        self,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        names: Sequence[str],
        cases: Sequence[Arrays],
    ) -> list[dict[str, NDArray[Any]]]:
        """Tensors from inside `graph`; see `samedge.runtime.backend.InnerTensors`."""
        with tempfile.TemporaryDirectory(prefix="samedge-emulation-") as folder:
            path = _write(bundle, graph, options, Path(folder), names)
            runner = GraphRunner(path, options.threads)
            wanted = set(names)
            try:
                return [
                    {name: value for name, value in runner.run(case).items() if name in wanted}
                    for case in cases
                ]
            finally:
                runner.close()


EMULATION = EmulationBackend()


def _write(
    bundle: Bundle, graph: str, options: LoadOptions, folder: Path, names: Sequence[str]
) -> Path:
    if options.precision not in EMULATION.precisions():
        raise NotSupportedError(
            f"the emulation backend has half precision only, not '{options.precision}'; "
            "use --precision fp16"
        )
    key = graph_key(bundle.manifest, EMULATION.name, graph, options.precision)
    with bundle.opened_graph(graph, key) as file:
        made = emulated(OnnxGraph.read(file))
    ends = {value.name for value in made.outputs}
    there = {value for node in made.nodes for value in node.output} - ends
    path = folder / f"{graph}.onnx"
    made.save(path, [name for name in names if name in there])
    return path
