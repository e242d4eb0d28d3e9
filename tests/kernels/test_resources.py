"""What every kernel of an encoder and decoder of official size takes of a GPU that is not here."""

from __future__ import annotations

import ctypes
import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from samedge.errors import DeviceError
from samedge.kernels.compile import (
    Compiled,
    Signature,
    check_fit,
    compile_each,
    compile_one,
    signature_of,
)
from samedge.kernels.launch import Array, Launch
from samedge.kernels.resources import LIMITS, WARP, code_of, resident_blocks, resources_of
from samedge.kernels.torch_runner import DTYPES
from samedge.kernels.tune.workloads import WORKLOADS, Recorder, recorded
from tests.kernels.ptx.cases import Case
from tests.kernels.samples import product_signature

SMALL = (86, 87, 89)  # GPUs of carts, with 1536 threads per multiprocessor
# Kernels without products of matrices, and those whose only loops are over few numbers.
NO_PRODUCTS = (
    "row_statistics_kernel",
    "join_parts_kernel",
    "rms_norm_kernel",
    "layer_norm_kernel",
    "depth_attention_kernel",
    "resize_kernel",
    "prompt_tokens_kernel",
)
# What has no workload yet: the decoder's kernels and INT8, by the tests' own cases at true widths.
_DECODER = (
    Case("mask prompt", "decoder.test_mask_prompt:keys", {"prompts": 1, "grid": 16, "width": 256}),
    Case(
        "mask head",
        "decoder.test_mask_head:logits",
        {"objects": 1, "masks": 3, "grid": 16, "width": 256},
    ),
    Case(
        "image update",
        "decoder.test_image_update:update",
        {"objects": 1, "shared": 1, "grid": 16, "tokens": 7, "width": 256, "inner": 128},
    ),
    Case(
        "token self-attention",
        "decoder.test_token_layer:self_half",
        {"objects": 1, "tokens": 7, "width": 256},
    ),
    Case(
        "token update",
        "decoder.test_token_layer:update_half",
        {"objects": 1, "tokens": 7, "width": 256, "hidden": 2048},
    ),
    Case(
        "final tokens",
        "decoder.test_final_tokens:final",
        {"objects": 1, "tokens": 7, "width": 256, "wide": 256},
    ),
    Case(
        "prompt tokens",
        "decoder.test_prompt_tokens:tokens",
        {"objects": 1, "points": 2, "width": 256},
        (),
    ),
    Case(
        "INT8",
        "layers.linear_case:product",
        {"shape": (256,), "inner": 768, "columns": 768, "int8": True, "norm": "affine"},
        ("weights", "inputs"),
    ),
)


class _Recorder(Recorder):
    """Results are of the right shape, and empty."""

    def result(self, array: Array) -> torch.Tensor:
        shape = [int(size) for size in array.shape]  # type: ignore[arg-type]
        return torch.zeros(shape, dtype=DTYPES[array.dtype])


def launches(arch: int, dtype: str) -> Iterator[Launch]:
    for work in WORKLOADS:
        yield from recorded(work, dtype, arch)
    for case in _DECODER:
        run = _Recorder(arch)
        case.error(run, dtype)
        yield from run.launches


@cache
def signatures(arch: int, dtype: str) -> tuple[Signature, ...]:
    return tuple(dict.fromkeys(map(signature_of, launches(arch, dtype))))


def one_of_each(arch: int, dtype: str) -> list[Signature]:
    """Every kernel with every tile of it once, at the first of its sizes."""
    found: dict[tuple[str, str], Signature] = {}
    for launch in launches(arch, dtype):
        found.setdefault((launch.kernel.__name__, str(launch.tile)), signature_of(launch))
    return list(found.values())


def of_attention(names: Sequence[str]) -> list[Signature]:
    works = [work for work in WORKLOADS if work.name in names]
    assert len(works) == len(names)
    return [signature_of(launch) for work in works for launch in recorded(work, "fp16", 87)]


def name_of(compiled: Compiled) -> str:
    return compiled.signature.kernel.partition(":")[2]


def wrong(compiled: Compiled, arch: int, dtype: str) -> list[str]:
    """What its PTX and the assembler say that is not as it should be. Spills and shared memory have
    been refused before."""
    found = []
    products = name_of(compiled) not in NO_PRODUCTS
    if compiled.resources.spilled:
        found.append("local memory")
    if products and dtype != "fp32" and not compiled.resources.tensor_core:
        found.append("no tensor cores")
    if products and compiled.signature.stages > 1 and "cp.async" not in compiled.ptx:
        found.append("no asynchronous copies")
    if "attention" in name_of(compiled) and arch in SMALL and compiled.resources.blocks < 2:
        found.append(f"{compiled.resources.blocks} resident blocks")
    return found


def wrong_in_code(compiled: Compiled, arch: int, dtype: str) -> list[str]:
    """As `wrong`, and what the machine code says, which takes as long as the assembler did."""
    found = wrong(compiled, arch, dtype)
    code, in_ptx = compiled.code, compiled.resources.tensor_core
    if code.count("local_load") or code.count("local_store"):
        found.append("local memory in the code")
    on_tensor_cores = code.count("tensor_core")
    if on_tensor_cores < (in_ptx if arch < 90 else min(in_ptx, 1)):
        found.append(f"{on_tensor_cores} of {in_ptx} products on tensor cores")
    if "cp.async" in compiled.ptx and not code.count("async_copy"):
        found.append("no asynchronous copies in the code")
    return found


def assembled(compiled: Compiled, arch: int) -> Compiled:
    """A kernel for a GPU whose PTX is the same, through the assembler alone."""
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend

    backend = make_backend(GPUTarget("cuda", arch, WARP))
    asked = {"num_warps": compiled.signature.warps, "enable_fp_fusion": True}
    options = backend.parse_options(asked)
    ptx = re.sub(r"\.target sm_\d+", f".target sm_{arch}", compiled.ptx)
    with knobs.compilation.scope():
        knobs.compilation.disable_line_info = True
        cubin = backend.make_cubin(ptx, {}, options, arch)
    resources = resources_of(cubin, ptx, arch, compiled.threads, compiled.shared)
    return replace(compiled, arch=arch, cubin=cubin, ptx=ptx, resources=resources)


def refused_or_wrong(
    compiled: Compiled | DeviceError,
    arch: int,
    dtype: str,
    look: Callable[[Compiled, int, str], list[str]] = wrong,
) -> list[str]:
    """Of a kernel that was compiled for another GPU the machine code is made first."""
    try:
        if isinstance(compiled, DeviceError):
            raise compiled
        if compiled.arch != arch:
            compiled = assembled(compiled, arch)
            check_fit(compiled)
        return look(compiled, arch, dtype)
    except DeviceError as error:
        return [str(error)]


def test_attention_on_a_cart() -> None:
    """The quick sister of the slow ones."""
    for signature in of_attention(("window_attention", "global_attention", "attention")):
        compiled = compile_one(signature, 87)
        assert wrong_in_code(compiled, 87, "fp16") == [], compiled.signature
        assert compiled.resources.blocks >= 2


@pytest.mark.parametrize("arch", [86, 89])
def test_gpus_of_carts_get_one_ptx(arch: int) -> None:
    """What 87 gets is the others' as well, which saves them Triton's compiler in other tests."""
    for signature in (product_signature(), *of_attention(("window_attention",))):
        assert assembled(compile_one(signature, 87), arch) == compile_one(signature, arch)


@pytest.mark.slow
def test_all_kernels_on_carts() -> None:
    """Of 87 the machine code is looked at; of 86 and 89 what the assembler says."""
    of_87 = compile_each(signatures(87, "fp16"), 87)
    found = {(87, s): refused_or_wrong(c, 87, "fp16", wrong_in_code) for s, c in of_87.items()}
    for arch in (86, 89):
        wanted = signatures(arch, "fp16")
        own = compile_each([s for s in wanted if s not in of_87], arch)  # with tiles of its own
        for signature in wanted:
            compiled = own[signature] if signature in own else of_87[signature]
            found[arch, signature] = refused_or_wrong(compiled, arch, "fp16")
    assert len(found) == sum(len(signatures(arch, "fp16")) for arch in SMALL)
    assert {(arch, s.name): what for (arch, s), what in found.items() if what} == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "dtype"), [(80, "fp16"), (90, "fp16"), (110, "fp16"), (120, "fp16"), (87, "fp32")]
)
def test_every_tile(arch: int, dtype: str) -> None:
    """Of each kernel, at one of its sizes; one machine code shows that tensor cores are told apart
    there."""
    chosen = one_of_each(arch, dtype)
    compiled = compile_each(chosen, arch)
    assert len(compiled) == len(chosen) > len({s.kernel for s in chosen})
    found = {s: refused_or_wrong(c, arch, dtype) for s, c in compiled.items()}
    assert {s.name: what for s, what in found.items() if what} == {}
    one = next(c for s, c in compiled.items() if "window_attention" in s.kernel)
    assert refused_or_wrong(one, arch, dtype, wrong_in_code) == []


# ---- the occupancy formula ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def nvidia(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """NVIDIA's own calculator, whose header is in Triton's package."""
    import triton

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    if compiler is None or not (headers / "cuda_occupancy.h").exists():
        pytest.skip("needs a C compiler and cuda_occupancy.h")
    library = tmp_path_factory.mktemp("occupancy") / "occupancy_check.so"
    source = Path(__file__).with_name("occupancy_check.c")
    command = [compiler, "-shared", "-fPIC", "-O1", f"-I{headers}", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(str(library)).resident_blocks

    def blocks(arch: int, registers: int, threads: int, shared: int) -> int:
        limits = LIMITS[arch]
        sizes = (limits.threads, limits.shared, limits.shared_per_block)
        return int(function(arch // 10, arch % 10, *sizes, registers, threads, shared))

    return blocks


LAUNCHES = list(
    itertools.product(
        LIMITS,
        range(16, 256, 9),
        (32, 128, 256, 512),
        (0, 1000, 16384, 28672, 49152, 57344, 101376, 131072, 166912),
    )
)


def test_resident_blocks_agree_with_nvidia(nvidia: Callable[..., int]) -> None:
    assert [x for x in LAUNCHES if resident_blocks(*x) != nvidia(*x)] == []


def test_the_comparison_is_sensitive(nvidia: Callable[..., int]) -> None:
    """Forgetting the 1 KiB that the system keeps per block must show."""
    differ = [x for x in LAUNCHES if resident_blocks(*x, reserved=0) != nvidia(*x)]
    assert len(differ) > 100


def test_tensor_memory_limits_blocks() -> None:
    compiled = compile_one(product_signature(), 110)
    facts = compiled.cubin, compiled.ptx, 110, 128, 64
    assert resources_of(*facts).blocks > resources_of(*facts, columns=256).blocks == 2


def test_what_is_no_machine_code_is_an_error() -> None:
    from samedge.errors import DeviceError

    with pytest.raises(DeviceError, match="cannot be read"):
        code_of(b"no cubin")
    with pytest.raises(DeviceError, match="cannot be read"):
        resources_of(b"no cubin", "", 87, 128, 0)
