"""A stand-in for `cuda.bindings.driver` that computes nothing by itself and forgives nothing.

See `tests.runtime.stand_in.core` for its rules. Functions have the driver's names.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.runtime.stand_in.core import (
    OK,
    POISON,
    Block,
    CUresult,
    Handle,
    Job,
    Replayable,
    StreamState,
    Violation,
    host_bytes,
)
from tests.runtime.stand_in.kernels import Kernels


class Copy2D(SimpleNamespace):
    """CUDA_MEMCPY2D."""


class Driver(Kernels):
    """The module's functions. Put an instance into `sys.modules["cuda.bindings.driver"]`.

    Args:
        memory: bytes of device memory there are.
        devices: GPUs there are.
        cuda_version: of the driver, 12040 for 12.4.
        capability: of every GPU.
    """

    CUresult = CUresult
    CUDA_MEMCPY2D = Copy2D
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
        CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN=97,
    )
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUevent_flags = SimpleNamespace(CU_EVENT_DISABLE_TIMING=2)
    CUmemorytype = SimpleNamespace(CU_MEMORYTYPE_DEVICE=2)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL=9)

    # Set-up

    def cuInit(self, flags: int) -> tuple[CUresult]:
        return (self.init_result,)

    def cuDriverGetVersion(self) -> tuple[CUresult, int]:
        return OK, self.version

    def cuDeviceGetCount(self) -> tuple[CUresult, int]:
        return OK, self.devices

    def cuDeviceGet(self, ordinal: int) -> tuple[CUresult, int]:
        return OK, ordinal

    def cuDeviceGetName(self, length: int, dev: int) -> tuple[CUresult, bytes]:
        return OK, b"Stand-in GPU\0\0\0"

    def cuDeviceGetAttribute(self, attrib: int, dev: int) -> tuple[CUresult, int]:
        return OK, self.shared if attrib == 97 else self.capability[attrib - 75]

    def cuDevicePrimaryCtxRetain(self, dev: int) -> tuple[CUresult, Handle]:
        self.retained += 1
        return OK, Handle(7)

    def cuDevicePrimaryCtxRelease(self, dev: int) -> tuple[CUresult]:
        if self.retained == 0:
            raise Violation("the primary context is released more often than retained")
        self.retained -= 1
        return (OK,)

    def cuCtxPushCurrent(self, ctx: Handle) -> tuple[CUresult]:
        if self.retained == 0:
            raise Violation("a context is made current that was released")
        self.stack.append(ctx)
        return (OK,)

    def cuCtxPopCurrent(self) -> tuple[CUresult, Handle]:
        if not self.stack:
            raise Violation("more contexts are popped than pushed")
        return OK, self.stack.pop()

    def cuMemGetInfo(self) -> tuple[CUresult, int, int]:
        self.need_context("cuMemGetInfo")
        return OK, self.memory - self.used(), self.memory

    # Memory

    def cuMemAlloc(self, bytesize: int) -> tuple[CUresult, int]:
        self.need_context("cuMemAlloc")
        if bytesize <= 0:
            raise Violation(f"cuMemAlloc of {bytesize} bytes")
        if self.break_captures():
            return CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 0
        if bytesize > self.memory - self.used():
            return CUresult.CUDA_ERROR_OUT_OF_MEMORY, 0
        self.count("cuMemAlloc")
        return OK, self.allocate(bytesize)

    def cuMemFree(self, dptr: int) -> tuple[CUresult]:
        self.need_context("cuMemFree")
        block = self.blocks.pop(int(dptr), None)
        if block is None:
            raise Violation(f"cuMemFree of {int(dptr):#x}, which is not allocated (freed twice?)")
        self.idle((block.address, block.size))
        return (OK,)

    def cuMemHostAlloc(self, bytesize: int, flags: int) -> tuple[CUresult, int]:
        self.need_context("cuMemHostAlloc")
        if self.break_captures():
            return CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 0
        self.count("cuMemHostAlloc")
        data = np.full(bytesize, POISON, np.uint8)
        address = data.ctypes.data
        self.pinned[address] = Block(address, data)
        return OK, address

    def cuMemFreeHost(self, p: int) -> tuple[CUresult]:
        self.need_context("cuMemFreeHost")
        block = self.pinned.pop(int(p), None)
        if block is None:
            raise Violation("cuMemFreeHost of memory that is not pinned (freed twice?)")
        self.idle((block.address, block.size))
        # Whoever still looks at it sees poison; the memory itself stays, or Python would crash.
        block.data.fill(POISON)
        self.keep.append(block)
        return (OK,)

    def cuPointerGetAttribute(self, attribute: int, ptr: int) -> tuple[CUresult, int]:
        known = any(b.address <= int(ptr) < b.address + b.size for b in self.blocks.values())
        return (OK, 0) if known else (CUresult.CUDA_ERROR_INVALID_VALUE, 0)

    # Copies

    def cuMemcpyHtoD(self, dstDevice: int, srcHost: int, ByteCount: int) -> tuple[CUresult]:
        self.need_context("cuMemcpyHtoD")
        if self.break_captures():
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        self.idle((int(dstDevice), ByteCount))
        self.device(int(dstDevice), ByteCount)[:] = host_bytes(srcHost, ByteCount)
        return (OK,)

    def cuMemcpyDtoH(self, dstHost: int, srcDevice: int, ByteCount: int) -> tuple[CUresult]:
        self.need_context("cuMemcpyDtoH")
        self.idle((int(srcDevice), ByteCount))
        host_bytes(dstHost, ByteCount)[:] = self.device(int(srcDevice), ByteCount)
        return (OK,)

    def cuMemcpyHtoDAsync(self, dstDevice: int, srcHost: int, ByteCount: int, hStream: int) -> Any:
        target, source = int(dstDevice), self.pinned_view(srcHost, ByteCount)
        self.device(target, ByteCount)

        def run() -> None:
            self.device(target, ByteCount)[:] = source

        ranges = ((source.ctypes.data, ByteCount),), ((target, ByteCount),)
        return self.queue(hStream, Job("upload", run, *ranges, source))

    def cuMemcpyDtoHAsync(self, dstHost: int, srcDevice: int, ByteCount: int, hStream: int) -> Any:
        source, target = int(srcDevice), self.pinned_view(dstHost, ByteCount)
        self.device(source, ByteCount)

        def run() -> None:
            target[:] = self.device(source, ByteCount)

        ranges = ((source, ByteCount),), ((target.ctypes.data, ByteCount),)
        return self.queue(hStream, Job("download", run, *ranges, target))

    def cuMemcpyDtoDAsync(
        self, dstDevice: int, srcDevice: int, ByteCount: int, hStream: int
    ) -> Any:
        target, source = int(dstDevice), int(srcDevice)

        def run() -> None:
            self.device(target, ByteCount)[:] = self.device(source, ByteCount)

        self.check((source, ByteCount), (target, ByteCount))
        ranges = ((source, ByteCount),), ((target, ByteCount),)
        return self.queue(hStream, Job("copy", run, *ranges))

    def cuMemcpy2DAsync(self, pCopy: Copy2D, hStream: int) -> Any:
        job = pCopy
        if job.srcMemoryType != 2 or job.dstMemoryType != 2 or job.srcPitch < job.WidthInBytes:
            raise Violation("a two-dimensional copy that is not within the device, or overlaps")
        span = (job.Height - 1) * job.srcPitch + job.WidthInBytes
        source, target = (int(job.srcDevice), span), (int(job.dstDevice), job.Height * job.dstPitch)
        self.check(source, target)

        def run() -> None:
            there = self.device(*target).reshape(job.Height, job.dstPitch)
            for row in range(job.Height):
                start = int(job.srcDevice) + row * job.srcPitch
                there[row, : job.WidthInBytes] = self.device(start, job.WidthInBytes)

        return self.queue(hStream, Job("rows", run, (source,), (target,)))

    # Streams, events, graphs

    def cuStreamCreate(self, Flags: int) -> tuple[CUresult, Handle]:
        self.need_context("cuStreamCreate")
        return OK, self.new(self.streams, StreamState())

    def cuStreamDestroy(self, hStream: int) -> tuple[CUresult]:
        if self.stream(hStream).jobs:
            raise Violation("a stream is destroyed while work is queued in it")
        del self.streams[int(hStream)]
        return (OK,)

    def cuStreamSynchronize(self, hStream: int) -> tuple[CUresult]:
        self.need_context("cuStreamSynchronize")
        stream = self.stream(hStream)
        if stream.captured is not None:
            stream.broken = True
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        jobs, stream.jobs = stream.jobs, []
        for queued in jobs:
            self.run(queued)
        return (OK,)

    def cuStreamWaitEvent(self, hStream: int, hEvent: int, Flags: int) -> Any:
        recorded = self.events[int(hEvent)]
        if recorded is None:
            raise Violation("a stream waits for an event that was never recorded")

        def run() -> None:
            while recorded:
                self.run(recorded.pop(0))

        return self.queue(hStream, Job("wait", run))

    def cuEventCreate(self, Flags: int) -> tuple[CUresult, Handle]:
        self.need_context("cuEventCreate")
        return OK, self.new(self.events, None)

    def cuEventRecord(self, hEvent: int, hStream: int) -> tuple[CUresult]:
        # Whoever waits for the event runs what is queued here now.
        stream = self.stream(hStream)
        self.events[int(hEvent)], stream.jobs = stream.jobs, []
        return (OK,)

    def cuEventDestroy(self, hEvent: int) -> tuple[CUresult]:
        if self.events.pop(int(hEvent), "gone") == "gone":
            raise Violation("an event is destroyed twice")
        return (OK,)

    def cuStreamBeginCapture(self, hStream: int, mode: int) -> tuple[CUresult]:
        stream = self.stream(hStream)
        if stream.captured is not None:
            raise Violation("a stream is captured that is being captured already")
        stream.captured, stream.broken = [], self.fail_capture
        # Others may go on allocating while one thread captures, if it asked for that.
        local = self.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        stream.thread = threading.get_ident() if mode == local else None
        return (OK,)

    def cuStreamEndCapture(self, hStream: int) -> tuple[CUresult, Handle | None]:
        stream = self.stream(hStream)
        if stream.captured is None:
            raise Violation("a capture is ended that was not begun")
        jobs, stream.captured = stream.captured, None
        if stream.broken:
            return CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None
        return OK, self.new(self.graphs, jobs)

    def cuGraphInstantiate(self, hGraph: int, flags: int) -> tuple[CUresult, Handle]:
        self.need_context("cuGraphInstantiate")
        self.count("cuGraphInstantiate")
        return OK, self.new(self.executables, list(self.graphs[int(hGraph)]))

    def cuGraphLaunch(self, hGraphExec: int, hStream: int) -> tuple[CUresult]:
        self.count("cuGraphLaunch")
        if int(hGraphExec) not in self.executables:
            raise Violation("a graph is started that was destroyed")
        for job in self.executables[int(hGraphExec)]:
            self.check(*job.reads, *job.writes)
            if isinstance(job.run, Replayable):
                job.run.check_unchanged()
            self.queue(hStream, job)
        return (OK,)

    def cuGraphDestroy(self, hGraph: int) -> tuple[CUresult]:
        if self.graphs.pop(int(hGraph), None) is None:
            raise Violation("a graph is destroyed twice")
        return (OK,)

    def cuGraphExecDestroy(self, hGraphExec: int) -> tuple[CUresult]:
        if self.executables.pop(int(hGraphExec), None) is None:
            raise Violation("an executable graph is destroyed twice")
        return (OK,)
