"""The emulator itself: instructions against numpy, and what its checks see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.ptx.emulator import Emulator
from tests.kernels.ptx.machine import Unsupported
from tests.kernels.ptx.memory import (
    GlobalMemory,
    Misaligned,
    OutOfBounds,
    PtxError,
    Race,
    SharedMemory,
    UninitializedRead,
)

HEAD = """
.visible .entry kernel(
\t.param .u64 kernel_param_0,
\t.param .u64 kernel_param_1
)
.reqntid 32
{
\t.reg .pred \t%p<9>;
\t.reg .b16 \t%rs<9>;
\t.reg .b32 \t%r<9>;
\t.reg .b64 \t%rd<9>;
\tld.param.b64 %rd1, [kernel_param_0];
\tld.param.b64 %rd2, [kernel_param_1];
\tmov.u32 %r1, %tid.x;
"""
LOAD = """
\tmul.wide.u32 %rd3, %r1, 4;
\tadd.s64 %rd4, %rd1, %rd3;
\tadd.s64 %rd5, %rd2, %rd3;
\tld.global.b32 %r2, [%rd4];
\tld.global.b32 %r3, [%rd4+128];
\tld.global.b32 %r4, [%rd4+256];
"""
STORE = "\tst.global.b32 [%rd5], %r5;\n\tret;\n}\n"


def run(body: str, a: Any, *, blocks: int = 1, out_size: int = 128, written: bool = True) -> Any:
    """`body` in a warp whose lanes hold rows 0, 1 and 2 of `a` (32 numbers of 32 bits each) in %r2,
    %r3 and %r4; what they leave in %r5."""
    memory = GlobalMemory()
    out = np.zeros(out_size, np.uint8)
    source = np.zeros((3, 32), np.uint32)
    rows = np.atleast_2d(np.asarray(a))
    source[: len(rows)] = np.ascontiguousarray(rows).view(np.uint32)
    arguments = [
        memory.add(source.reshape(-1).view(np.uint8), 4, "a", False),
        memory.add(out, 4, "out", written),
    ]
    ptx = HEAD + LOAD + "".join(f"\t{line};\n" for line in body.split(";") if line.strip()) + STORE
    Emulator(ptx, 4096).launch((blocks, 1, 1), arguments, memory)
    return out.view(np.uint32)


GENERATOR = np.random.default_rng(0)
FLOATS = GENERATOR.normal(size=(3, 32)).astype(np.float32) * 10
INTEGERS = GENERATOR.integers(-(2**31), 2**31, (3, 32)).astype(np.int32)
A, B, C = INTEGERS.astype(object)
U = [row.view(np.uint32).astype(object) for row in INTEGERS]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("add.f32 %r5, %r2, %r3", FLOATS[0] + FLOATS[1]),
        ("sub.f32 %r5, %r2, %r3", FLOATS[0] - FLOATS[1]),
        ("mul.f32 %r5, %r2, 0f40000000", FLOATS[0] * np.float32(2)),
        ("fma.rn.f32 %r5, %r2, %r3, %r4", FLOATS[0].astype(float) * FLOATS[1] + FLOATS[2]),
        ("div.full.f32 %r5, %r2, %r3", FLOATS[0] / FLOATS[1]),
        ("max.f32 %r5, %r2, %r3", np.maximum(FLOATS[0], FLOATS[1])),
        ("min.f32 %r5, %r2, %r3", np.minimum(FLOATS[0], FLOATS[1])),
        ("neg.f32 %r5, %r2", -FLOATS[0]),
        ("abs.f32 %r5, %r2", np.abs(FLOATS[0])),
        ("ex2.approx.ftz.f32 %r5, %r2", np.exp2(FLOATS[0])),
        ("rcp.approx.ftz.f32 %r5, %r2", 1 / FLOATS[0]),
        ("abs.f32 %r6, %r2; rsqrt.approx.f32 %r5, %r6", 1 / np.sqrt(np.abs(FLOATS[0]))),
        ("abs.f32 %r6, %r2; sqrt.rn.f32 %r5, %r6", np.sqrt(np.abs(FLOATS[0]))),
        ("abs.f32 %r6, %r2; lg2.approx.f32 %r5, %r6", np.log2(np.abs(FLOATS[0]))),
        ("tanh.approx.f32 %r5, %r2", np.tanh(FLOATS[0])),
        ("copysign.f32 %r5, %r2, %r3", np.copysign(FLOATS[1], FLOATS[0])),
        (
            "setp.ltu.f32 %p1, %r2, %r3; selp.f32 %r5, %r2, %r3, %p1",
            np.minimum(FLOATS[0], FLOATS[1]),
        ),
        ("cvt.rn.f16.f32 %rs1, %r2; cvt.f32.f16 %r5, %rs1", FLOATS[0].astype(np.float16)),
    ],
)
def test_floats(body: str, expected: Any) -> None:
    result = run(body, FLOATS).view(np.float32)
    np.testing.assert_allclose(result, expected.astype(np.float32), rtol=2e-7)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("add.s32 %r5, %r2, %r3", A + B),
        ("mul.lo.s32 %r5, %r2, %r3", A * B),
        ("mul.hi.s32 %r5, %r2, %r3", [x >> 32 for x in A * B]),
        ("mul.hi.u32 %r5, %r2, %r3", [x >> 32 for x in U[0] * U[1]]),
        ("mad.lo.s32 %r5, %r2, %r3, %r4", A * B + C),
        ("mad.wide.s32 %rd6, %r2, %r3, %rd3; cvt.u32.u64 %r5, %rd6", A * B + 4 * np.arange(32)),
        ("div.s32 %r5, %r2, 1000", [int(x / 1000) for x in A]),
        ("rem.s32 %r5, %r2, 1000", [x - 1000 * int(x / 1000) for x in A]),
        ("rem.u32 %r5, %r2, 1000", U[0] % 1000),
        ("max.s32 %r5, %r2, %r3", np.maximum(A, B)),
        ("min.u32 %r5, %r2, %r3", np.minimum(U[0], U[1])),
        ("xor.b32 %r5, %r2, %r3", A ^ B),
        ("not.b32 %r5, %r2", [~x for x in A]),
        ("popc.b32 %r5, %r2", [int(x).bit_count() for x in U[0]]),
        ("shl.b32 %r5, %r2, 5", [x << 5 for x in A]),
        ("shl.b32 %r5, %r2, 32", 0 * A),
        ("shr.s32 %r5, %r2, 3", [x >> 3 for x in A]),
        ("shr.s32 %r5, %r2, 40", [x >> 31 for x in A]),
        ("shr.u32 %r5, %r2, 3", [x >> 3 for x in U[0]]),
        ("bfe.u32 %r5, %r2, 4, 7", [x >> 4 & 127 for x in U[0]]),
        ("bfe.s32 %r5, %r2, 4, 7", [(x >> 4 & 127) - (x >> 3 & 128) for x in U[0]]),
        (
            "bfi.b32 %r5, %r2, %r3, 8, 8",
            [(y & ~0xFF00) | (x & 255) << 8 for x, y in zip(*U[:2], strict=True)],
        ),
        (
            "prmt.b32 %r5, %r2, %r3, 0x5410",
            [x & 0xFFFF | (y & 0xFFFF) << 16 for x, y in zip(*U[:2], strict=True)],
        ),
        (
            "prmt.b32 %r5, %r2, 0, 0x8880",
            [x & 255 | (0xFFFFFF00 if x & 128 else 0) for x in U[0]],
        ),
        (
            "shf.l.wrap.b32 %r5, %r2, %r3, 8",
            [(y << 8 | x >> 24) for x, y in zip(*U[:2], strict=True)],
        ),
        (
            "lop3.b32 %r5, %r2, %r3, %r4, 0xe8",
            [a & b | a & c | b & c for a, b, c in zip(*U, strict=True)],
        ),
        ("cvt.s32.s8 %r5, %r2", [(x & 255) - (x << 1 & 256) for x in U[0]]),
        ("cvt.sat.s8.s32 %rs1, %r2; cvt.s32.s16 %r5, %rs1", np.clip(A, -128, 127)),
        ("mov.b32 {%rs1, %rs2}, %r2; mov.b32 %r5, {%rs2, %rs1}", [x >> 16 | x << 16 for x in U[0]]),
        ("shfl.sync.bfly.b32 %r5, %r2, 3, 31, -1", A[np.arange(32) ^ 3]),
        ("shfl.sync.idx.b32 %r5, %r2, 7, 31, -1", np.repeat(A[7], 32)),
        ("shfl.sync.up.b32 %r5, %r2, 1, 0, -1", A[[0, *range(31)]]),
        ("shfl.sync.down.b32 %r5, %r2, 1, 31, -1", A[[*range(1, 32), 31]]),
        ("redux.sync.max.s32 %r5, %r2, -1", np.repeat(A.max(), 32)),
        ("redux.sync.min.s32 %r5, %r2, -1", np.repeat(A.min(), 32)),
        ("redux.sync.add.s32 %r5, %r2, -1", np.repeat(A.sum(), 32)),
        ("mov.b32 %r5, 7; setp.gt.s32 %p1, %r2, 0; @!%p1 mov.b32 %r5, %r2", np.where(A > 0, 7, A)),
        (
            "setp.gt.s32 %p1, %r2, 0; setp.lt.and.s32 %p2, %r3, 0, %p1; selp.b32 %r5, 1, 0, %p2",
            (A > 0) & (B < 0),
        ),
    ],
)
def test_integers(body: str, expected: Any) -> None:
    words = np.array([int(x) & 0xFFFFFFFF for x in expected], np.uint32)
    np.testing.assert_array_equal(run(body, INTEGERS), words)


@pytest.mark.parametrize(
    ("body", "function"),
    [
        ("cvt.rzi.s32.f32 %r5, %r2", np.trunc),
        ("cvt.rni.s32.f32 %r5, %r2", np.rint),
        ("cvt.rmi.ftz.f32.f32 %r6, %r2; cvt.rzi.s32.f32 %r5, %r6", np.floor),
    ],
)
def test_floats_become_integers_within_their_range(body: str, function: Any) -> None:
    values = np.resize(np.float32([0.5, 1.5, -2.5, 7.9, -7.9, 3e10, -3e10, np.nan]), 32)
    expected = np.nan_to_num(function(values.astype(float)), nan=0).clip(-(2**31), 2**31 - 1)
    np.testing.assert_array_equal(run(body, values).view(np.int32), expected)


@given(st.lists(st.floats(width=32), min_size=32, max_size=32))
def test_bf16(values: list[float]) -> None:
    """Against torch, NaN and infinity among them."""
    import torch

    a = np.array(values, np.float32)
    body = "cvt.rn.bf16x2.f32 %r5, 0f00000000, %r2; shl.b32 %r5, %r5, 16"
    result = run(body, a).view(np.float32)
    np.testing.assert_array_equal(result, torch.from_numpy(a).bfloat16().float().numpy())


def test_pairs() -> None:
    halves = GENERATOR.normal(size=(3, 64)).astype(np.float16)
    result = run("fma.rn.f16x2 %r5, %r2, %r3, %r4", halves).view(np.float16)
    expected = halves[0].astype(float) * halves[1] + halves[2]
    np.testing.assert_array_equal(result, expected.astype(np.float32).astype(np.float16))


def test_what_is_undefined_is_nan_where_it_is_looked_at() -> None:
    one, two = 0.5 * np.ones(32, np.float32), 2 * np.ones(32, np.float32)
    pack = "mov.b64 %rd6, {%r2, %r8}; mov.b64 %rd7, {%r3, %r3}; add.f32x2 %rd6, %rd6, %rd7;"
    first = run(f"{pack} mov.b64 {{%r5, %r6}}, %rd6", [one, two]).view(np.float32)
    second = run(f"{pack} mov.b64 {{%r6, %r5}}, %rd6", [one, two]).view(np.float32)
    assert (first == 2.5).all()
    assert np.isnan(second).all()


def test_int8_products() -> None:
    """mma.m16n8k32: the layout of fragments, by the PTX manual, and INT32 accumulation."""
    a = GENERATOR.integers(-128, 128, (16, 32)).astype(np.int8)
    b = GENERATOR.integers(-128, 128, (32, 8)).astype(np.int8)
    lane = np.arange(32)
    g, t = lane // 4, lane % 4

    def packed(values: Any) -> Any:
        return np.ascontiguousarray(values).view(np.uint32).ravel()

    four = 4 * t[:, None] + np.arange(4)
    a_parts = [packed(a[g[:, None] + 8 * (i % 2), four + 16 * (i // 2)]) for i in range(4)]
    b_parts = [packed(b[four + 16 * i, g[:, None]]) for i in range(2)]
    product = a.astype(int) @ b
    for column in range(4):
        memory = GlobalMemory()
        source = np.stack([*a_parts, *b_parts])
        out = np.zeros(128, np.uint8)
        arguments = [
            memory.add(source.view(np.uint8).ravel(), 4, "a", False),
            memory.add(out, 4, "out", True),
        ]
        loads = "".join(f"\tld.global.b32 %r{i + 10}, [%rd4+{128 * i}];\n" for i in range(6))
        head = HEAD.replace("%r<9>", "%r<30>") + LOAD.split("\tld.")[0]
        mma = (
            "\tmma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r20, %r21, %r22, %r23}, "
            "{%r10, %r11, %r12, %r13}, {%r14, %r15}, {0, 0, 0, 0};\n"
        )
        ptx = head + loads + mma + f"\tmov.b32 %r5, %r{20 + column};\n" + STORE
        counts = Emulator(ptx, 0).launch((1, 1, 1), arguments, memory)
        expected = product[g + 8 * (column // 2), 2 * t + column % 2]
        np.testing.assert_array_equal(out.view(np.int32), expected)
        assert counts["mma_flops"] == 2 * 16 * 8 * 32


# ---- what the checks see ------------------------------------------------------------------------


def test_blocks_that_go_different_ways_are_run_apart() -> None:
    """Odd blocks return early; the others write their own place."""
    body = """mov.u32 %r6, %ctaid.x; and.b32 %r7, %r6, 1; setp.eq.b32 %p1, %r7, 1; @%p1 ret;
    mul.wide.u32 %rd6, %r6, 128; add.s64 %rd5, %rd5, %rd6; mov.b32 %r5, %r6"""
    result = run(body, INTEGERS, blocks=5, out_size=5 * 128).reshape(5, 32)
    assert result[:, 0].tolist() == [0, 0, 2, 0, 4]
    assert (result == result[:, :1]).all()


def test_divergence_inside_a_block_is_an_error() -> None:
    with pytest.raises(Unsupported, match="divergent branch"):
        run("setp.gt.s32 %p1, %r1, 3; @%p1 ret; mov.b32 %r5, 0", INTEGERS)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("frobnicate.b32 %r5, %r2", Unsupported, "unknown instruction at .*: frobnicate"),
        ("add.s32 %r5, %r2, %r8", PtxError, "%r8, which was never written"),
        ("ld.global.b32 %r5, [%rd4+384]", OutOfBounds, "ends 128 bytes behind a"),
        ("ld.global.b32 %r5, [%rd4+2]", Misaligned, "misaligned 4-byte access to global"),
        ("mov.b32 %r5, 0; ld.global.b32 %r5, [%rd3]", OutOfBounds, "far outside"),
        ("mov.b32 %r5, %r2; mov.b64 %rd5, %rd2", Race, "different values to one place of out"),
        ("mov.b32 %r5, %r2; mov.b64 %rd5, %rd4", PtxError, "store to a, which the launch does not"),
        ("ld.shared.b32 %r5, [%r1]", Misaligned, "misaligned 4-byte access to shared"),
        ("shl.b32 %r6, %r1, 8; ld.shared.b32 %r5, [%r6]", OutOfBounds, "shared memory access out"),
        ("shl.b32 %r6, %r1, 2; ld.shared.b32 %r5, [%r6]", UninitializedRead, "unwritten"),
    ],
)
def test_what_a_correct_kernel_never_does(body: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(body, INTEGERS)


def test_blocks_that_write_one_place_are_a_race() -> None:
    with pytest.raises(Race, match="blocks write what another block touches in out"):
        run("mov.b32 %r5, %r2", INTEGERS, blocks=2)


def test_blocks_that_read_what_another_one_writes_are_a_race() -> None:
    body = """mov.u32 %r6, %ctaid.x; mul.wide.u32 %rd6, %r6, 128; ld.global.b32 %r5, [%rd5];
    add.s64 %rd5, %rd5, %rd6"""
    with pytest.raises(Race, match="blocks write what another block touches in out"):
        run(body, INTEGERS, blocks=2, out_size=256)


def test_warps_need_a_barrier() -> None:
    lanes = np.arange(64)
    for between in (True, False):
        shared = SharedMemory(blocks=1, threads=64, size=256)
        shared.store(lanes, 4 * lanes, np.zeros((64, 4), np.uint8))
        if between:
            shared.barrier()
            shared.load(lanes, 4 * lanes[::-1], 4)
        else:
            with pytest.raises(Race, match="read after write"):
                shared.load(lanes, 4 * lanes[::-1], 4)


@pytest.mark.parametrize(("stride", "wavefronts"), [(4, 1), (8, 2), (128, 32), (132, 1)])
def test_bank_conflicts_are_counted(stride: int, wavefronts: int) -> None:
    """32 lanes reading 4 bytes at a stride: the textbook cases."""
    lanes = np.arange(32)
    shared = SharedMemory(blocks=1, threads=32, size=8192)
    shared.store(lanes, lanes * stride, np.zeros((32, 4), np.uint8))
    assert shared.counts["shared_wavefronts"] == wavefronts
    assert shared.counts["shared_wavefronts_without_conflicts"] == 1
