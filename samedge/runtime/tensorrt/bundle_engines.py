"""Engines of TensorRT for a bundle, ahead of time or on the device, behind the parity gate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from samedge._wording import did_you_mean
from samedge.bundle import Bundle, ParityRow
from samedge.errors import NotSupportedError
from samedge.progress import Progress, Step, silent
from samedge.runtime.choice import backend_name
from samedge.runtime.engines.building import (
    BuildResult,
    EngineRow,
    NoGpu,
    gate,
    gpu_here,
    installed,
    unchecked,
    work_folder,
)
from samedge.runtime.engines.keys import NvidiaKey, graph_digest
from samedge.runtime.engines.store import EngineStore, StoredEngine
from samedge.runtime.gpu.driver import Device, Gpu
from samedge.runtime.precision import graph_key
from samedge.runtime.tensorrt.builder import BuildOptions, build_engine
from samedge.runtime.tensorrt.layer_report import LayerReport
from samedge.runtime.tensorrt.library import NVIDIA_LIBRARIES, NvidiaLibrary

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class _Order:
    """One engine to be had: what it is for, and the precisions that it serves."""

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
    backend = backend_name(backend)
    if backend not in NVIDIA_LIBRARIES:
        raise NotSupportedError(
            f"there are no engines of '{backend}'; expected one of: {', '.join(NVIDIA_LIBRARIES)}"
            f"{did_you_mean(backend, NVIDIA_LIBRARIES)}"
        )
    library = NVIDIA_LIBRARIES[backend]
    given = options or BuildOptions()
    version = library.version  # the first thing to say is what is not installed
    gpu = gpu_here(device, library.cuda_major(), library.title)
    wanted = tuple(precisions) or available(bundle, backend)
    target = folder or EngineStore.of_bundle(bundle).folders[0]
    with ExitStack() as stack:
        work = stack.enter_context(work_folder(target)).path
        if isinstance(gpu, Gpu):  # the library builds for the calling thread's device
            stack.enter_context(_current(device))
        rows = []
        for order in _orders(bundle, library, version, wanted, _capabilities(capabilities, gpu)):
            target_gpu = order.key.compute_capability if capabilities else None
            how = replace(given, compute_capability=target_gpu)
            present = EngineStore(() if force else (target,))
            rows.append(_built(library, bundle, order, how, work, present, progress))
        reason = unchecked(rows, gpu)
        parity: tuple[ParityRow, ...] = ()
        if reason is None:
            parity = gate(bundle, backend, wanted, device, (work, target))
        kept = tuple(installed(row, parity, work, target) for row in rows)
    return BuildResult(target, kept, parity, reason)


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


def _capabilities(given: tuple[int, ...], gpu: Gpu | NoGpu) -> dict[int, str | None]:
    """Compute capability -> name of the GPU, None for one that is elsewhere."""
    if isinstance(gpu, NoGpu):
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

    built = build_engine(
        library,
        bundle,
        key.graph,
        order.precisions[0],
        options,
        tell,
        capability=key.compute_capability,
    )
    EngineStore((work,), bundle=bundle.path.name).save(
        key, built.data, options.record(), built.report
    )
    return EngineRow(
        name, key.graph, order.precisions, key.compute_capability, len(built.data),
        time.monotonic() - start, _kernels(built.report), "built", built.notes,
    )  # fmt: skip


def _kernels(report: LayerReport | None) -> int | None:
    return None if report is None else len(report.layers)
