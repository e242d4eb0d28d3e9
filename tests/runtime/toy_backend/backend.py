"""A backend in one folder: ONNX Runtime on the CPU, in float32. See "Adding a backend"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from samedge.bundle import Bundle
from samedge.errors import DeviceError
from samedge.runtime.backend import (
    Backend,
    Engine,
    Engines,
    GraphIO,
    LoadOptions,
    TensorSpec,
    both_graphs,
)

TYPES = {"float": "float32", "uint8": "uint8", "int32": "int32", "int64": "int64"}


class ToyBackend(Backend):
    """ONNX Runtime. See `samedge.runtime.backend.Backend`."""

    name = "toy"

    def unavailable(self) -> str | None:
        """Why it cannot run here, with the remedy; None if it can."""
        try:
            import onnxruntime

            onnxruntime.get_available_providers()
        except ImportError as error:
            return f"onnxruntime cannot be imported ({error}); pip install onnxruntime"
        return None

    def precisions(self) -> tuple[str, ...]:
        """What the graph says, in float32."""
        return ("fp32",)

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Load both graphs."""
        encoder, decoder = both_graphs(
            lambda graph: ToyEngine(bundle.graph(graph, options.precision), options.threads)
        )
        return Engines(encoder, decoder, "a toy")


class ToyEngine(Engine):
    """One ONNX file. See `samedge.runtime.backend.Engine`."""

    def __init__(self, path: Any, threads: int) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self._session: Any = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
        self._io = GraphIO(
            tuple(map(_spec, self._session.get_inputs())),
            tuple(map(_spec, self._session.get_outputs())),
        )

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs of the graph."""
        return self._io

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Compute `outputs` in place from `inputs`."""
        if self._session is None:
            raise DeviceError("this engine is closed")
        given = {spec.name: inputs[spec.name] for spec in self._io.inputs}
        for name, value in zip(outputs, self._session.run([*outputs], given), strict=True):
            if value.shape != outputs[name].shape:
                raise DeviceError(f"'{name}' came as {list(value.shape)}")
            np.copyto(outputs[name], value)

    def close(self) -> None:
        """Free the engine."""
        self._session = None


def _spec(tensor: Any) -> TensorSpec:
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    return TensorSpec(tensor.name, TYPES[kind], tuple(tensor.shape))


TOY = ToyBackend()
