"""Engines of samedge's own for a bundle: compiled on any machine, checked where the GPU is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from samedge.bundle import Bundle, ParityRow
from samedge.errors import NotSupportedError
from samedge.progress import Progress, Step, silent
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
from samedge.runtime.engines.keys import TritonKey
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.engines.records import ENDING
from samedge.runtime.engines.store import EngineStore, StoredEngine
from samedge.runtime.gpu.driver import Gpu
from samedge.runtime.precision import graph_key, runnable
from samedge.runtime.triton.backend import GRAPHS, TRITON, key_for
from samedge.runtime.triton.compiling import MAX_SIDE, compile_engine, without_kernels
from samedge.runtime.triton.engine import LEAST_CAPABILITY
from samedge.runtime.triton.engine_file import read_engine
from samedge.runtime.triton.plan import EnginePlan

BOTH = "both"  # graphs are in one engine
USUAL = ("fp16", "int8")  # precisions that are built where none is named


def build_engines(
    bundle: Bundle,
    precisions: tuple[str, ...] = (),
    capabilities: tuple[int, ...] = (),
    folder: Path | None = None,
    max_side: int = MAX_SIDE,
    force: bool = False,
    device: int = 0,
    progress: Progress = silent,
) -> BuildResult:
    """Build one engine for each precision, check them on the GPU if it is here, and store them.

    Args:
        bundle: open.
        precisions: default: fp16, and int8 if the bundle has it.
        capabilities: compute capabilities to build for, 87 for 8.7; default: this machine's GPU.
        folder: default: `engines` in the bundle's folder, or the user's cache for a zipped bundle.
        max_side: largest side of a frame, in px.
        force: build also where an engine that fits is there.
        device: number of the GPU.
        progress: told how far a build is.

    Returns:
        one row for each engine and kind of GPU.

    Raises:
        NotSupportedError: no GPU is named and none is here, no engine can be made for one of them,
            the bundle lacks graphs, there are no kernels for its network, or the compiler is not
            installed; with the remedy.
        DeviceError: the compiler failed.
        OutputError: the folder cannot be written.
    """
    if (reason := without_kernels(bundle)) is not None:
        raise NotSupportedError(reason)
    gpu = gpu_here(device)
    numbers = _capabilities(capabilities, gpu)
    wanted = precisions or _usual(bundle)
    keys = [_key(bundle, precision, numbers) for precision in wanted]
    target = folder or EngineStore.of_bundle(bundle).folders[0]
    with work_folder(target) as place:
        work = place.path
        present = EngineStore(() if force else (target,))
        engines = [_built(bundle, key, max_side, work, present, progress) for key in keys]
        not_here = unchecked([row for rows in engines for row in rows], gpu)
        parity: tuple[ParityRow, ...] = ()
        if not_here is None:
            parity = gate(bundle, TRITON.name, wanted, device, (work, target))
        kept = []
        for first, *others in engines:
            done = installed(first, parity, work, target)
            kept += [done, *(replace(row, state=done.state) for row in others)]
    return BuildResult(target, tuple(kept), parity, not_here)


def _capabilities(given: tuple[int, ...], gpu: Gpu | NoGpu) -> tuple[int, ...]:
    if not given and isinstance(gpu, NoGpu):
        raise NotSupportedError(
            f"no GPU to build for: {gpu.reason}; name those of your devices: --sm 87 (Orin), 86 "
            "(RTX 30), 89 (RTX 40), 120 (RTX 50)"
        )
    numbers = given or (gpu.compute_capability,) if isinstance(gpu, Gpu) else given
    old = [number for number in numbers if number < LEAST_CAPABILITY]
    if old:
        raise NotSupportedError(
            f"no engine of samedge's own for sm_{old[0]}: they are for sm_{LEAST_CAPABILITY} and "
            "newer (the compiler makes no tensor-core code for older GPUs); use --target tensorrt "
            "on the device"
        )
    return tuple(sorted({*numbers}))


def _usual(bundle: Bundle) -> tuple[str, ...]:
    there = runnable(bundle, TRITON)
    found = tuple(precision for precision in USUAL if precision in there)
    if not found:
        _key(bundle, USUAL[0], ())  # says which graph is missing
    return found


def _key(bundle: Bundle, precision: str, numbers: Sequence[int]) -> TritonKey:
    """What an engine is for; a bundle without the graphs for it is refused."""
    for graph in bundle.manifest.graphs:
        graph_key(bundle.manifest, TRITON.name, graph, precision, GRAPHS)
    return key_for(bundle, precision, numbers)


def _built(
    bundle: Bundle,
    key: TritonKey,
    max_side: int,
    work: Path,
    present: EngineStore,
    progress: Progress,
) -> list[EngineRow]:
    """Build an engine into `work`, unless one that fits is there; a row for each kind of GPU."""
    options = {"max_side": max_side}
    found = present.find(key)
    if isinstance(found, StoredEngine) and found.record.options == options:
        return _rows(found.path, read_engine(found.path).plan, found.record.size, 0.0, "kept")
    name = f"{key.stem}{ENDING}"
    start = time.monotonic()

    def tell(step: Step, /) -> None:
        progress(replace(step, name=name))

    with compile_engine(bundle, key, max_side, tell) as path:
        file = MappedFile(path)
        plan = read_engine(path).plan
        kept = EngineStore((work,), bundle=bundle.path.name).save(key, file.view(), options)
    seconds = time.monotonic() - start
    return _rows(kept.path, plan, kept.record.size, seconds, "built")


def _rows(path: Path, plan: EnginePlan, size: int, seconds: float, state: str) -> list[EngineRow]:
    return [
        EngineRow(path.name, BOTH, (plan.precision,), number, size, seconds, len(target.kernels),
                  state)
        for number, target in sorted(plan.targets.items())
    ]  # fmt: skip
