"""What the stand-in for the CUDA driver keeps: memory, streams, events, graphs, and the rules.

Device memory has addresses that no host code can read, and its content changes only when queued
work runs. Queued work runs as late as it may: when somebody waits for its stream. So whoever
forgets to wait reads poison, and whoever writes to a buffer under way is found out. Every rule that
is broken raises `Violation`, which no code under test catches.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

DEVICE_BASE = 1 << 52  # no address of a process
POISON = 0xA5
PAGE = 512


class Violation(BaseException):
    """A rule of CUDA or TensorRT was broken. No Exception, so that nothing swallows it."""


class CUresult(IntEnum):
    """The results that the stand-in gives."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_IMAGE = 200
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209
    CUDA_ERROR_NOT_FOUND = 500
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


OK = CUresult.CUDA_SUCCESS


@dataclass
class Block:
    """A piece of memory."""

    address: int
    data: np.ndarray[Any, Any]

    @property
    def size(self) -> int:
        return len(self.data)


@dataclass
class Job:
    """Queued work: what it does, and the memory it touches."""

    name: str
    run: Callable[[], None]
    reads: tuple[tuple[int, int], ...] = ()
    writes: tuple[tuple[int, int], ...] = ()
    host: Any = None  # the pinned memory that a copy reads or writes


@dataclass
class Queued:
    """A job in a stream, and what its pinned memory held when it was queued."""

    job: Job
    content: Any


@dataclass
class StreamState:
    """A stream's queue, what is being captured from it, and in which thread (None: any)."""

    jobs: list[Queued] = field(default_factory=list)
    captured: list[Job] | None = None
    broken: bool = False
    thread: int | None = None


class Handle(int):
    """A handle of the driver."""


class Core:
    """The state behind `tests.runtime.stand_in.driver.Driver`; see there."""

    def __init__(
        self,
        memory: int = 1 << 32,
        devices: int = 1,
        cuda_version: int = 13000,
        capability: tuple[int, int] = (8, 6),
    ) -> None:
        self.memory, self.devices, self.version = memory, devices, cuda_version
        self.capability = capability
        self.init_result = OK
        self.fail_capture = False
        self.calls: dict[str, int] = {}
        self.blocks: dict[int, Block] = {}
        self.pinned: dict[int, Block] = {}
        self.streams: dict[int, StreamState] = {1: StreamState(), 2: StreamState()}
        self.events: dict[int, list[Queued] | None] = {}
        self.graphs: dict[int, list[Job]] = {}
        self.executables: dict[int, list[Job]] = {}
        self.retained = 0
        self._local = threading.local()
        self.keep: list[Block] = []
        self._next = 100
        self._top = DEVICE_BASE

    def queue(self, number: int, job: Job) -> tuple[CUresult]:
        """Queue work, or record it where the stream is being captured."""
        self.need_context(job.name)
        stream = self.stream(number)
        if stream.captured is not None:
            stream.captured.append(job)
            return (OK,)
        content = None
        if job.host is not None:
            if job.name == "download":  # what nobody may read before the copy is done
                job.host.fill(POISON)
            content = job.host.copy()
        stream.jobs.append(Queued(job, content))
        return (OK,)

    def stream(self, number: int) -> StreamState:
        """The state of a stream; there must be one."""
        if int(number) not in self.streams:
            raise Violation("a stream is used that was destroyed, or never made")
        return self.streams[int(number)]

    def device(self, address: int, size: int) -> np.ndarray[Any, Any]:
        """The bytes behind a device address; they must all be allocated, in one block."""
        for block in self.blocks.values():
            offset = address - block.address
            if 0 <= offset < block.size:
                if offset + size > block.size:
                    raise Violation(
                        f"{size} bytes at offset {offset} of a block of {block.size}: too many"
                    )
                return block.data[offset : offset + size]
        raise Violation(f"the address {address:#x} is not allocated on the device (freed?)")

    def put(self, array: np.ndarray[Any, Any]) -> int:
        """An array on the device, as another library would have it there; its address."""
        data = np.ascontiguousarray(array).view(np.uint8).ravel()
        address = self.allocate(max(len(data), 1))
        self.blocks[address].data[:] = data
        return address

    def allocate(self, size: int) -> int:
        """A block of device memory full of poison."""
        address = self._top
        # Never the same address again: what is freed stays recognisable.
        self._top += -(-size // PAGE) * PAGE + PAGE
        self.blocks[address] = Block(address, np.full(size, POISON, np.uint8))
        return address

    def get(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """A copy of what lies at a device address."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.device(address, size).copy().view(dtype).reshape(shape)

    def need_context(self, what: str) -> None:
        """No call without a current context."""
        if not self.stack:
            raise Violation(f"{what} is called in a thread that has no current context")

    def assert_clean(self) -> None:
        """Nothing is left: no memory, stream, event, graph or context."""
        left = {
            "device memory": len(self.blocks),
            "pinned memory": len(self.pinned),
            "streams": len(self.streams) - 2,
            "events": len(self.events),
            "graphs": len(self.graphs) + len(self.executables),
            "modules": self.modules_left(),
            "contexts": self.retained + len(self.stack),
        }
        leaks = {name: count for name, count in left.items() if count}
        if leaks:
            raise Violation(f"not freed: {leaks}")

    def modules_left(self) -> int:
        """Modules that are loaded."""
        return 0

    @property
    def stack(self) -> list[Handle]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Handle] = self._local.stack
        return stack

    def run(self, queued: Queued) -> None:
        job = queued.job
        self.check(*job.reads, *job.writes)
        if queued.content is not None and not np.array_equal(job.host, queued.content):
            raise Violation(f"pinned memory was written while a {job.name} was under way")
        job.run()

    def check(self, *ranges: tuple[int, int]) -> None:
        """All of these addresses must be allocated, on the device or pinned."""
        for address, size in ranges:
            if address >= DEVICE_BASE:
                self.device(address, size)
            else:
                self.pinned_view(address, size)

    def pinned_view(self, address: int, size: int) -> np.ndarray[Any, Any]:
        for block in self.pinned.values():
            offset = int(address) - block.address
            if offset >= 0 and offset + size <= block.size:
                return block.data[offset : offset + size]
        raise Violation(
            f"an asynchronous copy of {size} bytes at {int(address):#x}, which is not pinned memory"
        )

    def _pending(self) -> list[Job]:
        waiting = [queued for stream in self.streams.values() for queued in stream.jobs]
        waiting += [queued for jobs in self.events.values() if jobs for queued in jobs]
        return [queued.job for queued in waiting]

    def idle(self, wanted: tuple[int, int]) -> None:
        """No queued work may touch these bytes."""
        for job in self._pending():
            for address, size in (*job.reads, *job.writes):
                if address < wanted[0] + wanted[1] and wanted[0] < address + size:
                    raise Violation(f"memory is touched while a {job.name} is under way in it")

    def break_captures(self) -> bool:
        """An illegal call during a capture that this thread is bound by: the capture is lost."""
        here = (None, threading.get_ident())
        bound = [s for s in self.streams.values() if s.captured is not None and s.thread in here]
        for stream in bound:
            stream.broken = True
        return bool(bound)

    def used(self) -> int:
        return sum(block.size for block in self.blocks.values())

    def count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1

    def new(self, table: dict[int, Any], value: Any) -> Handle:
        self._next += 1
        table[self._next] = value
        return Handle(self._next)


class Replayable:
    """Work of an engine in a graph, which knows whether its context was changed since."""

    def __init__(self, run: Callable[[], None], unchanged: Callable[[], bool]) -> None:
        self.run, self._unchanged = run, unchanged

    def __call__(self) -> None:
        self.run()

    def check_unchanged(self) -> None:
        """Refuse to replay what was captured from a context that is another one by now."""
        if not self._unchanged():
            raise Violation("a graph is started whose context was changed after the capture")


def host_bytes(address: int, size: int) -> np.ndarray[Any, Any]:
    """The bytes at an address of this process; a device address there is a fault."""
    if int(address) >= DEVICE_BASE:
        raise Violation("a device address is used as one of the CPU's memory")
    return np.frombuffer((ctypes.c_uint8 * size).from_address(int(address)), np.uint8)
