"""Kernels compiled ahead of time, for GPUs that need not be there.

A `Signature` is everything that machine code depends on: kernel, types, constants, warps, stages.
`compile_all` compiles each once per compute capability, in processes of its own: Triton's compiler
ends a process for a target that it cannot handle, and a process that interprets kernels cannot
compile them.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any

from samedge.errors import DeviceError, NotSupportedError
from samedge.kernels.launch import Array, Launch, check_alignment
from samedge.kernels.resources import LIMITS, WARP, Code, code_of, resources_of
from samedge.kernels.tiles import ARCHITECTURES
from samedge.progress import Progress, Step, silent
from samedge.runtime.triton.plan import POINTER_ALIGNMENT, SCRATCH_POINTERS, Resources

# How samedge compiles, whatever the user's environment says. Line information would carry paths of
# the machine that compiles into the engine; FP fusion is off by default from Triton 3.10 on.
_ENVIRONMENT = {"TRITON_DISABLE_LINE_INFO": "1", "TRITON_DEFAULT_FP_FUSION": "1"}
_UNSET = (
    "TRITON_INTERPRET",
    "TRITON_DEBUG",
    "TRITON_KERNEL_OVERRIDE",
    "TRITON_INSTRUMENTATION_MODE",
    "DISABLE_PTXAS_OPT",
    "PTXAS_OPTIONS",
)
_ENTRY = re.compile(r"\.visible \.entry (\w+)\((.*?)\)", re.S)
_PARAMETER = re.compile(r"\.param \.(\w+)")


@dataclass(frozen=True)
class Signature:
    """What the machine code of a kernel depends on, besides the GPU.

    Attributes:
        kernel: where its function stands,
            "samedge.kernels.layers.row_statistics:row_statistics_kernel".
        types: its parameters that are no constants, in order, with Triton's name of their type:
            "*fp16", "i32"; None: a null pointer, which is compiled in.
        constants: its `tl.constexpr` parameters.
        warps, stages, registers: see `Tile`.
    """

    kernel: str
    types: tuple[tuple[str, str | None], ...]
    constants: tuple[tuple[str, Any], ...]
    warps: int
    stages: int
    registers: int = 0

    @property
    def name(self) -> str:
        """For messages: the function's name and what its pointers point to."""
        kinds = [t[1:] for _, t in self.types if t is not None and t.startswith("*")]
        return f"{self.kernel.partition(':')[2]} ({', '.join(kinds)})"

    @property
    def parameters(self) -> str:
        """Of the compiled kernel in order: "p" a pointer, "i" a 32-bit integer."""
        kinds = (kind for _, kind in self.types if kind is not None)
        return "".join("p" if kind.startswith("*") else "i" for kind in kinds)


@dataclass(frozen=True)
class Compiled:
    """A kernel for one compute capability.

    Attributes:
        signature: that it was compiled from.
        arch: compute capability, 87 for 8.7.
        cubin: machine code.
        ptx: the assembler's input.
        symbol: name of the function.
        threads: per block.
        shared: bytes of shared memory per block.
        parameters: as in `Signature`; behind them come `SCRATCH_POINTERS` null pointers.
        resources: what it takes.
    """

    signature: Signature
    arch: int
    cubin: bytes = field(repr=False)
    ptx: str = field(repr=False)
    symbol: str
    threads: int
    shared: int
    parameters: str
    resources: Resources

    @property
    def code(self) -> Code:
        """Its machine instructions; they are disassembled every time."""
        return code_of(self.cubin)


def signature_of(launch: Launch) -> Signature:
    """What a launch needs compiled.

    Raises:
        DeviceError: its arguments and constants are not the kernel's parameters, an integer does
            not fit into 32 bits, or an array is not aligned to 16 bytes.
    """
    function = launch.kernel.fn
    names: Sequence[str] = launch.kernel.arg_names
    _check_names(function.__name__, names, launch)
    types = []
    for name in names:
        if name in launch.constants:
            continue
        value = launch.arguments[name]
        if isinstance(value, Array):
            check_alignment(value, function.__name__, name)
        elif isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise DeviceError(f"{function.__name__}: {name} is {value}, more than 32 bits hold")
        types.append((name, _type_of(value)))
    return Signature(
        f"{function.__module__}:{function.__qualname__}",
        tuple(types),
        tuple((name, launch.constants[name]) for name in names if name in launch.constants),
        launch.tile.warps,
        launch.tile.stages,
        launch.tile.registers,
    )


def _check_names(kernel: str, names: Sequence[str], launch: Launch) -> None:
    given = [*launch.arguments, *launch.constants]
    missing, unknown = set(names) - set(given), set(given) - set(names)
    if missing or unknown or len(given) != len(names):
        raise DeviceError(
            f"{kernel}: a launch gives {sorted(given)}, the kernel takes {sorted(names)}: each "
            "parameter once, as argument or as constant"
        )


def _type_of(value: object) -> str | None:
    if value is None:
        return None
    return f"*{value.dtype}" if isinstance(value, Array) else "i32"


def compile_one(signature: Signature, arch: int) -> Compiled:
    """Compile a kernel in this process.

    Args:
        signature: of `signature_of`.
        arch: compute capability, one of `ARCHITECTURES`.

    Raises:
        NotSupportedError: samedge has no kernels for that GPU.
        DeviceError: Triton refuses the kernel, or what it makes does not fit the GPU.
    """
    check_arch(arch)
    compiled = measured(signature, arch)
    check_fit(compiled)
    return compiled


def compile_for_engine(signature: Signature, arch: int) -> Compiled:
    """As `compile_one`, for a size that no tile was tried with: code that keeps registers in memory
    is compiled again with fewer stages of loads, and taken where that does not help. It is right,
    if slower; its resources say so.

    Raises:
        as `compile_one`, but not for spills.
    """
    check_arch(arch)
    best = None
    for stages in range(signature.stages, 0, -1):
        compiled = measured(replace(signature, stages=stages), arch)
        check_fit(compiled, spills=True)
        if best is None or compiled.resources.spilled < best.resources.spilled:
            best = compiled
        if not best.resources.spilled:
            break
    assert best is not None
    return best


def check_arch(arch: int) -> None:
    """Refuse GPUs that samedge builds no engines for.

    Raises:
        NotSupportedError: with the remedy.
    """
    if arch in ARCHITECTURES:
        return
    known = ", ".join(f"sm_{a}" for a in ARCHITECTURES)
    why = ""
    if arch < 80:
        why = (
            " Triton makes no tensor-core code for GPUs before sm_80 (and does not say so): use "
            "--target tensorrt there, or the CPU."
        )
    raise NotSupportedError(f"samedge has no Triton kernels for sm_{arch}, only for {known}.{why}")


def check_fit(compiled: Compiled, spills: bool = False) -> None:
    """Refuse code that would not start, or that keeps registers in memory.

    Args:
        compiled: the code.
        spills: registers in memory are allowed.

    Raises:
        DeviceError: with the numbers; another tile in tiles.json is the remedy.
    """
    limit, needs = LIMITS[compiled.arch].shared_per_block, compiled.resources
    what = f"{compiled.signature.name} for sm_{compiled.arch}"
    remedy = "choose a smaller tile for it in tiles.json"
    if compiled.shared > limit:
        raise DeviceError(
            f"{what} takes {compiled.shared} bytes of shared memory per block, at most {limit} "
            f"are there: {remedy}"
        )
    if needs.spilled and not spills:
        raise DeviceError(f"{what} spills {needs.spilled} bytes of registers: {remedy}")
    if needs.blocks == 0:
        raise DeviceError(
            f"{what} takes {needs.registers} registers in {compiled.threads} threads, more than a "
            f"multiprocessor has: {remedy}"
        )


def measured(signature: Signature, arch: int) -> Compiled:
    """Compile a kernel, whether it fits or not.

    Raises:
        DeviceError: as `translated`; or the engine's runtime could not start it.
    """
    kernel = translated(signature, arch)
    cubin, facts = kernel.asm["cubin"], kernel.metadata
    if facts.global_scratch_size or facts.profile_scratch_size:
        raise DeviceError(f"{signature.name} needs scratch memory, which samedge's engines lack")
    ptx, threads = kernel.asm["ptx"], facts.num_warps * WARP
    return Compiled(
        signature=signature,
        arch=arch,
        cubin=cubin,
        ptx=ptx,
        symbol=facts.name,
        threads=threads,
        shared=facts.shared,
        parameters=signature.parameters,
        resources=resources_of(cubin, ptx, arch, threads, facts.shared, facts.tmem_size),
    )


def translated(signature: Signature, arch: int, line_info: bool = False) -> Any:
    """Triton's own compiled kernel (`asm["ptx"]`, `asm["cubin"]`, `metadata`).

    Args:
        signature: of `signature_of`.
        arch: compute capability; others than samedge's own may end the process.
        line_info: the PTX says which line of the source an instruction belongs to. Such code holds
            paths of this machine, and is not for an engine.

    Raises:
        DeviceError: Triton refuses the kernel, or this process interprets kernels.
    """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as triton_compile

    function = _function(signature)
    order: Sequence[str] = function.arg_names
    constants = dict(signature.constants) | {n: None for n, kind in signature.types if kind is None}
    kinds = {name: kind or "constexpr" for name, kind in signature.types}
    types = {name: kinds.get(name, "constexpr") for name in order}
    # Without it there are no 16-byte loads and no asynchronous copies.
    aligned = {
        (place,): [["tt.divisibility", POINTER_ALIGNMENT]]
        for place, name in enumerate(order)
        if types[name].startswith("*")
    }
    source = ASTSource(function, types, constants, aligned)
    options = {
        "num_warps": signature.warps,
        "num_stages": signature.stages,
        "maxnreg": signature.registers or None,
        "enable_fp_fusion": True,
    }
    try:
        with _line_info(line_info):
            kernel = triton_compile(source, GPUTarget("cuda", arch, WARP), options)
    except Exception as error:  # of many kinds, some of which do not survive a process boundary
        raise DeviceError(
            f"{signature.name} does not compile for sm_{arch}: {type(error).__name__}: {error}"
        ) from error
    _check_parameters(signature, kernel.asm["ptx"])
    return kernel


def _function(signature: Signature) -> Any:
    module, _, name = signature.kernel.partition(":")
    function = getattr(importlib.import_module(module), name)
    if not hasattr(function, "cache_key"):
        raise DeviceError(
            f"{name} cannot be compiled in a process in which TRITON_INTERPRET was set when the "
            "kernels were imported: unset it, or use compile_all"
        )
    return function


@contextmanager
def _line_info(wanted: bool) -> Iterator[None]:
    from triton import knobs

    with knobs.compilation.scope():
        knobs.compilation.disable_line_info = not wanted
        yield


def _check_parameters(signature: Signature, ptx: str) -> None:
    """Triton's parameters are ours in order, and the scratch pointers behind them."""
    entry = _ENTRY.search(ptx)
    kinds = "".join(
        "p" if bits == "u64" else "i" for bits in _PARAMETER.findall(entry[2] if entry else "")
    )
    expected = signature.parameters + "p" * SCRATCH_POINTERS
    if kinds != expected:
        raise DeviceError(
            f"{signature.name} came with the parameters '{kinds}', expected '{expected}': this "
            "version of triton does not fit; use the one that samedge's constraints.txt names"
        )


def compile_all(
    signatures: Iterable[Signature], arch: int, processes: int = 1, progress: Progress = silent
) -> Mapping[Signature, Compiled]:
    """Compile an engine's kernels for one compute capability (`compile_for_engine`), each once, in
    processes of their own.

    What was compiled before comes from Triton's cache on disk (`TRITON_CACHE_DIR`, else
    `~/.triton/cache`). The same signatures give the same bytes.

    Args:
        signatures: of `signature_of`; repeated ones are compiled once.
        arch: compute capability, one of `ARCHITECTURES`.
        processes: that compile at a time; each takes one processor and up to 1 GB.
        progress: is told how many are finished.

    Returns:
        The compiled kernels, in the order in which their signatures first came.

    Raises:
        NotSupportedError: samedge has no kernels for that GPU.
        DeviceError: Triton refuses a kernel, its compiler ends the process, or what it makes does
            not fit the GPU.
    """
    found: dict[Signature, Compiled] = {}
    results = compile_each(signatures, arch, processes, progress, compile_for_engine)
    for signature, result in results.items():
        if isinstance(result, DeviceError):
            raise result
        found[signature] = result
    return found


def compile_each(
    signatures: Iterable[Signature],
    arch: int,
    processes: int = 1,
    progress: Progress = silent,
    one: Callable[[Signature, int], Compiled] = compile_one,
) -> Mapping[Signature, Compiled | DeviceError]:
    """As `compile_all`; a kernel that does not compile or fit has its error in place of its code.

    Args:
        signatures, arch, processes, progress: as for `compile_all`.
        one: compiles one, `compile_one` or `compile_for_engine`.

    Raises:
        NotSupportedError: samedge has no kernels for that GPU.
        DeviceError: the compiler ends its process.
    """
    check_arch(arch)
    wanted = list(dict.fromkeys(signatures))
    if not wanted:
        return {}
    pool = ProcessPoolExecutor(
        min(processes, len(wanted)), get_context("spawn"), initializer=_set_up
    )
    try:
        futures = {pool.submit(_attempt, one, signature, arch): signature for signature in wanted}
        found = dict(_finished(futures, arch, progress))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return {signature: found[signature] for signature in wanted}


def _attempt(
    one: Callable[[Signature, int], Compiled], signature: Signature, arch: int
) -> Compiled | DeviceError:
    try:
        return one(signature, arch)
    except DeviceError as error:
        return error


def _finished(
    futures: Mapping[Future[Compiled | DeviceError], Signature], arch: int, progress: Progress
) -> Iterator[tuple[Signature, Compiled | DeviceError]]:
    name, total = f"compiling kernels for sm_{arch}", len(futures)
    progress(Step(name, 0, total))
    open_ones = dict(futures)
    for done, future in enumerate(as_completed(futures), 1):
        try:
            result = future.result()
        except BrokenProcessPool as error:
            names = ", ".join(dict.fromkeys(s.name for s in list(open_ones.values())[:3]))
            raise DeviceError(
                f"the compiler ended its process while it was compiling for sm_{arch}, at {names} "
                "or soon after: too little memory, or a kernel that this version of triton cannot "
                "compile for that GPU; use fewer processes, or the version of triton that "
                "samedge's constraints.txt names"
            ) from error
        yield open_ones.pop(future), result
        progress(Step(name, done, total))


def _set_up() -> None:
    """In a new process, before Triton is imported there."""
    os.environ.update(_ENVIRONMENT)
    for name in _UNSET:
        os.environ.pop(name, None)
