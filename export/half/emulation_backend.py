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
from samedge.runtime.backend import Arrays, LoadOptions
from samedge.runtime.openvino.runner import GraphRunner
from samedge.runtime.precision import graph_key


class EmulationBackend(FileBackend):
    """A bundle's fp16 graphs as a GPU would compute them; see `samedge.export.half.emulation`.

    Several times slower than float32. It tells what half precision does to masks before there is a
    device: `samedge eval --backend emulation`, `samedge verify --backend emulation --locate`.
    """

    name = "emulation"

    @classmethod
    def precisions(cls) -> tuple[str, ...]:
        """Half precision only."""
        return ("fp16",)

    @classmethod
    def load(cls, bundle: Bundle, graph: str, options: LoadOptions) -> EmulationBackend:
        """Compile the emulation of `graph`.

        Raises:
            NotSupportedError: another precision, or the bundle has no fp16 graphs.
        """
        with tempfile.TemporaryDirectory(prefix="samedge-emulation-") as folder:
            path = _write(bundle, graph, options, Path(folder), ())
            return cls(bundle, graph, path, options, None)

    @classmethod
    def named_outputs(
        cls,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        names: Sequence[str],
        cases: Sequence[Arrays],
    ) -> list[dict[str, NDArray[Any]]]:
        """Tensors from inside `graph`; see `samedge.runtime.backend.NamesTensors`."""
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


def _write(
    bundle: Bundle, graph: str, options: LoadOptions, folder: Path, names: Sequence[str]
) -> Path:
    if options.precision not in EmulationBackend.precisions():
        raise NotSupportedError(
            f"the emulation backend has half precision only, not '{options.precision}'; "
            "use --precision fp16"
        )
    key = graph_key(bundle.manifest, EmulationBackend.name, graph, options.precision)
    made = emulated(OnnxGraph.read(bundle.graph(graph, key)))
    ends = {value.name for value in made.outputs}
    there = {value for node in made.nodes for value in node.output} - ends
    path = folder / f"{graph}.onnx"
    made.save(path, [name for name in names if name in there])
    return path
