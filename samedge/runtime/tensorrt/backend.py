"""TensorRT: NVIDIA GPUs and Jetsons. Engines come from the bundle, from the user's cache, or are
built when they are first needed. TensorRT-RTX (GeForce and workstation GPUs) shares all of it, but
its engines are built for a kind of GPU, also on a machine without one, and compiled to the end on
the device."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError, OutputError
from samedge.files.paths import shown
from samedge.runtime.backend import (
    Arrays,
    Backend,
    Engines,
    GraphIO,
    InnerTensors,
    LoadOptions,
    both_graphs,
)
from samedge.runtime.engines.keys import KernelsKey, NvidiaKey, graph_digest
from samedge.runtime.engines.records import ENDING
from samedge.runtime.engines.store import EngineStore, StoredEngine
from samedge.runtime.gpu.driver import Device, driver_version, problem
from samedge.runtime.gpu.engine import DeviceQueue, FrameMemory, GpuEngine
from samedge.runtime.gpu.replay import Scratch
from samedge.runtime.precision import graph_key, runnable
from samedge.runtime.tensorrt.builder import BuildOptions, build_engine
from samedge.runtime.tensorrt.engine import Engine
from samedge.runtime.tensorrt.library import NVIDIA_LIBRARIES, NvidiaLibrary
from samedge.runtime.tensorrt.plan import Context, named_outputs

_LISTED = 8  # engines that a message names


class TensorRtBackend(Backend):
    """One of NVIDIA's libraries. See `samedge.runtime.backend.Backend`.

    Args:
        name: of the backend, which is the library's as well.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._library = NVIDIA_LIBRARIES[name]

    def unavailable(self) -> str | None:
        """Why this backend cannot run here, with the remedy; None if it can."""
        library = self._library
        # Without a GPU it does not matter what is installed.
        return problem() or library.missing() or problem(library.cuda_major(), library.title)

    def precisions(self) -> tuple[str, ...]:
        """All that engines can be built for."""
        return ("fp16", "int8", "fp32")

    def proven(
        self, bundle: Bundle, precision: str, device: int = 0, engines: Sequence[Path] = ()
    ) -> bool | None:
        """Whether engines of this precision passed the parity gate of `samedge build` on a GPU
        like number `device` here; None if they were not tried."""
        store, gpu = _store(bundle, engines), Device(device)
        try:
            keys = (
                key_for(self._library, bundle, graph, self._key(bundle, graph, precision), gpu)
                for graph in bundle.manifest.graphs
            )
            found = [store.passed(key, precision) for key in keys]
        finally:
            gpu.close()
        return None if None in found else all(found)

    def ready(self, bundle: Bundle, engines: Sequence[Path], device: int = 0) -> tuple[str, ...]:
        """Precisions that the engines in these folders serve, by their records; see
        `samedge.runtime.backend.Backend`."""
        store, gpu = EngineStore(tuple(engines)), Device(device)
        found, refused = [], []
        try:
            for precision in runnable(bundle, self):
                keys = [
                    key_for(self._library, bundle, graph, self._key(bundle, graph, precision), gpu)
                    for graph in bundle.manifest.graphs
                ]
                unfit = [
                    (key, reasons) for key in keys if (reasons := store.unfit(key)) is not None
                ]
                if unfit:
                    refused.append(_no_ready_engine(bundle, *unfit[0], precision, engines))
                else:
                    found.append(precision)
        finally:
            gpu.close()
        if refused and not found:
            raise refused[0]
        return tuple(found)

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Load both engines: stored ones that fit this model, library and GPU, or new ones, which
        take seconds to minutes and are kept in the user's cache.

        Raises:
            BundleError: a graph's file was changed.
            NotSupportedError: the bundle has no graph for this precision, or there is no such GPU.
            DeviceError: the library or the GPU failed.
        """
        for graph in ("encoder", "decoder"):  # a changed bundle is an error in any case
            bundle.graph(graph, self._key(bundle, graph, options.precision))
        queue = DeviceQueue(options.device)
        try:
            encoder, decoder = both_graphs(
                lambda graph: self._open_graph(bundle, graph, options, queue)
            )
            memory = FrameMemory(queue, decoder)
            return Engines(encoder, decoder, queue.device.name, memory, queue.close)
        except BaseException:
            queue.close()
            raise

    @property
    def inner(self) -> InnerTensors:
        """Engines can be built that give out tensors by their names."""
        return self

    def named_outputs(
        self,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        names: Sequence[str],
        cases: Sequence[Arrays],
    ) -> list[dict[str, NDArray[Any]]]:
        """Tensors from inside `graph`; see `samedge.runtime.backend.InnerTensors`. For tensors from
        inside an engine is built and thrown away, which takes seconds to minutes; the graph's own
        outputs alone are those of the engine that a session would load."""
        key = self._key(bundle, graph, options.precision)
        bundle.graph(graph, key)
        entry, device = bundle.manifest.graphs[graph][key], Device(options.device)
        try:
            with device:
                if {*names} <= {tensor.name for tensor in entry.outputs}:
                    wanted = key_for(self._library, bundle, graph, key, device)
                    engine, _ = _obtain(self._library, bundle, wanted, options)
                    inside: tuple[str, ...] = ()
                else:
                    built = build_engine(
                        self._library,
                        bundle,
                        graph,
                        options.precision,
                        also=names,
                        capability=device.compute_capability,
                    )
                    engine, inside = Engine(self._library, built.data), built.also
                return named_outputs(engine, entry, inside, device, names, cases)
        finally:
            device.close()

    def _open_graph(
        self, bundle: Bundle, graph: str, options: LoadOptions, queue: DeviceQueue
    ) -> TensorRtEngine:
        key = self._key(bundle, graph, options.precision)
        with queue.device:
            wanted = key_for(self._library, bundle, graph, key, queue.device)
            engine, notes = _obtain(self._library, bundle, wanted, options)
            entry = bundle.manifest.graphs[graph][key]
            io = engine.io({tensor.name: tensor.shape for tensor in entry.tensors})
        return TensorRtEngine(queue, engine, io, options.cache, notes)

    def _key(self, bundle: Bundle, graph: str, precision: str) -> str:
        return graph_key(bundle.manifest, self.name, graph, precision, self.graphs)


class TensorRtEngine(GpuEngine):
    """An engine of either library. See `samedge.runtime.gpu.engine.GpuEngine`.

    Args:
        queue: of the session.
        engine: shared with other sessions.
        io: its inputs and outputs.
        cache: keep kernels that are compiled on this device.
        notes: what a user should know about the loading.
    """

    def __init__(
        self, queue: DeviceQueue, engine: Engine, io: GraphIO, cache: bool, notes: list[str]
    ) -> None:
        super().__init__(queue, io, notes)
        self._engine, self._cache = engine, cache
        self._scratch = Scratch(queue.device)

    def _work(self, inputs: Mapping[str, Any]) -> Context:
        return Context(self._engine, self._io, self._scratch, inputs)

    def _after_first(self, queue: DeviceQueue) -> None:
        if self._cache:
            key = _kernels_key(self._engine, queue.device.index)
            note = self._engine.keep_kernels(EngineStore.of_user(), key)
            self._notes += [note] if note is not None else []

    def _release(self) -> None:
        self._scratch.close()
        del self._engine  # its memory is the library's, and goes with the last session


TENSORRT = TensorRtBackend("tensorrt")
TENSORRT_RTX = TensorRtBackend("tensorrt_rtx")


def key_for(
    library: NvidiaLibrary, bundle: Bundle, graph: str, key: str, device: Device
) -> NvidiaKey:
    """What an engine has to fit to run on `device`.

    Args:
        library: TensorRT or TensorRT-RTX.
        bundle: open.
        graph: "encoder" or "decoder".
        key: of the graph's entry in the manifest, "fp16".
        device: the GPU.
    """
    digest, capability = graph_digest(bundle, graph, key), device.compute_capability
    return NvidiaKey(graph, key, digest, library.name, library.version, capability, device.name)


def _obtain(
    library: NvidiaLibrary, bundle: Bundle, key: NvidiaKey, options: LoadOptions
) -> tuple[Engine, list[str]]:
    """The engine, stored or new, and what a user should know about that."""
    store = _store(bundle, options.engines)
    found = store.find(key)
    if isinstance(found, StoredEngine):
        return _load(library, found, options)
    if options.engines:
        raise _no_ready_engine(bundle, key, found.reasons, options.precision, options.engines)
    start = time.monotonic()
    built = build_engine(
        library,
        bundle,
        key.graph,
        options.precision,
        progress=options.progress,
        capability=key.compute_capability,
    )
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


def _store(bundle: Bundle, engines: Sequence[Path]) -> EngineStore:
    """Where engines are looked for: where the user said, or in the bundle and in the cache."""
    return EngineStore(tuple(engines)) if engines else EngineStore.of_bundle(bundle)


def _no_ready_engine(
    bundle: Bundle,
    key: NvidiaKey,
    reasons: Sequence[str],
    precision: str,
    engines: Sequence[Path],
) -> NotSupportedError:
    """What was looked for in the folders that the user named, what lies there, and what to do."""
    here = sorted(path.name for folder in engines for path in folder.glob(f"*{ENDING}"))
    listed = ", ".join(here[:_LISTED]) + ", ..." * (len(here) > _LISTED)
    found = "; ".join(reasons) or f"it holds {listed or 'none'}"
    target = key.backend.replace("_", "-")
    return NotSupportedError(
        f"no engine in {shown(engines[-1])} fits the {key.graph} of {bundle.path.name} in "
        f"{precision} on this machine ({key.backend} {key.version}, {key.gpu}, "
        f"sm_{key.compute_capability}): {found}. Nothing was built in its place; build it: samedge "
        f"build {shown(bundle.path)} --target {target} --precision {precision} -o "
        f"{shown(engines[-1])}"
    )


def _load(
    library: NvidiaLibrary, found: StoredEngine, options: LoadOptions
) -> tuple[Engine, list[str]]:
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
