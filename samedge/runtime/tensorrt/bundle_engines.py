"""Engines for a bundle, ahead of time or on the device, behind the parity gate.

Everything is built into a work folder first. Where the GPU is here, every precision is run on the
bundle's self-test frames and compared with the float32 reference; only then do the engines get
their names. A gate that fails, Ctrl-C or a crash leaves none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from samedge._wording import did_you_mean
from samedge.bundle import Bundle, ParityRow
from samedge.errors import NotSupportedError
from samedge.files.whole import output_error
from samedge.files.work_folder import WorkFolder
from samedge.progress import Progress, Step, silent
from samedge.runtime.backend import LoadOptions
from samedge.runtime.choice import backend_name, named_backend
from samedge.runtime.engines.keys import NvidiaKey, graph_digest
from samedge.runtime.engines.store import (
    EngineStore,
    StoredEngine,
    add_parity,
    move_engine,
    remove_engine,
)
from samedge.runtime.gpu.driver import Device, problem
from samedge.runtime.parity.verify import verify_session
from samedge.runtime.precision import graph_key
from samedge.runtime.session import Session
from samedge.runtime.tensorrt.builder import BuildOptions, build_engine
from samedge.runtime.tensorrt.layer_report import LayerReport
from samedge.runtime.tensorrt.library import NVIDIA_LIBRARIES, NvidiaLibrary

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class EngineRow:
    """One engine of a build.

    Attributes:
        file: its name.
        graph: "encoder" or "decoder".
        precisions: that it serves.
        compute_capability: of the GPU it is for, 86 for 8.6.
        bytes: size of the file.
        seconds: that its build took; 0 if it was there already.
        kernels: that it is made of; None if the library does not say.
        state: "built", "kept" (it was there, and fits), or "refused" by the parity gate.
        notes: what a user should know.
    """

    file: str
    graph: str
    precisions: tuple[str, ...]
    compute_capability: int
    bytes: int
    seconds: float
    kernels: int | None
    state: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildResult:
    """What a build gave.

    Attributes:
        folder: where the engines are.
        engines: one row each.
        parity: rows of the gate, as `samedge verify` gives them; empty if it could not run.
        unchecked: why the gate did not run; None if it did.
    """

    folder: Path
    engines: tuple[EngineRow, ...]
    parity: tuple[ParityRow, ...] = ()
    unchecked: str | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """Precisions that did not pass the gate."""
        return _failed(self.parity)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [asdict(row) for row in self.engines]
        gate = [row.to_json() for row in self.parity]
        return {"engines": rows, "parity": gate, "unchecked": self.unchecked}


@dataclass(frozen=True)
class _Order:
    """One engine to be had: what it is for, and the precisions that it serves."""

    key: NvidiaKey
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class _Gpu:
    """The GPU of this machine."""

    compute_capability: int
    name: str


@dataclass(frozen=True)
class _NoGpu:
    """This machine has no GPU to run engines on."""

    reason: str


def build_engines(
    bundle: Bundle,
    backend: str,
    precisions: tuple[str, ...] = (),
    capabilities: tuple[int, ...] = (),
    folder: Path | None = None,
    options: BuildOptions | None = None,
    force: bool = False,
    device: int = 0,
    progress: Progress = silent,
) -> BuildResult:
    """Build the encoder's and decoder's engines, check them on the GPU, and store them.

    Args:
        bundle: open.
        backend: "tensorrt" or "tensorrt_rtx".
        precisions: default: all that the bundle has graphs for.
        capabilities: compute capabilities to build for, 86 for 8.6 (TensorRT-RTX); default: this
            machine's GPU.
        folder: default: `engines` in the bundle's folder, or the user's cache for a zipped bundle.
        options: how to build.
        force: build also where an engine that fits is there.
        device: number of the GPU.
        progress: told the phase that the build of an engine is in.

    Raises:
        NotSupportedError: library, GPU, precision or option are not there; with the remedy.
        DeviceError: a build failed.
        OutputError: the folder cannot be written.
    """
    backend = backend_name(backend)
    if backend not in NVIDIA_LIBRARIES:
        raise NotSupportedError(
            f"there are no engines of '{backend}'; expected one of: {', '.join(NVIDIA_LIBRARIES)}"
            f"{did_you_mean(backend, NVIDIA_LIBRARIES)}"
        )
    library = NVIDIA_LIBRARIES[backend]
    given = options or BuildOptions()
    version = library.version  # the first thing to say is what is not installed
    gpu = _gpu(library, device)
    wanted = tuple(precisions) or available(bundle, backend)
    target = folder or EngineStore.of_bundle(bundle).folders[0]
    try:
        # Sessions refuse engines where others may write, and many systems' umask lets groups.
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        work_folder = WorkFolder(target)
    except OSError as error:
        raise output_error(error, target) from error
    with ExitStack() as stack:
        work = stack.enter_context(work_folder).path
        if isinstance(gpu, _Gpu):  # the library builds for the calling thread's device
            stack.enter_context(_current(device))
        rows = []
        for order in _orders(bundle, library, version, wanted, _capabilities(capabilities, gpu)):
            target_gpu = order.key.compute_capability if capabilities else None
            how = replace(given, compute_capability=target_gpu)
            present = EngineStore(() if force else (target,))
            rows.append(_built(library, bundle, order, how, work, present, progress))
        unchecked = _unchecked(rows, gpu)
        parity: tuple[ParityRow, ...] = ()
        if unchecked is None:
            parity = _gate(bundle, backend, wanted, device, (work, target))
        installed = tuple(_installed(row, parity, work, target) for row in rows)
    return BuildResult(target, installed, parity, unchecked)


@contextmanager
def _current(index: int) -> Iterator[None]:
    device = Device(index)
    try:
        with device:
            yield
    finally:
        device.close()


def available(bundle: Bundle, backend: str) -> tuple[str, ...]:
    """Precisions that the bundle has all graphs for.

    Raises:
        NotSupportedError: there is none.
    """
    found = []
    for precision in PRECISIONS:
        try:
            for graph in bundle.manifest.graphs:
                graph_key(bundle.manifest, backend, graph, precision)
        except NotSupportedError as error:
            missing = error
            continue
        found.append(precision)
    if not found:
        raise missing
    return tuple(found)


def _gpu(library: NvidiaLibrary, index: int) -> _Gpu | _NoGpu:
    """The GPU that engines can run on here."""
    reason = problem(library.cuda_major(), library.title)
    if reason is not None:
        return _NoGpu(reason.partition(";")[0])
    device = Device(index)
    try:
        return _Gpu(device.compute_capability, device.name)
    finally:
        device.close()


def _capabilities(given: tuple[int, ...], gpu: _Gpu | _NoGpu) -> dict[int, str | None]:
    """Compute capability -> name of the GPU, None for one that is elsewhere."""
    if isinstance(gpu, _NoGpu):
        if not given:
            raise NotSupportedError(
                f"no GPU to build for: {gpu.reason}; build on the device, or with "
                "--target tensorrt-rtx name its GPU: --sm 86 (RTX 30), 89 (RTX 40), 120 (RTX 50)"
            )
        return dict.fromkeys(given)
    here = gpu.compute_capability
    return {number: gpu.name if number == here else None for number in given or (here,)}


def _orders(
    bundle: Bundle,
    library: NvidiaLibrary,
    version: str,
    precisions: tuple[str, ...],
    gpus: dict[int, str | None],
) -> Iterator[_Order]:
    """One for each file of a graph that the precisions take, and each GPU."""
    for graph in bundle.manifest.graphs:
        served: dict[str, list[str]] = {}
        for precision in precisions:
            key = graph_key(bundle.manifest, library.name, graph, precision)
            served.setdefault(key, []).append(precision)
        for key, names in served.items():
            digest = graph_digest(bundle, graph, key)
            for capability, name in gpus.items():
                yield _Order(
                    NvidiaKey(graph, key, digest, library.name, version, capability, name),
                    tuple(names),
                )


def _built(
    library: NvidiaLibrary,
    bundle: Bundle,
    order: _Order,
    options: BuildOptions,
    work: Path,
    present: EngineStore,
    progress: Progress,
) -> EngineRow:
    """Build one engine into `work`, unless one that fits is there."""
    key = order.key
    name = f"{key.stem}.engine"
    found = present.find(key)
    if isinstance(found, StoredEngine) and found.record.options == options.record():
        record = found.record
        return EngineRow(
            found.path.name, key.graph, order.precisions, key.compute_capability, record.size,
            0.0, _kernels(record.report), "kept",
        )  # fmt: skip
    start = time.monotonic()

    def tell(step: Step, /) -> None:
        progress(replace(step, name=name))

    built = build_engine(library, bundle, key.graph, order.precisions[0], options, tell)
    EngineStore((work,), bundle=bundle.path.name).save(
        key, built.data, options.record(), built.report
    )
    return EngineRow(
        name, key.graph, order.precisions, key.compute_capability, len(built.data),
        time.monotonic() - start, _kernels(built.report), "built", built.notes,
    )  # fmt: skip


def _kernels(report: LayerReport | None) -> int | None:
    return None if report is None else len(report.layers)


def _unchecked(rows: Sequence[EngineRow], gpu: _Gpu | _NoGpu) -> str | None:
    """Why the engines cannot be run here; None if they can."""
    if isinstance(gpu, _NoGpu):
        return gpu.reason
    if gpu.compute_capability not in {row.compute_capability for row in rows}:
        return f"the GPU here ({gpu.name}) has sm_{gpu.compute_capability}"
    return None


def _gate(
    bundle: Bundle,
    backend: str,
    precisions: tuple[str, ...],
    device: int,
    folders: tuple[Path, ...],
) -> tuple[ParityRow, ...]:
    """Run the self-test with the new engines."""
    rows = []
    for precision in precisions:
        options = LoadOptions(precision, device=device, engines=folders)
        with Session(bundle, named_backend(backend), options, "") as session:
            rows.append(verify_session(session, bundle.selftest()))
    return tuple(rows)


def _installed(row: EngineRow, parity: Sequence[ParityRow], work: Path, target: Path) -> EngineRow:
    """Give an engine its name, if one of its precisions passed, and note what the gate said."""
    if set(row.precisions) <= set(_failed(parity)):
        remove_engine(target / row.file)  # one that was there is no better
        return replace(row, state="refused")
    engine = (work if row.state == "built" else target) / row.file
    add_parity(engine, [said.to_json() for said in parity if said.precision in row.precisions])
    if row.state == "built":
        move_engine(engine, target)
    return row


def _failed(parity: Sequence[ParityRow]) -> tuple[str, ...]:
    return tuple(row.precision for row in parity if not row.passed)
