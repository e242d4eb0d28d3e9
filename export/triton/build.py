"""A bundle -> an engine file: traced, compiled for every GPU that is asked for, written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from samedge._version import __version__
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.export.triton.trace import PRECISIONS, Source, opened, trace
from samedge.geometry.frame_geometry import MAX_SIDE
from samedge.kernels.compile import Compiled, Signature, check_arch, compile_all, signature_of
from samedge.kernels.launch import Launch
from samedge.progress import Progress, silent
from samedge.runtime.triton.engine_file import Blob, write_engine
from samedge.runtime.triton.plan import EnginePlan, KernelCode, Program, Target


def build_engine_file(
    bundle: Bundle,
    precision: str,
    capabilities: Sequence[int],
    target: Path,
    *,
    max_side: int = MAX_SIDE,
    processes: int = 1,
    progress: Progress = silent,
) -> None:
    """Write an engine of a bundle, without a GPU.

    Args:
        bundle: open, with float32 graphs.
        precision: "fp16", "bf16", "fp32" or "int8".
        capabilities: of the GPUs that it is for, 87 for 8.7.
        target: the file to write.
        max_side: largest side of a frame, px.
        processes: that compile at a time.
        progress: told how many kernels are compiled.

    Raises:
        BundleError: a graph was changed, or is not of samedge's writing.
        NotSupportedError: no such precision, GPU or graph.
        DeviceError: a kernel does not compile.
        OutputError: the file cannot be written.
    """
    if precision not in PRECISIONS:
        raise NotSupportedError(
            f"there are no engines in '{precision}'; expected one of: {', '.join(PRECISIONS)}"
        )
    for capability in capabilities:
        check_arch(capability)
    code, targets = Blob(), {}
    with opened(bundle, precision) as source:
        for capability in dict.fromkeys(capabilities):
            kernels, programs = traced(source, precision, capability, max_side)
            compiled = compile_all(kernels, capability, processes, progress)
            entries = tuple(_entry(compiled[s], code) for s in kernels)
            targets[capability] = Target(capability, entries, programs)
        plan = _plan(source, precision, targets)
        constants = bytes(source.weights.own)
    write_engine(target, plan, constants, code.bytes())


def traced(
    source: Source, precision: str, capability: int, max_side: int
) -> tuple[list[Signature], tuple[Program, ...]]:
    """What is to be compiled, in the order of kernels' numbers, and the programs."""
    numbers: dict[Signature, int] = {}

    def kernel_of(launch: Launch) -> int:
        return numbers.setdefault(signature_of(launch), len(numbers))

    programs = trace(source, precision, capability, max_side, kernel_of)
    return list(numbers), programs


def _entry(compiled: Compiled, code: Blob) -> KernelCode:
    return KernelCode(
        compiled.signature.name,
        compiled.symbol,
        code.add(compiled.cubin),
        len(compiled.cubin),
        hashlib.sha256(compiled.cubin).hexdigest(),
        compiled.threads,
        compiled.parameters,
        compiled.resources,
    )


def _plan(source: Source, precision: str, targets: dict[int, Target]) -> EnginePlan:
    bundle, weights = source.bundle, source.weights
    used = sorted({weight.file for weight in weights.listed if weight.file})
    return EnginePlan(
        samedge=__version__,
        bundle=bundle.manifest.title,
        precision=precision,
        files={name: bundle.manifest.files[name].sha256 for name in used},
        weights=tuple(weights.listed),
        weights_size=weights.size,
        targets=targets,
    )
