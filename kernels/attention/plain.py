"""Attention without positions: the decoder's, the cross-branch one of SAMUS, AutoSAMUS's softmax.

Flash attention (Dao et al. 2022): the scores of a tile of queries and keys exist in registers only.
Where few queries look at many keys, the keys are divided among blocks, and a second small launch
joins what they found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.attention.online_softmax import LOG2_E, softmax_step
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, Tile, check, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, cdiv, product

LEAST_SIDE = 16  # of a tile of a product on tensor cores


@triton.jit
def attention_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    state_ptr,
    queries,
    keys,
    q_count,
    k_count,
    v_count,
    q_rows,
    k_rows,
    v_rows,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    V_DIM: tl.constexpr,
    Q_STRIDE: tl.constexpr,
    K_STRIDE: tl.constexpr,
    V_STRIDE: tl.constexpr,
    ONE_MORE: tl.constexpr,
    SPLIT: tl.constexpr,
    WHOLE_TILES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    DIM_POW2: tl.constexpr,
    V_DIM_POW2: tl.constexpr,
):
    """softmax(q k^T) v of one head, for BLOCK_M queries. Grid: query tiles, heads * parts, batch.

    q [q_count, queries, HEADS * DIM], k [k_count, keys, HEADS * DIM], v and out with V_DIM.
    A count of 1 is shared by the whole batch; q_rows, k_rows, v_rows: from one image to the next.
    SPLIT: 0, or keys of a part; then out is fp32 [batch * parts, queries, HEADS * V_DIM], not yet
    divided, and state fp32 [batch * parts, HEADS, queries, 2] its peak and total.
    WHOLE_TILES: the keys of a part are a multiple of BLOCK_N.
    """
    head = tl.program_id(1) % HEADS
    part = tl.program_id(1) // HEADS
    batch = tl.program_id(2)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, DIM_POW2)
    e = tl.arange(0, V_DIM_POW2)
    in_q = (m < queries)[:, None] & (d < DIM)[None, :]
    q_ptr += (batch % q_count).to(tl.int64) * q_rows * Q_STRIDE + head * DIM
    k_ptr += (batch % k_count).to(tl.int64) * k_rows * K_STRIDE + head * DIM
    v_ptr += (batch % v_count).to(tl.int64) * v_rows * V_STRIDE + head * V_DIM
    q = tl.load(q_ptr + m[:, None] * Q_STRIDE + d[None, :], mask=in_q, other=0.0)

    peak = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    result = tl.zeros((BLOCK_M, V_DIM_POW2), tl.float32)
    first, end = 0, keys
    if SPLIT:
        first = part * SPLIT
        end = tl.minimum(keys, first + SPLIT)
    for start in range(first, end, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        inside = (n < end) | WHOLE_TILES
        in_k = (d < DIM)[:, None] & inside[None, :]
        k = tl.load(k_ptr + n[None, :] * K_STRIDE + d[:, None], mask=in_k, other=0.0)
        scores = tl.dot(q, k, input_precision="ieee") * LOG2_E
        if not WHOLE_TILES:
            scores = tl.where(inside[None, :], scores, -float("inf"))
        weights, correction, peak, total = softmax_step(scores, peak, total)
        in_v = inside[:, None] & (e < V_DIM)[None, :]
        v = tl.load(v_ptr + n[:, None] * V_STRIDE + e[None, :], mask=in_v, other=0.0)
        result *= correction[:, None]
        result = tl.dot(weights.to(v.dtype), v, result, input_precision="ieee")

    out_batch = batch.to(tl.int64)
    if SPLIT:
        out_batch = out_batch * (tl.num_programs(1) // HEADS) + part
        state = state_ptr + ((out_batch * HEADS + head) * queries + m) * 2
        tl.store(state, peak, mask=m < queries)
        tl.store(state + 1, total, mask=m < queries)
    else:
        if ONE_MORE:
            total += 1.0
        result /= total[:, None]
    place = (out_batch * queries + m)[:, None] * (HEADS * V_DIM) + head * V_DIM + e[None, :]
    in_out = (m < queries)[:, None] & (e < V_DIM)[None, :]
    tl.store(out_ptr + place, result.to(out_ptr.dtype.element_ty), mask=in_out)


@triton.jit
def join_parts_kernel(
    part_ptr,
    state_ptr,
    out_ptr,
    queries,
    parts,
    HEADS: tl.constexpr,
    V_DIM: tl.constexpr,
    ONE_MORE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    V_DIM_POW2: tl.constexpr,
):
    """What `attention_kernel` found in parts of the keys -> out [batch, queries, HEADS * V_DIM].

    Grid: query tiles, heads, batch. Parts as written with SPLIT.
    """
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    e = tl.arange(0, V_DIM_POW2)
    inside = (m < queries)[:, None] & (e < V_DIM)[None, :]
    column = head * V_DIM + e
    peak = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    result = tl.zeros((BLOCK_M, V_DIM_POW2), tl.float32)
    for part in range(parts):
        state = state_ptr + (((batch * parts + part) * HEADS + head) * queries + m) * 2
        its_peak = tl.load(state, mask=m < queries, other=0.0)
        its_total = tl.load(state + 1, mask=m < queries, other=1.0)
        place = ((batch * parts + part) * queries + m)[:, None] * (HEADS * V_DIM) + column[None, :]
        its_result = tl.load(part_ptr + place, mask=inside, other=0.0)
        new_peak = tl.maximum(peak, its_peak)
        old, new = tl.exp2(peak - new_peak), tl.exp2(its_peak - new_peak)
        total = total * old + its_total * new
        result = result * old[:, None] + its_result * new[:, None]
        peak = new_peak
    if ONE_MORE:
        total += 1.0
    result /= total[:, None]
    place = (batch * queries + m)[:, None] * (HEADS * V_DIM) + column[None, :]
    tl.store(out_ptr + place, result.to(out_ptr.dtype.element_ty), mask=inside)


@dataclass(frozen=True)
class _Problem:
    q: Array
    k: Array
    v: Array
    heads: int
    batch: Size
    one_more: bool

    @property
    def dim(self) -> int:
        return fixed(self.q.shape[2], "the width of q") // self.heads

    @property
    def v_dim(self) -> int:
        return fixed(self.v.shape[2], "the width of v") // self.heads

    @property
    def out_shape(self) -> tuple[Size, Size, int]:
        return self.batch, self.q.shape[1], self.heads * self.v_dim

    def arguments(self) -> dict[str, Any]:
        counts = {f"{n}_count": getattr(self, n).shape[0] for n in "qkv"}
        arrays = {f"{n}_ptr": getattr(self, n) for n in "qkv"}
        steps = {f"{n}_rows": _rows_apart(n, getattr(self, n)) for n in "qkv"}
        return arrays | {"queries": self.q.shape[1], "keys": self.k.shape[1]} | counts | steps

    def constants(self, tile: Tile, split: int) -> dict[str, Any]:
        keys = split or self.k.shape[1]
        whole = isinstance(self.k.shape[1], int) and self.k.shape[1] % tile["BLOCK_N"] == 0
        return {
            "HEADS": self.heads,
            "DIM": self.dim,
            "V_DIM": self.v_dim,
            **{f"{n.upper()}_STRIDE": getattr(self, n).strides[1] for n in "qkv"},
            "ONE_MORE": self.one_more,
            "SPLIT": split,
            "WHOLE_TILES": whole and isinstance(keys, int) and keys % tile["BLOCK_N"] == 0,
            "BLOCK_M": tile["BLOCK_M"],
            "BLOCK_N": tile["BLOCK_N"],
            "DIM_POW2": next_power(self.dim, LEAST_SIDE),
            "V_DIM_POW2": next_power(self.v_dim, LEAST_SIDE),
        }


def attention(
    run: Runner,
    q: Array,
    k: Array,
    v: Array,
    heads: int,
    one_more: bool = False,
    *,
    few_queries: bool = False,
    few_keys: bool = False,
    batch: Size | None = None,
) -> Array:
    """Plain attention; see `reference.attention`, and `reference.one_more_attention`.

    Args:
        run: carries it out.
        q: [B, T, h*d], already scaled by 1/sqrt(d); fp32, fp16 or bf16. q, k and v may be columns
            of wider arrays, and the first rows of more.
        k, v: [B, S, h*d] and [B, S, h*e], as q. A batch of 1 is shared by all of the others', also
            where the 1 is only known when it runs.
        heads: h.
        one_more: one more in the denominator of the softmax.
        few_queries: there are so few that the keys are better divided among blocks (7 tokens look
            at 4096 places); a second launch joins the parts.
        few_keys: there are so few that a small tile holds them.
        batch: of the result, where it does not follow from the sizes: None takes q's, or k's where
            q's is 1.

    Returns:
        [B, T, h*e], element type of q.

    Raises:
        DeviceError: arrays do not fit together.
    """
    p = _problem(q, k, v, heads, one_more, batch)
    case = ".few_queries" if few_queries else ".few_keys" if few_keys else ""
    tile = tile_of("attention" + case, q.dtype, run.arch)
    out = run.empty(p.out_shape, q.dtype, "attention")
    if few_queries:
        _in_parts(run, p, out, tile)
        return out
    run.launch(
        Launch(
            attention_kernel,
            (cdiv(q.shape[1], tile["BLOCK_M"]), heads, p.batch),
            p.arguments() | {"out_ptr": out, "state_ptr": None},
            p.constants(tile, 0),
            ("out_ptr",),
            tile,
            flops=_flops(p),
        )
    )
    return out


def _in_parts(run: Runner, p: _Problem, out: Array, tile: Tile) -> None:
    parts, queries = cdiv(p.k.shape[1], tile["SPLIT"]), p.q.shape[1]
    tiles = cdiv(queries, tile["BLOCK_M"])
    shape = (product(p.batch, parts), queries, p.heads * p.v_dim)
    found = run.empty(shape, "fp32", "attention in parts")
    state = run.empty((shape[0], p.heads, queries, 2), "fp32", "state of the parts")
    run.launch(
        Launch(
            attention_kernel,
            (tiles, product(p.heads, parts), p.batch),
            p.arguments() | {"out_ptr": found, "state_ptr": state},
            p.constants(tile, tile["SPLIT"]),
            ("out_ptr", "state_ptr"),
            tile,
            flops=_flops(p),
            label="parts of the keys",
        )
    )
    constants = p.constants(tile, 0)
    names = ("HEADS", "V_DIM", "ONE_MORE", "BLOCK_M", "V_DIM_POW2")
    run.launch(
        Launch(
            join_parts_kernel,
            (tiles, p.heads, p.batch),
            {
                "part_ptr": found,
                "state_ptr": state,
                "out_ptr": out,
                "queries": queries,
                "parts": parts,
            },
            {name: constants[name] for name in names},
            ("out_ptr",),
            Tile({"BLOCK_M": tile["BLOCK_M"]}, warps=1, stages=1),
            flops=product(*shape, 3),
            label="parts joined",
        )
    )


def _flops(p: _Problem) -> Size:
    return product(p.batch, p.q.shape[1], p.k.shape[1], 2 * p.heads * (p.dim + p.v_dim))


def _rows_apart(name: str, x: Array) -> Size:
    """Rows from one image of x to the next: as many as it has, or more where some are unused."""
    row = fixed(x.strides[1], f"the distance of rows of {name}")
    if x.shape[0] == 1 or x.strides[0] == product(x.shape[1], row):
        return x.shape[1]
    apart = fixed(x.strides[0], f"the distance of images of {name}")
    if apart % row:
        raise DeviceError(f"attention: the batch of {name} lies between its rows: copy it")
    return apart // row


def _problem(
    q: Array, k: Array, v: Array, heads: int, one_more: bool, batch: Size | None
) -> _Problem:
    check(q, "attention", "q", (None, None, None), *FLOATS)
    check(k, "attention", "k", (None, None, q.shape[2]), q.dtype)
    check(v, "attention", "v", (None, k.shape[1], None), q.dtype)
    for name, x in (("q", q), ("k", k), ("v", v)):
        if fixed(x.shape[2], f"the width of {name}") % heads:
            raise DeviceError(
                f"attention: {name} has {x.shape[2]} columns, which {heads} heads do not divide"
            )
        _rows_apart(name, x)
    if batch is None:
        batch = next((x.shape[0] for x in (q, k, v) if x.shape[0] != 1), 1)
    for name, x in (("q", q), ("k", k), ("v", v)):
        if isinstance(batch, int) and isinstance(x.shape[0], int) and x.shape[0] not in (1, batch):
            raise DeviceError(
                f"attention: {name} has a batch of {x.shape[0]}, expected 1 or {batch}"
            )
    return _Problem(q, k, v, heads, batch, one_more)
