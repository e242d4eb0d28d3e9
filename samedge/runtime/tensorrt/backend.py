"""TensorRT: NVIDIA GPUs and Jetsons. Engines come from the bundle, from the user's cache, or are
built when they are first needed. TensorRT-RTX shares all of it (tensorrt_rtx_backend.py)."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.errors import DeviceError, OutputError
from samedge.runtime.backend import Arrays, GraphIO, LoadOptions
from samedge.runtime.engines.keys import KernelsKey, NvidiaKey, graph_digest
from samedge.runtime.engines.store import EngineStore, StoredEngine
from samedge.runtime.gpu.arrays import DeviceArray
from samedge.runtime.gpu.driver import Device, DeviceMemory, Stream, driver_version, problem
from samedge.runtime.gpu.frames import device_frame
from samedge.runtime.precision import graph_key
from samedge.runtime.tensorrt.builder import BuildOptions, build_engine
from samedge.runtime.tensorrt.engine import Engine
from samedge.runtime.tensorrt.library import LIBRARIES, Library
from samedge.runtime.tensorrt.plan import Plan, Scratch, named_outputs, placement

MAX_PLANS = 8  # sets of sizes that are kept ready


class TensorRtBackend:
    """One graph of a bundle in TensorRT. See `samedge.runtime.backend.Backend`."""

    name = "tensorrt"

    def __init__(
        self, lane: Lane, engine: Engine, io: GraphIO, options: LoadOptions, notes: list[str]
    ) -> None:
        self.precision, self.device_name = options.precision, lane.device.name
        self._lane: Lane | None = lane
        self._engine, self._io, self._options, self._notes = engine, io, options, notes
        self._plans: OrderedDict[Any, Plan] = OrderedDict()
        self._last: Plan | None = None
        self._scratch = Scratch(lane.device)
        self._buffers: list[DeviceMemory] = []

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this backend cannot run here, with the remedy; None if it can."""
        library = LIBRARIES[cls.name]
        # Without a GPU it does not matter what is installed.
        return problem() or library.missing() or problem(library.cuda_major(), library.title)

    @classmethod
    def precisions(cls) -> tuple[str, ...]:
        """All that engines can be built for."""
        return ("fp16", "int8", "fp32")

    @classmethod
    def proven(cls, bundle: Bundle, precision: str, device: int = 0) -> bool | None:
        """Whether engines of this precision passed the parity gate of `samedge build` on a GPU
        like number `device` here; None if they were not tried."""
        library, store = LIBRARIES[cls.name], EngineStore.of_bundle(bundle)
        gpu = Device(device)
        try:
            keys = (
                key_for(
                    library,
                    bundle,
                    graph,
                    graph_key(bundle.manifest, cls.name, graph, precision),
                    gpu,
                )
                for graph in bundle.manifest["graphs"]
            )
            found = [store.passed(key, precision) for key in keys]
        finally:
            gpu.close()
        return None if None in found else all(found)

    @classmethod
    def load(cls, bundle: Bundle, graph: str, options: LoadOptions) -> TensorRtBackend:
        """Load the engine of `graph`: a stored one that fits this model, library and GPU, or a new
        one, which takes seconds to minutes and is kept in the user's cache.

        Raises:
            BundleError: the graph's file was changed.
            NotSupportedError: the bundle has no graph for this precision, or there is no such GPU.
            DeviceError: the library or the GPU failed.
        """
        library = LIBRARIES[cls.name]
        key = graph_key(bundle.manifest, cls.name, graph, options.precision)
        bundle.graph(graph, key)  # a changed bundle is an error, whatever engines there are
        lane = Lane.of(options)
        try:
            with lane.device:
                wanted = key_for(library, bundle, graph, key, lane.device)
                engine, notes = _obtain(library, bundle, wanted, options)
                record = bundle.manifest["graphs"][graph][key]
                io = engine.io(record["inputs"], record["outputs"])
            return cls(lane, engine, io, options, notes)
        except BaseException:
            lane.leave(options)
            raise

    @classmethod
    def named_outputs(
        cls,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        names: Sequence[str],
        cases: Sequence[Arrays],
    ) -> list[dict[str, NDArray[Any]]]:
        """Tensors from inside `graph`; see `samedge.runtime.backend.NamesTensors`. For tensors from
        inside an engine is built and thrown away, which takes seconds to minutes; the graph's own
        outputs alone are those of the engine that a session would load."""
        library = LIBRARIES[cls.name]
        key = graph_key(bundle.manifest, cls.name, graph, options.precision)
        bundle.graph(graph, key)
        record, device = bundle.manifest["graphs"][graph][key], Device(options.device)
        try:
            with device:
                if {*names} <= {tensor["name"] for tensor in record["outputs"]}:
                    wanted = key_for(library, bundle, graph, key, device)
                    engine, _ = _obtain(library, bundle, wanted, options)
                    inside: tuple[str, ...] = ()
                else:
                    built = build_engine(library, bundle, graph, options.precision, also=names)
                    engine, inside = Engine(library, built.data), built.also
                return named_outputs(engine, record, inside, device, names, cases)
        finally:
            device.close()

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs of the graph."""
        return self._io

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Nothing: a graph runs in one part."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the loading and about CUDA graphs."""
        return (*self._notes, *(plan.note for plan in self._plans.values() if plan.note))

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """Compute `outputs` in place from `inputs`; see `Backend.run`. Arrays may be numpy's or a
        `DeviceArray`, which is read or written where it lies.

        Raises:
            DeviceError: TensorRT or the GPU failed.
            NotSupportedError: an input is larger than the engine was built for.
        """
        lane = self._open_lane()
        with lane.device:
            plan = self._plan(lane, inputs, outputs)
            first = plan.runs == 0
            plan.run(inputs, outputs)
            if first and self._options.cache:
                key = _kernels_key(self._engine, lane.device.index)
                note = self._engine.keep_kernels(EngineStore.of_user(), key)
                self._notes += [note] if note is not None else []
            self._last = plan

    def buffer(self, name: str) -> DeviceArray:
        """Memory for the output `name`, which has a fixed shape, on the device."""
        lane, spec = self._open_lane(), self._io.output(name)
        shape = tuple(int(side) for side in spec.shape)
        size = int(np.prod(shape)) * np.dtype(spec.dtype).itemsize
        with lane.device:
            memory = lane.device.allocate(size, f"'{name}' {list(shape)}")
        self._buffers.append(memory)
        return DeviceArray(memory.address, shape, spec.dtype, lane.device, owner=self)

    def device_frame(self, frame: Any, deep: bool) -> DeviceArray:
        """A frame that lies on the GPU, checked; see `samedge.runtime.gpu.frames`."""
        lane = self._open_lane()
        with lane.device:
            return device_frame(frame, deep, lane.device, lane.stream.number)

    def device_output(self, name: str) -> DeviceArray:
        """An output of the last run where it lies on the device, until the next run."""
        if self._last is None:
            raise DeviceError("nothing was run yet")
        return self._last.device_output(self._io.output(name))

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
        lane, self._lane = self._lane, None
        if lane is None:
            return
        with lane.device:
            for plan in self._plans.values():
                plan.close()
            self._plans.clear()
            self._last = None
            self._scratch.close()
            for memory in self._buffers:
                memory.free()
            del self._engine  # its memory is the library's, and goes with the last session
        lane.leave(self._options)

    def _plan(self, lane: Lane, inputs: Arrays, outputs: Arrays) -> Plan:
        """The plan for these sizes, made if it is not there."""
        key = (
            tuple((s.name, inputs[s.name].shape, placement(inputs[s.name])) for s in self._io.inputs
                  if s.name in inputs),
            tuple((s.name, placement(outputs.get(s.name))) for s in self._io.outputs),
        )  # fmt: skip
        plan = self._plans.get(key)
        if plan is None:
            while len(self._plans) >= MAX_PLANS:
                self._plans.popitem(last=False)[1].close()
            plan = Plan(
                self._engine, self._io, lane.device, lane.stream, self._scratch, inputs, outputs
            )
            self._plans[key] = plan
        self._plans.move_to_end(key)
        return plan

    def _open_lane(self) -> Lane:
        if self._lane is None:
            raise DeviceError("this engine is closed")
        return self._lane


class Lane:
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
        self._users = 0

    @classmethod
    def of(cls, options: LoadOptions) -> Lane:
        """That of the session which loads with these options."""
        lane = options.shared.get("lane")
        if lane is None:
            lane = options.shared["lane"] = cls(options.device)
        assert isinstance(lane, Lane)
        lane._users += 1
        return lane

    def leave(self, options: LoadOptions) -> None:
        """One engine less; the last one closes stream and device."""
        self._users -= 1
        if self._users == 0:
            options.shared.pop("lane", None)
            try:
                with self.device:
                    self.stream.close()
            finally:
                self.device.close()


def key_for(library: Library, bundle: Bundle, graph: str, key: str, device: Device) -> NvidiaKey:
    """What an engine has to fit to run on `device`.

    Args:
        library: TensorRT or TensorRT-RTX.
        bundle: open.
        graph: "encoder" or "decoder".
        key: of the graph's entry in the manifest, "fp16".
        device: the GPU.
    """
    file = bundle.manifest["graphs"][graph][key]["file"]
    digest, capability = graph_digest(bundle, file), device.compute_capability
    return NvidiaKey(graph, key, digest, library.name, library.version, capability, device.name)


def _obtain(
    library: Library, bundle: Bundle, key: NvidiaKey, options: LoadOptions
) -> tuple[Engine, list[str]]:
    """The engine, stored or new, and what a user should know about that."""
    given = tuple(options.engines)
    store = EngineStore(given) if given else EngineStore.of_bundle(bundle)
    found = store.find(key)
    if isinstance(found, StoredEngine):
        return _load(library, found, options)
    if given:
        raise DeviceError(
            f"no stored {key.graph} engine fits: {'; '.join(found.reasons) or 'none'}"
        )
    start = time.monotonic()
    built = build_engine(library, bundle, key.graph, options.precision, None, options.progress)
    seconds = time.monotonic() - start
    about = f"the {key.graph} engine was built here, in {seconds:.0f} s"
    notes = [*found.reasons, about, *built.notes]
    if options.cache:
        try:
            kept = store.save(key, built.data, BuildOptions().record(), built.report)
        except OutputError as error:
            notes.append(f"it could not be kept for the next start: {error}")
        else:
            engine, more = _load(library, kept, options)
            return engine, notes + more
    return Engine(library, built.data), notes


def _load(library: Library, found: StoredEngine, options: LoadOptions) -> tuple[Engine, list[str]]:
    """A stored engine, and what a user should know about the kernels compiled for it here."""
    host_code = bool(found.record.options.get("version_compatible"))
    digest = found.record.sha256
    engine = Engine.shared(library, found.file, digest, options.device, host_code)
    note = None
    if options.cache:
        note = engine.use_kernels(EngineStore.of_user(), _kernels_key(engine, options.device))
    return engine, [note] if note is not None else []


def _kernels_key(engine: Engine, device: int) -> KernelsKey:
    """Everything that the kernels compiled on this device depend on."""
    driver = "{}.{}".format(*driver_version())
    return KernelsKey(engine.digest, engine.library.version, device, driver)
