"""What every kernel of an encoder and decoder of official size takes of a GPU that is not here."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from samedge.errors import DeviceError
from samedge.kernels.compile import (
    Compiled,
    Signature,
    compile_each,
    compile_one,
    signature_of,
)
from samedge.kernels.launch import Array, Launch
from samedge.kernels.resources import LIMITS, code_of, resident_blocks, resources_of
from samedge.kernels.tiles import ARCHITECTURES
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


def name_of(compiled: Compiled) -> str:
    return compiled.signature.kernel.partition(":")[2]


def wrong(compiled: Compiled, arch: int, dtype: str) -> list[str]:
    """What is not as it should be. Spills and shared memory have been refused before."""
    found = []
    code, products = compiled.code, name_of(compiled) not in NO_PRODUCTS
    if compiled.resources.spilled or code.count("local_load") or code.count("local_store"):
        found.append("local memory")
    if products and dtype != "fp32" and not code.count("tensor_core"):
        found.append("no tensor cores")
    in_ptx = compiled.ptx.count("mma.sync")
    if arch < 90 and code.count("tensor_core") < in_ptx:
        found.append(f"{code.count('tensor_core')} of {in_ptx} products on tensor cores")
    if products and compiled.signature.stages > 1 and not code.count("async_copy"):
        found.append("no asynchronous copies")
    if "attention" in name_of(compiled) and arch in SMALL and compiled.resources.blocks < 2:
        found.append(f"{compiled.resources.blocks} resident blocks")
    return found


def check(arch: int, dtype: str) -> None:
    compiled = compile_each(signatures(arch, dtype), arch)
    assert len(compiled) == len(signatures(arch, dtype))
    found = {
        signature.name: [str(c)] if isinstance(c, DeviceError) else wrong(c, arch, dtype)
        for signature, c in compiled.items()
    }
    assert {name: what for name, what in found.items() if what} == {}


def test_attention_on_a_cart() -> None:
    """The quick sister of the next one."""
    for work in WORKLOADS:
        if work.name in ("window_attention", "global_attention", "attention"):
            (launch,) = recorded(work, "fp16", 87)
            compiled = compile_one(signature_of(launch), 87)
            assert wrong(compiled, 87, "fp16") == [], work.name
            assert compiled.resources.blocks >= 2


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_all_kernels(arch: int) -> None:
    check(arch, "fp16")


@pytest.mark.slow
def test_single_precision() -> None:
    check(87, "fp32")


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
