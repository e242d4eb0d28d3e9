"""Attention with relative positions, cut anew for OpenVINO's CPU plugin.

A grid of 32 x 32 tokens in windows of 14 x 14 is padded to 42 x 42. Padding must be attended, but
need not attend: here only real tokens are queries. Which element goes where is not read off a
pattern of nodes: the copies of the graph are repeated with NumPy on numbers that name elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino.opset13 as ops
from numpy.typing import NDArray

from samedge.runtime.openvino.rewrites.copies import PAD, Ints, is_copy, origin, replay
from samedge.runtime.openvino.rewrites.nodes import (
    constant,
    dynamic,
    ints,
    only_consumer,
    place_channels,
    replace,
    rows_and_columns,
)

CHANNELS = 32  # a matrix product takes so many at a time: a rest costs as much as all of them

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Side:
    """Relative positions along one axis.

    which: [windows, places], the table's matrix that each query is multiplied with.
    table: [matrices, d, keys along the axis].
    """

    which: Ints
    table: Floats

    @property
    def keys(self) -> int:
        return int(self.table.shape[2])


@dataclass(frozen=True)
class _Attention:
    """softmax(q k^T + rows + columns) v of tokens in windows; product and scores are its MatMuls.

    sources: q, k and v, each [images, tokens, heads * d].
    tokens: [windows, places], which token (of all images) is at each place, or PAD.
    """

    sources: tuple[Any, Any, Any]
    tokens: Ints
    sides: tuple[_Side, _Side]
    product: Any
    scores: Any

    @property
    def images(self) -> int:
        return int(self.sources[0].get_shape()[0])

    @property
    def heads(self) -> int:
        return int(self.scores.get_output_shape(0)[1])

    @property
    def size(self) -> int:
        """Channels of a head."""
        return int(self.sources[0].get_shape()[2]) // self.heads

    @property
    def side(self) -> int:
        """Tokens along one side of an image, which is square."""
        return math.isqrt(int(self.sources[0].get_shape()[1]))

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.images, self.side, self.side

    def places(self) -> tuple[Ints, Ints]:
        """Window and place of every token, if each has exactly one."""
        windows, places = np.nonzero(self.tokens != PAD)
        order = np.argsort(self.tokens[windows, places])
        return windows[order], places[order]

    def matrices(self, axis: int) -> Ints:
        """[images, side, side]: the matrix of each token's table, of rows (0) or columns (1)."""
        return self.sides[axis].which[self.places()].reshape(self.grid)

    def fits(self) -> bool:
        """Whether every token is in a window once, and its row and column choose its matrices."""
        count = self.images * int(self.sources[0].get_shape()[1])
        real = np.sort(self.tokens[self.tokens != PAD])
        if not np.array_equal(real, np.arange(count)) or math.prod(self.grid) != count:
            return False
        if math.prod(side.keys for side in self.sides) != self.tokens.shape[1]:
            return False
        rows, columns = self.matrices(0), self.matrices(1)
        straight = (rows == rows[:1, :, :1]).all() and (columns == columns[:1, :1]).all()
        return bool(straight)


def attend_from_tokens(model: Any) -> int:
    """Attention with a bias by row and by column -> the same without queries of padding.

    The bias becomes channels: `q k^T + rows + columns = [q, rows, columns] [k, row of the key,
    column of the key]^T`, where the further channels of keys are ones and zeros. It is computed
    where tokens still lie in the order of the image, so that nothing is copied for it but q once.
    Windows with equally many real tokens are computed together.

    Returns:
        How many were rewritten.
    """
    count, shared = 0, _Shared()
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Softmax":
            continue
        found = _attention(node)
        result = None if found is None else _result(found)
        if found is not None and result is not None:
            _rewrite(found, result, shared)
            count += 1
    return count


# What is there


def _attention(softmax: Any) -> _Attention | None:
    total = softmax.input_value(0).get_node()
    product = only_consumer(softmax, "MatMul")
    if total.get_type_name() != "Add" or product is None or dynamic(total, product):
        return None
    scores, bias = (total.input_value(i).get_node() for i in (0, 1))
    if scores.get_type_name() != "MatMul" or len(scores.get_output_shape(0)) != 4:
        return None
    if not _is_product(scores, transposed=True) or not _is_product(product):
        return None
    values = (scores.input_value(0), scores.input_value(1), product.input_value(1))
    found = [_cut(value, int(scores.get_output_shape(0)[1])) for value in values]
    cuts, sides = [cut for cut in found if cut is not None], _sides(bias, values[0])
    if sides is None or len(cuts) < len(values):
        return None
    (q, tokens), *others = cuts
    if any(not np.array_equal(tokens, other) for _, other in others):
        return None
    attention = _Attention((q, others[0][0], others[1][0]), tokens, sides, product, scores)
    return attention if attention.fits() else None


def _is_product(node: Any, transposed: bool = False) -> bool:
    attributes = node.get_attributes()
    return not attributes["transpose_a"] and bool(attributes["transpose_b"]) == transposed


def _cut(value: Any, heads: int) -> tuple[Any, Ints] | None:
    """`[windows, heads, places, d]` -> the tokens it is made of, and which is at each place."""
    source, copies = origin(value)
    shape = value.get_shape()
    if dynamic(source.get_node()) or len(source.get_shape()) != 3 or len(shape) != 4:
        return None
    width, size = int(source.get_shape()[2]), int(shape[3])
    if width != heads * size:
        return None
    elements = replay(copies, np.arange(math.prod(source.get_shape())).reshape(source.get_shape()))
    tokens = elements[:, 0, :, 0] // width  # of PAD: PAD
    if not np.array_equal(elements, _elements(tokens, heads, size)):
        return None
    return source, tokens


def _elements(tokens: Ints, heads: int, size: int) -> Ints:
    """[windows, places] -> [windows, heads, places, size], numbers of a token's elements."""
    parts = np.arange(heads)[:, None, None] * size + np.arange(size)
    every = tokens[:, None, :, None] * (heads * size) + parts
    return np.where(tokens[:, None, :, None] == PAD, PAD, every)


def _sides(bias: Any, q: Any) -> tuple[_Side, _Side] | None:
    parts = rows_and_columns(bias)
    if parts is None:
        return None
    rows, columns = (_side(part, q) for part in parts)
    return None if rows is None or columns is None else (rows, columns)


def _side(value: Any, q: Any) -> _Side | None:
    """What `value`, a product of the queries with a table, adds to their scores."""
    result, copies = origin(value)
    node = result.get_node()
    if node.get_type_name() != "MatMul" or not _is_product(node) or len(result.get_shape()) < 4:
        return None
    table = constant(node.input_value(1))
    (source, way), (tokens, cut) = origin(node.input_value(0)), origin(q)
    if table is None or table.ndim != 3 or source != tokens or table.shape[1] != q.get_shape()[3]:
        return None
    elements = np.arange(math.prod(source.get_shape())).reshape(source.get_shape())
    # Matrix, query (by its first element) and column of every element of the result
    named = (
        np.arange(table.shape[0])[:, None, None],
        replay(way, elements)[..., :1],
        np.arange(table.shape[2]),
    )
    shape = (*(int(n) for n in q.get_shape()[:3]), table.shape[2])
    which, query, column = (
        replay(copies, np.broadcast_to(part, result.get_shape())).reshape(shape) for part in named
    )
    same = (query == replay(cut, elements)[..., :1]).all() and (column == named[2]).all()
    if not same or (which != which[:, :1, :, :1]).any():
        return None
    return _Side(which[:, 0, :, 0], table.astype(np.float32))


def _result(a: _Attention) -> Any | None:
    """The value behind the product that holds all tokens in their order."""
    node, elements = a.product, _elements(a.tokens, a.heads, a.size)
    count = a.images * a.side**2 * a.heads * a.size
    while (after := only_consumer(node)) is not None and is_copy(after):
        node, elements = after, replay([after], elements)
    whole = elements.size == count and np.array_equal(elements.reshape(-1), np.arange(count))
    return node.output(0) if whole else None


# What takes its place


class _Shared:
    """Constants that all blocks have in common."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, tuple[int, ...], bytes], Any] = {}

    def __call__(self, values: NDArray[Any]) -> Any:
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._nodes:
            self._nodes[key] = ops.constant(np.ascontiguousarray(values))
        return self._nodes[key]


class _Order:
    """Tokens in another order: `order` names the token at each place of the result, [tokens]."""

    def __init__(self, order: Ints, const: _Shared) -> None:
        self.order, self._const = order, const
        self._taken: dict[tuple[str, int], Any] = {}

    def __call__(self, x: Any, axis: int = 0) -> Any:
        """x with its axis of tokens in this order."""
        if np.array_equal(self.order, np.arange(self.order.size)):
            return x
        tokens = self._const(self.order.astype(np.int32))
        return ops.gather(x, tokens, self._const(np.array(axis, np.int64)))

    def linear(self, value: Any) -> Any:
        """The same of a linear layer's result; on a quantised input that is half of the copy, and
        one for all layers that share it."""
        node, bias = value.get_node(), None
        if node.get_type_name() == "Add" and constant(node.input_value(1)) is not None:
            node, bias = node.input_value(0).get_node(), node.input_value(1)
        if node.get_type_name() != "MatMul" or value.get_shape()[0] != 1 or not _is_product(node):
            return self._flat(value)
        x = node.input_value(0)
        key = (x.get_node().get_friendly_name(), x.get_index())
        if key not in self._taken:
            self._taken[key] = self(x, 1)
        name = node.get_friendly_name()
        y = ops.matmul(self._taken[key], node.input_value(1), False, False, name=name)
        return y if bias is None else ops.add(y, bias, name=f"{name}/Add")

    def _flat(self, value: Any) -> Any:
        return self(ops.reshape(value, ints(self.order.size, -1), False))


def _rewrite(a: _Attention, result: Any, const: _Shared) -> None:
    groups = list(_groups(a.tokens))
    real = [group[group != PAD].reshape(len(group), -1) for group in groups]
    order = _Order(np.concatenate([part.reshape(-1) for part in real]), const)
    q = order(_with_bias(a, const))
    k, v = (_heads(order.linear(x), a) for x in a.sources[1:])
    places = np.pad(place_channels(*(side.keys for side in a.sides)), ((0, 0), (0, _spare(a))))
    cuts = [_pieces(x, [part.size for part in real]) for x in (q, k, v)]
    results = []
    where = a.places()[1]
    for group, part, values in zip(groups, real, zip(*cuts, strict=True), strict=True):
        padding = np.stack([places[window == PAD] for window in group])
        results.append(_attend(values, places[where[part]], padding, a, const))
    y = results[0] if len(results) == 1 else ops.concat(results, 0)
    y = _Order(np.argsort(order.order), const)(y)
    replace(result, ops.reshape(y, ints(*result.get_shape()), False))


def _with_bias(a: _Attention, const: _Shared) -> Any:
    """Queries and what they add to scores by row and by column: [tokens, heads, channels]."""
    q = _heads(a.sources[0], a)
    channels = [q, _along(q, a, 0, const), _along(q, a, 1, const)]
    if _spare(a):
        rest = (math.prod(a.grid), a.heads, _spare(a))
        channels.append(const(np.zeros(rest, np.float32)))
    return ops.concat(channels, -1)


def _spare(a: _Attention) -> int:
    return -(a.size + sum(side.keys for side in a.sides)) % CHANNELS


def _along(q: Any, a: _Attention, axis: int, const: _Shared) -> Any:
    """Queries times the table of rows (axis 0) or columns (1): [tokens, heads, keys]."""
    way = [1, 0, 2, 3, 4] if axis == 0 else [2, 0, 1, 3, 4]
    turned = axis == 1 or a.images > 1
    matrices = a.matrices(axis)
    table = a.sides[axis].table[matrices[0, :, 0] if axis == 0 else matrices[0, 0]]
    x = ops.reshape(q, ints(*a.grid, a.heads, a.size), False)
    x = ops.transpose(x, ints(*way)) if turned else x
    x = ops.reshape(x, ints(a.side, a.images * a.side * a.heads, a.size), False)
    name = f"{a.scores.get_friendly_name()}/{('rows', 'columns')[axis]}"
    x = ops.matmul(x, const(table), False, False, name=name)
    x = ops.reshape(x, ints(a.side, a.images, a.side, a.heads, -1), False)
    x = ops.transpose(x, ints(*np.argsort(way).tolist())) if turned else x
    return ops.reshape(x, ints(math.prod(a.grid), a.heads, -1), False)


def _heads(x: Any, a: _Attention) -> Any:
    return ops.reshape(x, ints(math.prod(a.grid), a.heads, a.size), False)


def _groups(tokens: Ints) -> Iterator[Ints]:
    """Windows with equally many real tokens, together."""
    sizes = (tokens != PAD).sum(axis=1)
    for size in sorted(set(sizes.tolist()) - {0}, reverse=True):
        yield tokens[sizes == size]


def _pieces(x: Any, sizes: list[int]) -> list[Any]:
    if len(sizes) == 1:
        return [x]
    return list(ops.variadic_split(x, ops.constant(np.int64(0)), ints(*sizes)).outputs())


def _attend(
    values: tuple[Any, ...], own: Floats, padding: Floats, a: _Attention, const: _Shared
) -> Any:
    """Attention in windows of real tokens and padding: [tokens, heads * d].

    own, padding: [windows, tokens, channels behind those of keys].
    """
    shape = own.shape[:2]
    q, k, v = (
        ops.transpose(ops.reshape(x, ints(*shape, a.heads, -1), False), ints(0, 2, 1, 3))
        for x in values
    )
    k = ops.concat([k, const(_by_head(own, a))], -1)
    if padding.shape[1]:
        empty = np.zeros((shape[0], a.heads, padding.shape[1], a.size), np.float32)
        k = ops.concat([k, const(np.concatenate([empty, _by_head(padding, a)], -1))], 2)
        v = ops.concat([v, const(empty)], 2)
    name = f"{a.scores.get_friendly_name()}/{shape[1]}"
    scores = ops.matmul(q, k, False, True, name=name)
    y = ops.matmul(ops.softmax(scores, -1), v, False, False, name=f"{name}/values")
    y = ops.transpose(y, ints(0, 2, 1, 3))
    return ops.reshape(y, ints(math.prod(shape), -1), False)


def _by_head(values: Floats, a: _Attention) -> Floats:
    """[windows, tokens, channels], once for each head."""
    return np.repeat(values[:, None], a.heads, axis=1)
