"""samedge's own engine on NVIDIA GPUs from sm_80 on: it needs the driver and nothing else.

Engines come from the bundle, from the user's cache, or are compiled when they are first needed,
where the triton package is installed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError, OutputError
from samedge.files.paths import shown
from samedge.progress import Progress
from samedge.runtime.backend import (
    Backend,
    Engines,
    GraphIO,
    GraphKeys,
    LoadOptions,
    TensorSpec,
    both_graphs,
)
from samedge.runtime.engines.keys import TritonKey, graphs_digest
from samedge.runtime.engines.records import ENDING
from samedge.runtime.engines.store import EngineStore, StoredEngine
from samedge.runtime.gpu.driver import Device, Gpu, problem
from samedge.runtime.gpu.engine import DeviceQueue, FrameMemory
from samedge.runtime.gpu.replay import Scratch
from samedge.runtime.precision import graph_key, runnable
from samedge.runtime.triton.compiling import (
    MAX_SIDE,
    cannot_compile,
    compile_engine,
    without_kernels,
)
from samedge.runtime.triton.engine import LoadedEngine, TritonEngine, too_old
from samedge.runtime.triton.engine_file import EngineFile, parse_engine, read_engine
from samedge.runtime.triton.plan import FORMAT

_LISTED = 8  # engines that a message names
# Engines are made from the float32 graphs: what they compute in is the engine's, not the graph's.
GRAPHS: GraphKeys = {
    "fp32": {"encoder": ("fp32",), "decoder": ("fp32",)},
    "fp16": {"encoder": ("fp32",), "decoder": ("fp32",)},
    "bf16": {"encoder": ("fp32",), "decoder": ("fp32",)},
    "int8": {"encoder": ("int8",), "decoder": ("fp32",)},
}


class TritonBackend(Backend):
    """See the module, and `samedge.runtime.backend.Backend`."""

    name = "triton"
    graphs = GRAPHS

    def unavailable(self) -> str | None:
        """Why this backend cannot run here, with the remedy; None if it can."""
        if (reason := problem()) is not None:
            return reason
        gpu = Gpu(0)
        return too_old(gpu.compute_capability, gpu.name)

    def precisions(self) -> tuple[str, ...]:
        """All that engines can be built for."""
        return ("fp16", "bf16", "int8", "fp32")

    def proven(
        self, bundle: Bundle, precision: str, device: int = 0, engines: Sequence[Path] = ()
    ) -> bool | None:
        """Whether an engine of this precision passed the parity gate of `samedge build` on a GPU
        like number `device` here; None if that was not tried."""
        return _store(bundle, engines).passed(_key_here(bundle, precision, device), precision)

    def unready(self, bundle: Bundle, device: int = 0) -> str | None:
        """That there are no kernels for it; where nothing can be compiled: that no engine is here
        which `auto` may take."""
        if (reason := without_kernels(bundle)) is not None:
            return reason
        precisions = runnable(bundle, self)
        if not precisions:
            return _no_graphs(bundle)
        lacking = cannot_compile()
        if lacking is None:
            return None
        store = _store(bundle, ())
        for precision in precisions:
            fits = store.unfit(_key_here(bundle, precision, device)) is None
            if fits and (precision == "fp32" or self.proven(bundle, precision, device)):
                return None
        return (
            f"no engine of this bundle for this GPU that was verified on it, and {lacking}; "
            f"{_remedy(bundle, 'fp16', Gpu(device).compute_capability)}"
        )

    def ready(self, bundle: Bundle, engines: Sequence[Path], device: int = 0) -> tuple[str, ...]:
        """Precisions that the engines in these folders serve, by their records; see
        `samedge.runtime.backend.Backend`."""
        _check(bundle)
        store, found, refused = EngineStore(tuple(engines)), [], []
        for precision in runnable(bundle, self):
            key = _key_here(bundle, precision, device)
            reasons = store.unfit(key)
            if reasons is None:
                found.append(precision)
            else:
                refused.append(_no_engine(bundle, key, reasons, engines))
        if not found:
            raise refused[0] if refused else NotSupportedError(_no_graphs(bundle))
        return tuple(found)

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Load the engine: a stored one that fits this model and GPU, or a new one, which takes
        minutes and is kept in the user's cache.

        Raises:
            BundleError: a graph's file was changed.
            NotSupportedError: there is no engine for this GPU and none can be compiled here, or
                the driver is too old, or there is no such GPU; or there are no kernels for the
                bundle's network.
            DeviceError: out of memory, or the GPU failed.
        """
        _check(bundle)
        for graph in ("encoder", "decoder"):  # a changed bundle is an error in any case
            bundle.graph(graph, graph_key(bundle.manifest, self.name, graph, options.precision,
                                          self.graphs))  # fmt: skip
        queue = DeviceQueue(options.device)
        arena = Scratch(queue.device)

        def release() -> None:
            try:
                with queue.device:
                    arena.close()
            finally:
                queue.close()

        try:
            file, notes = self._obtain(bundle, options, queue.device)
            encoder, decoder = both_graphs(
                lambda graph: self._engine(bundle, graph, options, queue, file, arena, notes)
            )
            memory = FrameMemory(queue, decoder)
            return Engines(encoder, decoder, queue.device.name, memory, release)
        except BaseException:
            release()
            raise

    def _engine(
        self,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        queue: DeviceQueue,
        file: EngineFile,
        arena: Scratch,
        notes: list[str],
    ) -> TritonEngine:
        key = graph_key(bundle.manifest, self.name, graph, options.precision, self.graphs)
        entry = bundle.manifest.graphs[graph][key]
        specs = {tensor.name: TensorSpec(tensor.name, tensor.dtype, tensor.shape)
                 for tensor in entry.tensors}  # fmt: skip
        io = GraphIO(
            tuple(specs[tensor.name] for tensor in entry.inputs),
            tuple(specs[tensor.name] for tensor in entry.outputs),
        )
        told = notes if graph == "encoder" else []
        with queue.device:
            engine = LoadedEngine.acquire(file, bundle, queue.device)
            try:
                return TritonEngine(queue, engine, graph, io, arena, told)
            except BaseException:
                engine.release()
                raise

    def _obtain(
        self, bundle: Bundle, options: LoadOptions, device: Device
    ) -> tuple[EngineFile, list[str]]:
        """The engine, stored or new, and what a user should know about that."""
        old = too_old(device.compute_capability, device.name)
        if old is not None:
            raise NotSupportedError(old)
        key = key_for(bundle, options.precision, (device.compute_capability,))
        store = _store(bundle, options.engines)
        found = store.find(key)
        if isinstance(found, StoredEngine):
            return parse_engine(found.file, found.path.name), []
        if options.engines:
            raise _no_engine(bundle, key, found.reasons, options.engines)
        lacking = cannot_compile()
        if lacking is not None:
            reasons = "".join(f"; {reason}" for reason in found.reasons)
            raise NotSupportedError(
                f"there is no engine of {bundle.path.name} in {options.precision} for this GPU "
                f"({device.name}, sm_{device.compute_capability}){reasons}, and {lacking}; "
                f"{_remedy(bundle, options.precision, device.compute_capability)}"
            )
        return _compiled(bundle, key, store, options.cache, options.progress, found.reasons)


TRITON = TritonBackend()


def key_for(bundle: Bundle, precision: str, capabilities: Sequence[int]) -> TritonKey:
    """What an engine has to fit.

    Args:
        bundle: open.
        precision: of the engine.
        capabilities: compute capabilities of the GPUs that it is to run on.
    """
    manifest = bundle.manifest
    keys = {
        graph: graph_key(manifest, TritonBackend.name, graph, precision, GRAPHS)
        for graph in manifest.graphs
    }
    numbers = tuple(str(number) for number in sorted({*capabilities}))
    return TritonKey(precision, graphs_digest(bundle, keys), FORMAT, numbers)


def _check(bundle: Bundle) -> None:
    """Raise NotSupportedError for a bundle that no engine can be made from."""
    if (reason := without_kernels(bundle)) is not None:
        raise NotSupportedError(reason)


def _key_here(bundle: Bundle, precision: str, device: int) -> TritonKey:
    return key_for(bundle, precision, (Gpu(device).compute_capability,))


def _store(bundle: Bundle, engines: Sequence[Path]) -> EngineStore:
    """Where engines are looked for: where the user said, or in the bundle and in the cache."""
    return EngineStore(tuple(engines)) if engines else EngineStore.of_bundle(bundle)


def _compiled(
    bundle: Bundle,
    key: TritonKey,
    store: EngineStore,
    keep: bool,
    progress: Progress,
    reasons: Sequence[str],
) -> tuple[EngineFile, list[str]]:
    """A new engine for this GPU, and what a user should know about it."""
    start = time.monotonic()
    with compile_engine(bundle, key, MAX_SIDE, progress) as path:
        seconds = time.monotonic() - start
        notes = [*reasons, f"the engine was compiled here, in {seconds:.0f} s"]
        file = read_engine(path)
        if keep:
            try:
                kept = store.save(key, file.data, {"max_side": MAX_SIDE})
            except OutputError as error:
                notes.append(f"it could not be kept for the next start: {error}")
            else:
                return parse_engine(kept.file, kept.path.name), notes
        return file, notes


def _no_graphs(bundle: Bundle) -> str:
    return (
        f"{bundle.path.name} has no float32 graphs, which engines are made from; export it again "
        "with fp32 among --precision"
    )


def _remedy(bundle: Bundle, precision: str, capability: int) -> str:
    return (
        f"build it on a workstation: samedge build {shown(bundle.path)} --target triton "
        f"--sm {capability} --precision {precision}"
    )


def _no_engine(
    bundle: Bundle, key: TritonKey, reasons: Sequence[str], engines: Sequence[Path]
) -> NotSupportedError:
    """What was looked for in the folders that the user named, what lies there, and what to do."""
    here = sorted(path.name for folder in engines for path in folder.glob(f"*{ENDING}"))
    listed = ", ".join(here[:_LISTED]) + ", ..." * (len(here) > _LISTED)
    found = "; ".join(reasons) or f"it holds {listed or 'none'}"
    (capability,) = key.capabilities
    return NotSupportedError(
        f"no engine in {shown(engines[-1])} fits {bundle.path.name} in {key.precision} on this "
        f"machine (triton, sm_{capability}): {found}. Nothing was built in its place; "
        f"{_remedy(bundle, key.precision, int(capability))} -o {shown(engines[-1])}"
    )
