"""A bundle's float32 graphs in the shape that TensorRT turns into few kernels.

Same numbers, other operations. In front of the network the colours are summed (`sum_colours`); in
it there is the self-attention: a block of the bundle's float32 graph has nine to eleven kernels
between the qkv product and the output projection (SAMUS ViT-B, TensorRT-RTX 1.7); here it has four:

* Relative positions are further columns of the qkv product. The bias of query t for the 2 n - 1
  distances of a direction is `q_t R = x_t (W_q R) + b_q R`; `W_q R` is a constant. That does away
  with two small products per block and with the copies of their tables for all windows. Where the
  columns would be many (a grid of 64: more than qkv itself) the product stays one of its own.
* From distances to positions is a shift by one per row: rows of 2 n - 1 numbers, read as rows of
  2 n - 2 from the n-th number on, have key k of query i in column k. Slices and reshapes only, so
  the compiler makes the bias of all windows in one kernel.
* Without windows q, k and v are taken from one tensor by their index on its first axis: one kernel
  instead of three. (With windows the compiler finds that by itself, and needs less memory so.)
* The bias is one addition between QK and softmax, the scale is in the query's weights: that is what
  the fused attention kernels know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from samedge.bundle.attention_sizes import ATTENTION, AttentionSizes, attention_from_text
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.model import OnnxGraph
from samedge.export.graphs.preprocess import PATH

# More columns than this share of qkv's own are not worth the two kernels that they save.
MAX_COLUMNS = 0.75

_COLOUR = f"{PATH}.colour/MatMul"

Array = NDArray[np.float64]


def shape_for_gpu(graph: OnnxGraph) -> dict[str, int]:
    """Rewrite an encoder graph in place.

    Returns:
        What was done, and how often.
    """
    return {"fused_attention": len(fuse_attention(graph)), "colour_as_sum": sum_colours(graph)}


def sum_colours(graph: OnnxGraph) -> int:
    """The product of a frame's pixels with the colour matrix, [H, W, C] x [C, K], as a sum over C.

    As a matrix product the whole frame stands in memory twice as float32, at 4096 x 4096 RGB
    400 MB. Multiplying and adding up is one kernel that reads bytes. The sums are exact in float32
    (integers of 22 bits over a power of two), so their order is no matter.

    Returns:
        1, or 0 where there is no such product.
    """
    node = next((node for node in graph.nodes if node.name == _COLOUR), None)
    if node is None:
        return 0
    new, path = GraphBuilder("colour"), f"{PATH}.colour"
    x = new.op("Unsqueeze", [node.input[0], new.const([-1], "last_axis")], path)
    x = new.mul(x, node.input[1], path)
    total = helper.make_node(
        "ReduceSum", [x, new.const([-2], "second_last_axis")], list(node.output),
        name=f"{path}/ReduceSum", keepdims=0,
    )  # fmt: skip
    at = graph.nodes.index(node)
    graph.nodes[at : at + 1] = [*new.nodes, total]
    graph.arrays.update(new.arrays)
    return 1


def fuse_attention(graph: OnnxGraph, max_columns: float = MAX_COLUMNS) -> list[str]:
    """Rewrite the self-attention of every block of an encoder graph, in place.

    Blocks with a depth branch (Medical SAM Adapter on volumes), which uses queries, keys and values
    a second time, stay as they are.

    Args:
        graph: in float32.
        max_columns: as many columns for relative positions, as a share of those for queries, keys
            and values, are put beside them; more are a product of their own.

    Returns:
        The paths of the blocks that were rewritten, `encoder.blocks.0.attn` and so on.
    """
    text = graph.metadata.get(ATTENTION)
    blocks = {} if text is None else attention_from_text(text)
    done = [path for path, s in blocks.items() if _rewrite(graph, path, s, max_columns)]
    graph.prune()
    return done


def distance_table(table: Array) -> Array:
    """[n, d, n] positions (query, channel, key) -> [d, 2 n - 1] distances, key - query + n - 1."""
    n = len(table)
    columns = [
        table[0, :, t - n + 1] if t >= n - 1 else table[n - 1 - t, :, 0] for t in range(2 * n - 1)
    ]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _Sizes(AttentionSizes):
    @property
    def distances(self) -> int:
        """From a query to a key, in one direction."""
        return 2 * self.w - 1

    @property
    def lead(self) -> tuple[int, int, int]:
        """The axes in front of a window's: rows of windows (of all images), columns, heads."""
        return self.b * self.count, self.count, self.h


def _rewrite(graph: OnnxGraph, path: str, sizes: AttentionSizes, max_columns: float) -> bool:
    """Replace what stands between the input of `qkv` and the projection of one block."""
    nodes = {node.name: node for node in graph.nodes}
    first, last = nodes[f"{path}.qkv/MatMul"], nodes[f"{path}.proj/MatMul"]
    region = _region(graph, first.output[0], last.input[0], path)
    if region is None:
        return False
    tables = [graph.arrays[f"{path}.{key}"].astype(np.float64) for key in ("rel_h", "rel_w")]
    rows, cols = (distance_table(table) for table in tables)
    new = GraphBuilder(path)
    result = _Attention(new, f"{path}.fused", _Sizes(**vars(sizes)), max_columns).build(
        first.input[0],
        graph.arrays[f"{path}.qkv.weight"].astype(np.float64),
        graph.arrays[f"{path}.qkv.bias"].astype(np.float64),
        rows,
        cols,
    )
    at = graph.nodes.index(first)
    graph.nodes = [
        *graph.nodes[:at],
        *new.nodes,
        *(node for node in graph.nodes[at:] if node.name not in region),
    ]
    graph.arrays.update(new.arrays)
    last.input[0] = result
    return True


def _region(graph: OnnxGraph, start: str, end: str, path: str) -> set[str] | None:
    """Names of the nodes from `start` to `end`; None where others take what they make."""
    producers, consumers = graph.producers(), graph.consumers()
    inside: set[str] = set()
    values = [end]
    while values:
        node = producers.get(values.pop())
        if node is None or node.name in inside or not node.name.startswith(path):
            continue
        inside.add(node.name)
        if node.output[0] != start:
            values += node.input
    for name, node in ((node.name, node) for node in graph.nodes):
        if name in inside:
            for value in node.output:
                takers = {taker.name for taker in consumers.get(value, ())}
                if value != end and not takers <= inside:
                    return None
    return inside


class _Attention:
    """Emits the nodes of one block."""

    def __init__(self, g: GraphBuilder, path: str, sizes: _Sizes, max_columns: float) -> None:
        self.g, self.path, self.s, self.max_columns = g, path, sizes, max_columns

    def build(self, x: str, weight: Array, bias: Array, rows: Array, cols: Array) -> str:
        """From tokens x [b, n * n, dim] to the attention's values, tokens of the same shape."""
        s, g, path = self.s, self.g, self.path
        added = 2 * s.h * s.distances
        fold = added <= self.max_columns * 3 * s.dim
        # What is not the same value as in the float32 graph does not have its name either.
        qkv = f"{path if fold else path.removesuffix('.fused')}.qkv"
        if fold:
            weight, bias = self._with_distances(weight, bias, (rows, cols))
        y = g.matmul(x, g.weight(f"{qkv}.weight", weight.astype(np.float32)), qkv)
        y = g.add(y, g.weight(f"{qkv}.bias", bias.astype(np.float32)), qkv)
        if fold:
            sizes = [3 * s.dim, added // 2, added // 2]
            y, along_rows, along_cols = self._split(y, sizes)
            q, k, v = self._queries_keys_values(y)
            by_row = self._cut(along_rows, s.distances, (0, 2, 4, 3, 1, 5))
            by_col = self._cut(along_cols, s.distances, (0, 2, 4, 1, 3, 5))
        else:
            q, k, v = self._queries_keys_values(y)
            by_row, by_col = self._own_product(q, rows, cols)
        return self._attend(q, k, v, self._bias(by_row, by_col))

    def _with_distances(
        self, weight: Array, bias: Array, tables: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """The qkv weights with every query's products with both tables as further columns."""
        s = self.s
        w = weight[:, : s.dim].reshape(-1, s.h, s.d)
        b = bias[: s.dim].reshape(s.h, s.d)
        weights = [weight, *((w @ table).reshape(len(weight), -1) for table in tables)]
        biases = [bias, *((b @ table).reshape(-1) for table in tables)]
        return np.concatenate(weights, axis=1), np.concatenate(biases)

    def _split(self, x: str, sizes: list[int]) -> list[str]:
        g = self.g
        values = g.const(sizes, "split_" + "_".join(map(str, sizes)))
        return [str(y) for y in g.op("Split", [x, values], self.path, outputs=len(sizes), axis=-1)]

    def _cut(self, x: str, depth: int, order: tuple[int, ...]) -> str:
        """Tokens of h * depth -> the axes (row of windows, row, column of windows, column, head,
        depth) in `order`; what is beyond the grid is zero."""
        g, s, path = self.g, self.s, self.path
        x = g.reshape(x, (s.b, s.n, s.n, s.h * depth), path)
        if s.pad:
            amounts = g.const([0, 0, 0, 0, 0, s.pad, s.pad, 0], f"pad_{s.pad}")
            x = str(g.op("Pad", [x, amounts], path))
        x = g.reshape(x, (s.b * s.count, s.w, s.count, s.w, s.h, depth), path)
        return g.transpose(x, order, path)

    def _queries_keys_values(self, x: str) -> list[str]:
        """Each [windows, h, w * w, d]."""
        g, s, path = self.g, self.s, self.path
        if s.windowed:
            parts = self._split(x, [s.dim] * 3)
            parts = [self._cut(part, s.d, (0, 2, 4, 1, 3, 5)) for part in parts]
            return [g.reshape(part, (s.windows, s.h, s.w**2, s.d), path) for part in parts]
        x = g.reshape(x, (s.b, s.n**2, 3, s.h, s.d), path)
        x = g.transpose(x, (2, 0, 3, 1, 4), path)
        index = [g.const(np.int64(i), f"index_{i}") for i in range(3)]
        return [str(g.op("Gather", [x, i], path, axis=0)) for i in index]

    def _own_product(self, q: str, rows: Array, cols: Array) -> tuple[str, str]:
        """Every query times both tables, where they are no columns of qkv."""
        g, s, path = self.g, self.s, self.path
        table = np.concatenate([rows, cols], axis=1).astype(np.float32)
        y = g.matmul(q, g.weight(f"{path}.rel", table), f"{path}.rel")
        by_row, by_col = self._split(y, [s.distances] * 2)
        shape = (*s.lead, s.w, s.w, s.distances)
        by_row = g.transpose(g.reshape(by_row, shape, path), (0, 1, 2, 4, 3, 5), path)
        return by_row, g.reshape(by_col, shape, path)

    def _bias(self, by_row: str, by_col: str) -> str:
        """[..., column, row, distance] and [..., row, column, distance] -> [windows, h, T, T]."""
        g, s, path = self.g, self.s, f"{self.path}.bias"
        rows = g.transpose(self._shift(by_row), (0, 1, 2, 4, 3, 5), path)
        rows = str(g.op("Unsqueeze", [rows, g.const([-1], "last_axis")], path))
        cols = self._shift(by_col)
        cols = str(g.op("Unsqueeze", [cols, g.const([-2], "second_last_axis")], path))
        return g.reshape(g.add(rows, cols, path), (s.windows, s.h, s.w**2, s.w**2), path)

    def _shift(self, x: str) -> str:
        """[..., i, distance] -> [..., i, k]."""
        g, s, path = self.g, self.s, f"{self.path}.bias"
        lead, n = (*s.lead, s.w), s.w
        x = g.reshape(x, (*lead, n * s.distances), path)
        x = self._slice(x, n - 1, n - 1 + n * (s.distances - 1), path)
        x = g.reshape(x, (*lead, n, s.distances - 1), path)
        return self._slice(x, 0, n, path)

    def _slice(self, x: str, start: int, stop: int, path: str) -> str:
        g = self.g
        bounds = [g.const([start], f"at_{start}"), g.const([stop], f"at_{stop}")]
        return str(g.op("Slice", [x, *bounds, g.const([-1], "last_axis")], path))

    def _attend(self, q: str, k: str, v: str, bias: str) -> str:
        """softmax(q k^T + bias) v, as tokens."""
        g, s, path = self.g, self.s, self.path
        scores = g.add(g.matmul(q, g.transpose(k, (0, 1, 3, 2), path), path), bias, path)
        y = g.matmul(str(g.op("Softmax", [scores], path, axis=-1)), v, path)
        if not s.windowed:
            y = g.transpose(y, (0, 2, 1, 3), path)
        else:
            y = g.reshape(y, (*s.lead, s.w, s.w, s.d), path)
            y = g.transpose(y, (0, 3, 1, 4, 2, 5), path)
            side = s.count * s.w
            y = g.reshape(y, (s.b, side, side, s.dim), path)
            if s.pad:
                bounds = [g.const([0, 0], "slice_from"), g.const([s.n, s.n], f"slice_to_{s.n}")]
                y = str(g.op("Slice", [y, *bounds, g.const([1, 2], "slice_axes")], path))
        return g.reshape(y, (s.b, s.n**2, s.dim), path)
