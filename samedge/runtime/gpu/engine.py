"""What the engines of every backend on NVIDIA GPUs share: a stream, sets of sizes, frames."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from samedge.errors import DeviceError
from samedge.runtime.backend import Engine, GpuArray, GpuMemory, GraphIO
from samedge.runtime.frames import FrameLike
from samedge.runtime.gpu.arrays import DeviceArray
from samedge.runtime.gpu.driver import ALIGNMENT, Device, DeviceMemory, Stream
from samedge.runtime.gpu.frames import as_encoder_input, device_frame
from samedge.runtime.gpu.replay import Replay, Work, placement

MAX_SIZES = 8  # sets of sizes that are kept ready


class DeviceQueue:
    """The device and the stream that the engines of one session share.

    One stream: the decoder reads the embedding that the encoder has written, in that order.
    """

    def __init__(self, index: int) -> None:
        self.device = Device(index)
        try:
            with self.device:
                self.stream = Stream()
        except BaseException:
            self.device.close()
            raise

    def close(self) -> None:
        """Free both."""
        try:
            with self.device:
                self.stream.close()
        finally:
            self.device.close()


class GpuEngine(Engine):
    """One graph of a bundle, with its memory on the device. See `samedge.runtime.backend.Engine`.

    Args:
        queue: of the session.
        io: inputs and outputs of the graph.
        notes: what a user should know about the loading.

    Class attributes:
        alignment: of the addresses that its work takes, in bytes.
    """

    alignment = ALIGNMENT

    def __init__(self, queue: DeviceQueue, io: GraphIO, notes: list[str]) -> None:
        self._queue: DeviceQueue | None = queue
        self._io, self._notes = io, notes
        self._replays: OrderedDict[Any, Replay] = OrderedDict()
        self._last: Replay | None = None
        self._buffers: list[DeviceMemory] = []

    @abstractmethod
    def _work(self, inputs: Mapping[str, Any]) -> Work:
        """What is to be done for inputs of these sizes."""

    def _after_first(self, queue: DeviceQueue) -> None:
        """Called when sizes, or the place of an array, were met for the first time."""

    @abstractmethod
    def _release(self) -> None:
        """Free what the sets of sizes share."""

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs of the graph."""
        return self._io

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Copies within the host's memory in the last run; those to and from the device are queued
        with the work, and cannot be told from it."""
        return {} if self._last is None else self._last.stage_ms

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the loading and about CUDA graphs."""
        return (*self._notes, *(found.note for found in self._replays.values() if found.note))

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Compute `outputs` in place from `inputs`; see `Engine.run`. A `DeviceArray` is read or
        written where it lies.

        Raises:
            DeviceError: the engine or the GPU failed.
            NotSupportedError: an input is larger than the engine was built for.
        """
        queue = self._open_queue()
        with queue.device:
            replay = self._replay(queue, inputs, outputs)
            first = replay.runs == 0
            replay.run(inputs, outputs)
            if first:
                self._after_first(queue)
            self._last = replay

    def buffer(self, name: str) -> DeviceArray:
        """Memory for the output `name`, which has a fixed shape, on the device."""
        device, spec = self._open_queue().device, self._io.output(name)
        shape = tuple(int(side) for side in spec.shape)
        size = int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
        with device:
            memory = device.allocate(size, f"'{name}' {list(shape)}")
        self._buffers.append(memory)
        return DeviceArray(memory.address, shape, spec.dtype, device, owner=self)

    def device_output(self, name: str) -> DeviceArray:
        """An output of the last run where it lies on the device, until the next run.

        Raises:
            DeviceError: nothing was run yet.
        """
        if self._last is None:
            raise DeviceError("nothing was run yet")
        return self._last.device_output(self._io.output(name))

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
        queue, self._queue = self._queue, None
        if queue is None:
            return
        with queue.device:
            for replay in self._replays.values():
                replay.close()
            self._replays.clear()
            self._last = None
            for memory in self._buffers:
                memory.free()
            self._release()

    def _replay(
        self, queue: DeviceQueue, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> Replay:
        """What runs these sizes, made if it is not there."""
        at = self.alignment
        key = (
            tuple((s.name, inputs[s.name].shape, placement(inputs[s.name], at))
                  for s in self._io.inputs if s.name in inputs),
            tuple((s.name, placement(outputs.get(s.name), at)) for s in self._io.outputs),
        )  # fmt: skip
        found = self._replays.get(key)
        if found is None:
            while len(self._replays) >= MAX_SIZES:
                self._replays.popitem(last=False)[1].close()
            work = self._work(inputs)
            found = Replay(work, self._io, queue.device, queue.stream, inputs, outputs)
            self._replays[key] = found
        self._replays.move_to_end(key)
        return found

    def _open_queue(self) -> DeviceQueue:
        if self._queue is None:
            raise DeviceError("this engine is closed")
        return self._queue


class FrameMemory(GpuMemory):
    """Frames and answers on the session's GPU. See `samedge.runtime.backend.GpuMemory`."""

    def __init__(self, queue: DeviceQueue, decoder: GpuEngine) -> None:
        self._queue, self._decoder = queue, decoder

    def frame(self, frame: FrameLike, deep: bool) -> DeviceArray:
        """A frame that lies on the GPU, checked; see `samedge.runtime.gpu.frames`."""
        with self._queue.device:
            return device_frame(frame, deep, self._queue.device, self._queue.stream.number)

    def encoder_input(self, pixels: GpuArray) -> DeviceArray:
        """The pixels as bytes."""
        assert isinstance(pixels, DeviceArray)
        return as_encoder_input(pixels)

    def output(self, name: str) -> DeviceArray:
        """Where the decoder's last answer lies."""
        return self._decoder.device_output(name)
