"""Small kernels on which compiler, emulator and their checks are tried out."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from samedge.kernels.compile import Signature


@triton.jit
def product_kernel(
    a_ptr,
    b_ptr,
    bias_ptr,
    c_ptr,
    depth,
    N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """c [M, N] = a [M, K] @ b [K, N] + bias [N]; no masks: whole tiles only."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + m[:, None] * K + k[None, :]
    b_ptrs = b_ptr + k[:, None] * N + n[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for _ in range(depth):
        total = tl.dot(tl.load(a_ptrs), tl.load(b_ptrs), total, input_precision="ieee")
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * N
    if HAS_BIAS:
        total += tl.load(bias_ptr + n)[None, :]
    tl.store(c_ptr + m[:, None] * N + n[None, :], total.to(c_ptr.dtype.element_ty))


def product_signature(
    dtype: str = "fp16",
    tile: tuple[int, int, int] = (32, 32, 32),
    warps: int = 4,
    stages: int = 2,
    bias: bool = True,
    size: tuple[int, int] = (128, 128),
) -> Signature:
    """Of a product of matrices; size: N and K."""
    pointer = f"*{dtype}"
    constants: dict[str, Any] = {"N": size[0], "K": size[1]}
    constants |= dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), tile, strict=True))
    return Signature(
        "tests.kernels.samples:product_kernel",
        (
            ("a_ptr", pointer),
            ("b_ptr", pointer),
            ("bias_ptr", "*fp32" if bias else None),
            ("c_ptr", pointer),
            ("depth", "i32"),
        ),
        (*constants.items(), ("HAS_BIAS", bias)),
        warps,
        stages,
    )
