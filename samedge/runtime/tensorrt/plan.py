"""A context of TensorRT or TensorRT-RTX at one set of sizes, and tensors by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle.manifest import GraphEntry
from samedge.errors import DeviceError
from samedge.runtime.backend import Arrays, GraphIO
from samedge.runtime.gpu.driver import ALIGNMENT, Device, Stream
from samedge.runtime.gpu.replay import Replay, Scratch, Work
from samedge.runtime.tensorrt.engine import Engine
from samedge.runtime.tensorrt.library import device_error

Values = dict[str, NDArray[Any]]


class Context(Work):
    """An execution context whose shapes are set. See `samedge.runtime.gpu.replay.Work`.

    Args:
        engine: shared between sessions.
        io: its inputs and outputs.
        scratch: of the session's engine.
        inputs: whose shapes hold from here on.

    Raises:
        NotSupportedError: an input is larger than the engine was built for.
        DeviceError: an input is missing, or the library refuses.
    """

    alignment = ALIGNMENT

    def __init__(
        self, engine: Engine, io: GraphIO, scratch: Scratch, inputs: Mapping[str, Any]
    ) -> None:
        self._engine, self._scratch, self._scratch_version = engine, scratch, 0
        self._context: Any = engine.context()
        for spec in io.inputs:
            if spec.name not in inputs:
                raise DeviceError(f"the input '{spec.name}' is missing")
            shape = tuple(inputs[spec.name].shape)
            engine.check_range(spec, shape)
            if not self._context.set_input_shape(spec.name, shape):
                raise self._error(f"refuses {spec.name} {list(shape)}")
        missing = self._context.infer_shapes()
        if missing:
            raise DeviceError(f"the engine cannot tell the shapes of {', '.join(missing)}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an input or output."""
        return tuple(self._context.get_tensor_shape(name))

    def set_address(self, name: str, address: int) -> None:
        """Where an input or output lies."""
        if not self._context.set_tensor_address(name, address):
            raise self._error(f"refuses '{name}'")

    def take_scratch(self) -> bool:
        """Give the context the scratch memory, which another one may have moved."""
        if self._scratch_version == 0:
            size = int(self._context.update_device_memory_size_for_shapes())
            self._scratch.reserve(size)
        if self._scratch_version == self._scratch.version:
            return False
        self._context.set_device_memory(self._scratch.address, self._scratch.size)
        self._scratch_version = self._scratch.version
        return True

    def check_capturable(self, stream: Stream) -> None:
        """Ask TensorRT-RTX."""
        if self._engine.library.ahead_of_time and not self._context.is_stream_capturable(
            stream.number
        ):
            raise DeviceError("the engine does not allow it")

    def queue(self, stream: Stream) -> None:
        """Queue the network."""
        if not self._context.execute_async_v3(stream.number):
            raise self._error("failed to run")

    def close(self) -> None:
        """Let the context go."""
        self._context = None

    def _error(self, what: str) -> DeviceError:
        return device_error(self._engine.library, what, self._engine.log)


def named_outputs(
    engine: Engine,
    entry: GraphEntry,
    inside: Sequence[str],
    device: Device,
    names: Sequence[str],
    cases: Sequence[Arrays],
) -> list[Values]:
    """Run an engine and give its inputs and outputs called `names`, in numpy: for
    `samedge.runtime.parity.drift`.

    Args:
        engine: loaded.
        entry: of its graph, from the manifest.
        inside: tensors that are outputs of this engine and not of the graph.
        device: the calling thread's.
        names: of tensors.
        cases: one or more sets of the graph's inputs.

    Returns:
        For each case, name -> array, float16 ones as float32; names that the engine does not give
        are missing.

    Raises:
        DeviceError: TensorRT or the GPU failed.
        NotSupportedError: an input is larger than the engine was built for.
    """
    # The sizes of tensors from inside are known when the inputs' are.
    listed = {tensor.name: tensor.shape for tensor in entry.tensors}
    io = engine.io(listed | dict.fromkeys(inside, ()))
    return [_run_once(engine, io, device, case, set(names)) for case in cases]


def _run_once(
    engine: Engine, io: GraphIO, device: Device, case: Arrays, wanted: set[str]
) -> Values:
    inputs = {spec.name: np.ascontiguousarray(case[spec.name]) for spec in io.inputs}
    found: Values = {name: array for name, array in inputs.items() if name in wanted}
    stream, scratch = Stream(), Scratch(device)
    try:
        plan = Replay(Context(engine, io, scratch, inputs), io, device, stream, inputs, {})
        try:
            plan.run(inputs, {})
            for spec in io.outputs:
                if spec.name in wanted:
                    array = plan.device_output(spec).copy()
                    half = array.dtype == np.float16
                    found[spec.name] = array.astype(np.float32) if half else array
        finally:
            plan.close()
    finally:
        scratch.close()
        stream.close()
    return found
