"""Engines for a bundle, ahead of time or on the device, behind the parity gate.

Everything is built into a work folder first. Where the GPU is here, every precision is run on the
bundle's self-test frames and compared with the float32 reference; only then do the engines get
their names. A gate that fails, Ctrl-C or a crash leaves none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.files.whole import output_error
from samedge.files.work_folder import WorkFolder
from samedge.progress import Progress, Step, silent
from samedge.runtime.backend import BACKENDS, LoadOptions, backend_class
from samedge.runtime.engines.keys import NvidiaKey, graph_digest
from samedge.runtime.engines.store import (
    EngineStore,
    StoredEngine,
    add_parity,
    move_engine,
    remove_engine,
)
from samedge.runtime.gpu.driver import Device, problem
from samedge.runtime.parity.verify import Row, verify_session
from samedge.runtime.precision import graph_key
from samedge.runtime.session import Session
from samedge.runtime.tensorrt.builder import BuildOptions, build_engine
from samedge.runtime.tensorrt.layer_report import LayerReport
from samedge.runtime.tensorrt.library import LIBRARIES, Library

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


@dataclass
class BuildResult:
    """What a build gave.

    Attributes:
        folder: where the engines are.
        engines: one row each.
        parity: rows of the gate, as `samedge verify` gives them; empty if it could not run.
        unchecked: why the gate did not run; None if it did.
    """

    folder: Path
    engines: list[EngineRow] = field(default_factory=list)
    parity: list[Row] = field(default_factory=list)
    unchecked: str | None = None

    @property
    def failed(self) -> list[str]:
        """Precisions that did not pass the gate."""
        return [str(row["precision"]) for row in self.parity if not row["passed"]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [asdict(row) for row in self.engines]
        return {"engines": rows, "parity": self.parity, "unchecked": self.unchecked}


@dataclass(frozen=True)
class _Job:
    key: NvidiaKey
    precisions: tuple[str, ...]


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
    library = LIBRARIES[backend]
    given = options or BuildOptions()
    version = library.version  # the first thing to say is what is not installed
    gpu = _gpu(library, device)
    wanted = tuple(precisions) or available(bundle, backend)
    target = folder or EngineStore.of_bundle(bundle).folders[0]
    result = BuildResult(target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        work_folder = WorkFolder(target)
    except OSError as error:
        raise output_error(error, target) from error
    with ExitStack() as stack:
        work = stack.enter_context(work_folder)
        if not isinstance(gpu, str):  # the library builds for the calling thread's device
            stack.enter_context(_current(device))
        for job in _jobs(bundle, library, version, wanted, _capabilities(capabilities, gpu)):
            to_do = replace(given, compute_capability=_target(job, capabilities))
            result.engines.append(
                _build(library, bundle, job, to_do, work.path, None if force else target, progress)
            )
        _gate(bundle, library, wanted, gpu, device, (work.path, target), result)
        for row in result.engines:
            place = work.path if row.state == "built" else target
            add_parity(
                place / row.file, [r for r in result.parity if r["precision"] in row.precisions]
            )
        _install(work.path, result)
    return result


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
            for graph in bundle.manifest["graphs"]:
                graph_key(bundle.manifest, backend, graph, precision)
        except NotSupportedError as error:
            missing = error
            continue
        found.append(precision)
    if not found:
        raise missing
    return tuple(found)


def _gpu(library: Library, index: int) -> tuple[int, str] | str:
    """Compute capability and name of the GPU, or why there is none to run engines on."""
    reason = problem(library.cuda_major(), library.title)
    if reason is not None:
        return reason
    device = Device(index)
    try:
        return device.compute_capability, device.name
    finally:
        device.close()


def _capabilities(given: tuple[int, ...], gpu: tuple[int, str] | str) -> dict[int, str | None]:
    """Compute capability -> name of the GPU, None for one that is elsewhere."""
    if isinstance(gpu, str):
        if not given:
            raise NotSupportedError(
                f"no GPU to build for: {gpu.partition(';')[0]}; build on the device, or with "
                "--target tensorrt-rtx name its GPU: --sm 86 (RTX 30), 89 (RTX 40), 120 (RTX 50)"
            )
        return dict.fromkeys(given)
    here, name = gpu
    return {number: name if number == here else None for number in given or (here,)}


def _target(job: _Job, given: tuple[int, ...]) -> int | None:
    return job.key.compute_capability if given else None


def _jobs(
    bundle: Bundle,
    library: Library,
    version: str,
    precisions: tuple[str, ...],
    gpus: dict[int, str | None],
) -> Iterator[_Job]:
    """One for each file of a graph that the precisions take, and each GPU."""
    for graph in bundle.manifest["graphs"]:
        served: dict[str, list[str]] = {}
        for precision in precisions:
            key = graph_key(bundle.manifest, library.name, graph, precision)
            served.setdefault(key, []).append(precision)
        for key, names in served.items():
            digest = graph_digest(bundle, bundle.manifest["graphs"][graph][key]["file"])
            for capability, name in gpus.items():
                yield _Job(
                    NvidiaKey(graph, key, digest, library.name, version, capability, name),
                    tuple(names),
                )


def _build(
    library: Library,
    bundle: Bundle,
    job: _Job,
    options: BuildOptions,
    work: Path,
    present: Path | None,
    progress: Progress,
) -> EngineRow:
    """Build one engine into `work`, unless one that fits is in `present`."""
    key = job.key
    row = EngineRow(
        f"{key.stem}.engine",
        key.graph,
        job.precisions,
        key.compute_capability,
        0,
        0.0,
        None,
        "kept",
    )
    found = EngineStore(() if present is None else (present,)).find(key)
    if isinstance(found, StoredEngine) and found.record.options == options.record():
        record = found.record
        return replace(
            row, file=found.path.name, bytes=record.size, kernels=_kernels(record.report)
        )
    start = time.monotonic()

    def tell(step: Step, /) -> None:
        progress(replace(step, name=row.file))

    built = build_engine(library, bundle, key.graph, job.precisions[0], options, tell)
    EngineStore((work,)).save(key, built.data, options.record(), built.report)
    return replace(
        row,
        bytes=len(built.data),
        seconds=time.monotonic() - start,
        kernels=_kernels(built.report),
        state="built",
        notes=built.notes,
    )


def _kernels(report: LayerReport | None) -> int | None:
    return None if report is None else len(report.layers)


def _gate(
    bundle: Bundle,
    library: Library,
    precisions: tuple[str, ...],
    gpu: tuple[int, str] | str,
    device: int,
    folders: tuple[Path, ...],
    result: BuildResult,
) -> None:
    """Run the self-test with the new engines, where their GPU is here."""
    built_for = {row.compute_capability for row in result.engines}
    if isinstance(gpu, str):
        result.unchecked = gpu.partition(";")[0]
        return
    if gpu[0] not in built_for:
        result.unchecked = f"the GPU here ({gpu[1]}) has sm_{gpu[0]}"
        return
    assert library.name in BACKENDS
    for precision in precisions:
        options = LoadOptions(precision, device=device, engines=folders)
        with Session(bundle, backend_class(library.name), options, "") as session:
            result.parity.append(verify_session(session, bundle.selftest()))


def _install(work: Path, result: BuildResult) -> None:
    """Give the engines of the precisions that passed their names; the records come last."""
    failed = set(result.failed)
    for at, row in enumerate(result.engines):
        if failed.issuperset(row.precisions):
            result.engines[at] = replace(row, state="refused")
            remove_engine(result.folder / row.file)  # one that was there is no better
        elif row.state == "built":
            move_engine(work / row.file, result.folder)
