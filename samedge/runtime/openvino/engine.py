"""One graph of a bundle in OpenVINO, compiled in parts that run one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import BundleError, DeviceError
from samedge.machine.memory import ran_out
from samedge.runtime.backend import Arrays, Engine, GraphIO, TensorSpec

if TYPE_CHECKING:
    from samedge.runtime.openvino.compile import Compiled

_DTYPES = {"f32": "float32", "u8": "uint8", "i32": "int32", "i64": "int64", "f16": "float16"}


class OpenVinoEngine(Engine):
    """The parts of one graph, bound to the arrays that they read and write.

    Args:
        parts: compiled, in the order in which they run.
        names: of the tensors that the graph or a cut inside it has.
        notes: what a user should know about the loading.

    Attributes:
        cached: everything came from the engine cache.
    """

    def __init__(
        self, parts: Mapping[str, Compiled], names: frozenset[str], notes: tuple[str, ...] = ()
    ) -> None:
        self.cached = all(part.cached for part in parts.values())
        self._notes = notes
        self._stage_ms: dict[str, float] = dict.fromkeys(parts, 0.0)
        self._parts = {name: _Part(compiled, names) for name, compiled in parts.items()}
        self._io = _graph_io(list(self._parts.values()))
        _link(list(self._parts.values()))

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs of the whole graph; the cut inside the encoder does not show."""
        return self._io

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Milliseconds of each part of the last run."""
        return self._stage_ms

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the loading."""
        return self._notes

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """Compute `outputs` in place from `inputs`; see `Engine.run`.

        Raises:
            DeviceError: OpenVINO failed, or a result does not have its array's shape.
        """
        if not self._parts:
            raise DeviceError("this engine is closed")
        try:
            for name, part in self._parts.items():
                start = time.perf_counter()
                part.run(inputs, outputs)
                self._stage_ms[name] = (time.perf_counter() - start) * 1e3
        except (RuntimeError, MemoryError) as error:
            if lack := ran_out(error, f"computing the {name} part"):
                raise lack from error
            raise DeviceError(f"OpenVINO failed in the {name} part: {error}") from error

    def profile(self) -> list[tuple[str, str, str, str, float]]:
        """Per layer of the last run: part, name, type, kernel, milliseconds.

        Empty unless loaded with `LoadOptions(profile=True)`.
        """
        rows = []
        for name, part in self._parts.items():
            for info in part.request.profiling_info:
                milliseconds = info.real_time.total_seconds() * 1e3
                rows.append((name, info.node_name, info.node_type, info.exec_type, milliseconds))
        return rows

    def close(self) -> None:
        """Free the engine. Calling it twice is harmless."""
        for part in self._parts.values():
            part.close()
        self._parts = {}


class _Part:
    """An inference request and the arrays bound to it."""

    def __init__(self, compiled: Any, names: frozenset[str]) -> None:
        self._compiled = compiled
        self.request = compiled.model.create_infer_request()
        self.inputs = {_name(port, names): port for port in compiled.model.inputs}
        self.outputs = {_name(port, names): port for port in compiled.model.outputs}
        # The bound array is kept beside its tensor: OpenVINO reads its memory, so it must live.
        self._bound: dict[str, tuple[NDArray[Any], Any]] = {}

    def __del__(self) -> None:
        self.close()

    def bind(self, name: str, array: NDArray[Any]) -> None:
        """Let the tensor `name` be `array`'s memory. Nothing happens if it already is."""
        bound = self._bound.get(name)
        if bound is not None and bound[0] is array:
            return
        from samedge._openvino import ov

        tensor = ov.Tensor(array, shared_memory=True)
        port = self.inputs.get(name)
        self.request.set_tensor(self.outputs[name] if port is None else port, tensor)
        self._bound[name] = (array, tensor)

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """Bind what this part takes and gives, compute, and check what shapes came out."""
        for name in self.inputs:
            if name in inputs:
                self.bind(name, inputs[name])
        for name in self.outputs:
            if name in outputs:
                self.bind(name, outputs[name])
        self.request.infer()
        for name, port in self.outputs.items():
            array, _ = self._bound[name]
            got = tuple(self.request.get_tensor(port).shape)
            if got != array.shape:
                raise DeviceError(
                    f"the output '{name}' came as {list(got)}, expected {list(array.shape)}; "
                    "the bundle does not fit this version of samedge: export it again"
                )

    def close(self) -> None:
        self._bound = {}
        self.request = None  # before the compiled model, which may be the last one's
        self._compiled = None


def _link(parts: list[_Part]) -> None:
    """Give neighbouring parts one preallocated array: what one writes, the next reads."""
    for first, second in pairwise(parts):
        for name, port in first.outputs.items():
            if name in second.inputs:
                array = np.zeros(tuple(port.get_shape()), np.float32)
                first.bind(name, array)
                second.bind(name, array)


def _graph_io(parts: list[_Part]) -> GraphIO:
    """Inputs of the first part and outputs of the last."""
    return GraphIO(
        inputs=tuple(_spec(name, port) for name, port in parts[0].inputs.items()),
        outputs=tuple(_spec(name, port) for name, port in parts[-1].outputs.items()),
    )


def _name(port: Any, names: frozenset[str]) -> str:
    """The manifest's name of a port. OpenVINO may have given it those of elided nodes as well."""
    own = port.get_names() & names
    if len(own) != 1:
        raise BundleError(
            f"a tensor called {', '.join(sorted(port.get_names()))} is not one that the manifest "
            "lists; export the bundle again with this version of samedge"
        )
    return str(own.pop())


def _spec(name: str, port: Any) -> TensorSpec:
    shape = tuple(
        f"dim{index}" if dimension.is_dynamic else dimension.get_length()
        for index, dimension in enumerate(port.get_partial_shape())
    )
    dtype = port.get_element_type().get_type_name()
    return TensorSpec(name, _DTYPES.get(dtype, dtype), shape)
