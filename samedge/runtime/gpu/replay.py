"""One graph at one set of sizes: its buffers, and the CUDA graph of its work.

Everything is allocated when sizes are first seen, nothing per frame. Work is queued on one stream:
inputs from pinned memory to the device, the network, results to pinned memory. The first run is
queued as it is (a library sets itself up), the second is captured into a CUDA graph, and all later
ones start that graph. What the network's part of it is, a `Work` knows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samedge.errors import DeviceError
from samedge.runtime.backend import GraphIO, TensorSpec
from samedge.runtime.gpu.arrays import DeviceArray
from samedge.runtime.gpu.driver import (
    CudaGraph,
    Device,
    DeviceMemory,
    PinnedArray,
    Stream,
)

# Inputs that follow from a frame's geometry: such an array never changes in place, so it is
# brought over once, not with every frame.
FIXED = frozenset(
    {"colour", "rows", "cols", "rows_first", "valid_rows", "valid_cols", "mask_rows", "mask_cols"}
)


class Work(Protocol):
    """What a library does for one graph at one set of sizes.

    Attributes:
        alignment: of the addresses that it takes, in bytes.
    """

    alignment: int

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an input or output."""

    def set_address(self, name: str, address: int) -> None:
        """Where an input or output lies."""

    def take_scratch(self) -> bool:
        """Have scratch memory; whether it is in another place than before."""

    def check_capturable(self, stream: Stream) -> None:
        """Raise a DeviceError if no CUDA graph can be made."""

    def queue(self, stream: Stream) -> None:
        """Queue all of it."""

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""


class Scratch:
    """Device memory for what an engine computes in between, shared by all its sets of sizes.

    Attributes:
        version: changes whenever the memory moves, so that graphs are made anew.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: DeviceMemory | None = None
        self.version = 0

    @property
    def size(self) -> int:
        """In bytes."""
        return 0 if self._memory is None else self._memory.size

    @property
    def address(self) -> int:
        """On the device."""
        return 0 if self._memory is None else self._memory.address

    def reserve(self, size: int) -> None:
        """Have at least `size` bytes. Nothing may be running."""
        if self._memory is None or size > self._memory.size:
            self.close()
            self._memory = self._device.allocate(size, "the network's intermediate results")
            self.version += 1

    def close(self) -> None:
        """Free the memory. Calling it twice is harmless."""
        if self._memory is not None:
            self._memory.free()
            self._memory = None


class Replay:
    """See the module. The device must be the calling thread's wherever a method is called.

    Attributes:
        runs: since an address was last changed.
        note: what a user should know; empty if all is well.
        stage_ms: of the last run, copies within the host's memory: "copy_in", to where the device
            reads, and "copy_out".

    Args:
        work: closed with this object.
        io: inputs and outputs of the graph.
        device, stream: of the session.
        inputs, outputs: the first arrays; their shapes, and whether they lie on the host or the
            device, hold from here on.
    """

    def __init__(
        self,
        work: Work,
        io: GraphIO,
        device: Device,
        stream: Stream,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
    ) -> None:
        self._work, self._device, self._stream = work, device, stream
        self._graph: CudaGraph | None = None
        self._capturable, self.runs = True, 0
        self.note = ""
        self.stage_ms = {"copy_in": 0.0, "copy_out": 0.0}
        self._memory: dict[str, DeviceMemory] = {}
        self._pinned: dict[str, PinnedArray] = {}
        self._bound: dict[str, int] = {}
        self._fixed: dict[str, Any] = {}
        self._uploads: list[str] = []
        self._downloads: list[str] = []
        try:
            self._allocate(io, inputs, outputs)
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Compute `outputs` from `inputs`; done when it returns.

        Raises:
            DeviceError: the work failed, or the device.
        """
        try:
            if self._work.take_scratch():
                self._drop_graph()
            for name, array in (*inputs.items(), *outputs.items()):
                if isinstance(array, DeviceArray) and name in self._bound:
                    self._take(name, array)
            begin = time.perf_counter()
            self._stage(inputs)
            self.stage_ms["copy_in"] = (time.perf_counter() - begin) * 1e3
            self._start()
        except BaseException:
            # Nothing may be under way when the caller frees what it reads or writes.
            with suppress(DeviceError):
                self._stream.synchronise()
            raise
        self._stream.synchronise()
        done = time.perf_counter()
        for name in self._downloads:
            np.copyto(outputs[name], self._pinned[name].array)
        self.stage_ms["copy_out"] = (time.perf_counter() - done) * 1e3

    def device_output(self, spec: TensorSpec) -> DeviceArray:
        """An output of the last run, where it lies on the device; valid until the next run."""
        memory = self._memory[spec.name]
        shape = self._work.shape(spec.name)
        return DeviceArray(memory.address, shape, spec.dtype, self._device, owner=self)

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
        self._drop_graph()
        self._work.close()
        for pinned in self._pinned.values():
            pinned.free()
        for memory in self._memory.values():
            memory.free()
        self._pinned, self._memory, self._bound = {}, {}, {}

    def _allocate(self, io: GraphIO, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        for spec in io.inputs:
            fixed = spec.name in FIXED
            self._place(spec, inputs[spec.name], pinned=not fixed, uploads=True)
        for spec in io.outputs:
            array = outputs.get(spec.name)
            shape = self._work.shape(spec.name)
            if array is not None and tuple(array.shape) != shape:
                raise DeviceError(
                    f"the output '{spec.name}' came as {list(shape)}, expected "
                    f"{list(array.shape)}; the bundle does not fit this version of samedge: export "
                    "it again"
                )
            self._place(spec, array, pinned=array is not None, uploads=False)

    def _place(self, spec: TensorSpec, array: Any, pinned: bool, uploads: bool) -> None:
        """Buffers for one input or output, or its own memory if it lies on the device."""
        name = spec.name
        if array is not None and str(array.dtype) != spec.dtype:
            raise DeviceError(f"'{name}' came as {array.dtype}, expected {spec.dtype}")
        if isinstance(array, DeviceArray) and self._direct(array):
            self._bound[name] = 0
            return
        if isinstance(array, DeviceArray) and not uploads:
            raise DeviceError(f"'{name}' cannot be written where it is to go: it is not aligned")
        shape = self._work.shape(name)
        size = math.prod(shape) * itemsize(spec)
        self._memory[name] = self._device.allocate(size, f"'{name}' {list(shape)}")
        self._work.set_address(name, self._memory[name].address)
        if isinstance(array, DeviceArray):
            self._bound[name] = 0
            return
        if pinned:
            self._pinned[name] = PinnedArray(shape, spec.dtype)
            (self._uploads if uploads else self._downloads).append(name)

    def _take(self, name: str, array: DeviceArray) -> None:
        """Read or write an array where it lies; a copy within the device if it cannot be used as
        it is."""
        if array.stream is not None:
            self._stream.wait_for(array.stream)
        if name in self._memory:
            array.copy_into(self._memory[name].address, self._stream)
        elif self._bound[name] != array.address:
            # The graph holds the address before, and is wrong for this one.
            self._drop_graph()
            self._work.set_address(name, array.address)
            self._bound[name] = array.address

    def _stage(self, inputs: Mapping[str, Any]) -> None:
        for name in self._uploads:
            np.copyto(self._pinned[name].array, inputs[name])
        for name in FIXED & inputs.keys():
            array = inputs[name]
            if name in self._memory and self._fixed.get(name) is not array:
                self._memory[name].fill(np.ascontiguousarray(array))
                self._fixed[name] = array

    def _start(self) -> None:
        """Queue the work: by the graph, or one by one where there is none (yet)."""
        if self._graph is None and self.runs > 0 and self._capturable:
            self._capture()
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._queue()
        self.runs += 1

    def _queue(self) -> None:
        for name in self._uploads:
            self._stream.upload(self._memory[name].address, self._pinned[name])
        self._work.queue(self._stream)
        for name in self._downloads:
            self._stream.download(self._pinned[name], self._memory[name].address)

    def _capture(self) -> None:
        """Make the graph; where that is not possible, say so and do without."""
        try:
            self._work.check_capturable(self._stream)
            with self._stream.capture() as graphs:
                self._queue()
            (self._graph,) = graphs
        except DeviceError as error:
            self._capturable = False
            self.note = f"no CUDA graph ({error}): every frame starts its kernels one by one"

    def _drop_graph(self) -> None:
        """The graph no longer fits; the next run is queued as it is, the one after captured."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        self.runs = 0

    def _direct(self, array: DeviceArray) -> bool:
        return is_direct(array, self._work.alignment)


def is_direct(array: DeviceArray, alignment: int) -> bool:
    """Whether an engine can use the array where it lies."""
    return array.contiguous and array.address % alignment == 0


def placement(array: NDArray[Any] | DeviceArray | None, alignment: int) -> str:
    """Where an array lies, as far as a `Replay` depends on it."""
    if array is None:
        return "none"
    if isinstance(array, DeviceArray):
        return "bound" if is_direct(array, alignment) else "copied"
    return "host"


def itemsize(spec: TensorSpec) -> int:
    """Bytes of one element."""
    return int(np.dtype(spec.dtype).itemsize)
