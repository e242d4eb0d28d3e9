"""Attention with relative positions, cut anew for OpenVINO's CPU plugin.

A grid of 32 x 32 tokens in windows of 14 x 14 is padded to 42 x 42. Padding must be attended, but
need not attend: here only real tokens are queries. Blocks are found by their names, and their sizes
stand in the graph's metadata (`samedge.bundle.attention_sizes`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops
from samedge.bundle.attention_sizes import ATTENTION, AttentionSizes, attention_from_text
from samedge.runtime.openvino.rewrites.nodes import (
    constant,
    ints,
    only_consumer,
    place_channels,
    replace,
)

CHANNELS = 32  # a matrix product takes so many at a time: a rest costs as much as all of them
PAD = -1  # stands for a token of padding

RECORDED = ["framework", ATTENTION]  # where OpenVINO keeps an ONNX file's metadata in a model
_BLOCK = re.compile(r"(encoder\.blocks\.\d+\.attn)/Softmax")
_COPIES = ("Reshape", "Transpose", "Pad", "Slice")

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Attention:
    """softmax(q k^T + rows + columns) v of tokens in windows.

    name: of the product of queries and keys.
    sources: q, k and v, each [images, tokens, heads * d].
    tables: relative positions by row and by column, each [window, d, window]: a matrix for every
        place of a query, a column of it for every place of a key.
    result: the value that holds all tokens in their order again, [images, tokens, heads * d].
    """

    name: str
    sizes: AttentionSizes
    sources: tuple[Any, Any, Any]
    tables: tuple[Floats, Floats]
    result: Any

    @property
    def count(self) -> int:
        """Tokens of all images."""
        return self.sizes.b * self.sizes.n**2

    def fits(self) -> bool:
        """Whether the sizes are those of the graph."""
        s = self.sizes
        tokens, table = [s.b, s.n**2, s.dim], (s.w, s.d, s.w)
        values = (*self.sources, self.result)
        return all(_shape(value) == tokens for value in values) and all(
            one.shape == table for one in self.tables
        )

    def tokens(self) -> Ints:
        """[windows, places]: which token (of all images) is at each place, or PAD."""
        s = self.sizes
        side = s.count * s.w
        grid = np.full((s.b, side, side), PAD)
        grid[:, : s.n, : s.n] = np.arange(self.count).reshape(s.b, s.n, s.n)
        cut = grid.reshape(s.b, s.count, s.w, s.count, s.w).transpose(0, 1, 3, 2, 4)
        return cut.reshape(s.windows, s.w**2)

    def table(self, axis: int) -> Floats:
        """The matrix of every row (axis 0) or column (1) of the grid: [grid, d, window]."""
        return self.tables[axis][np.arange(self.sizes.n) % self.sizes.w]


def attend_from_tokens(model: Any) -> int:
    """Attention with a bias by row and by column -> the same without queries of padding.

    The bias becomes channels: `q k^T + rows + columns = [q, rows, columns] [k, row of the key,
    column of the key]^T`, where the further channels of keys are ones and zeros. It is computed
    where tokens still lie in the order of the image, so that nothing is copied for it but q once.
    Windows with equally many real tokens are computed together.

    Returns:
        How many were rewritten.

    Raises:
        BundleError: the graph's metadata is damaged.
    """
    recorded = _recorded_sizes(model)
    nodes = {str(node.get_friendly_name()): node for node in model.get_ordered_ops()}
    count, shared = 0, _Shared()
    for name in list(nodes):
        block = _BLOCK.fullmatch(name)
        found = None if block is None else _attention(nodes, block.group(1), recorded)
        if found is not None:
            _rewrite(found, shared)
            count += 1
    return count


# What is there


def _recorded_sizes(model: Any) -> dict[str, AttentionSizes]:
    """Sizes by the paths of blocks; none in graphs of before they were recorded, or where OpenVINO
    does not hand on a file's metadata."""
    if not model.has_rt_info(RECORDED):
        return {}
    return attention_from_text(str(model.get_rt_info(RECORDED).value))


def _attention(
    nodes: Mapping[str, Any], path: str, recorded: Mapping[str, AttentionSizes]
) -> _Attention | None:
    softmax = nodes[f"{path}/Softmax"]
    scores = softmax.input_value(0).get_node().input_value(0).get_node()
    product = only_consumer(softmax, "MatMul")
    tables = _tables(nodes, path)
    if product is None or tables is None or scores.get_type_name() != "MatMul":
        return None
    values = (scores.input_value(0), scores.input_value(1), product.input_value(1))
    q, k, v = (_source(value) for value in values)
    sizes = recorded.get(path) or _measured_sizes(q, tables[0])
    if sizes is None:
        return None
    name = str(scores.get_friendly_name())
    found = _Attention(name, sizes, (q, k, v), tables, _result(product))
    return found if found.fits() else None


def _tables(nodes: Mapping[str, Any], path: str) -> tuple[Floats, Floats] | None:
    products = [nodes.get(f"{path}.{key}/MatMul") for key in ("rel_h", "rel_w")]
    found = [constant(node.input_value(1)) for node in products if node is not None]
    tables = [table.astype(np.float32) for table in found if table is not None and table.ndim == 3]
    return (tables[0], tables[1]) if len(tables) == 2 else None


def _measured_sizes(q: Any, table: Floats) -> AttentionSizes | None:
    """Sizes of a block, which has as many tokens along one side as along the other."""
    shape = _shape(q)
    if len(shape) != 3:
        return None
    window, size, _ = table.shape
    return AttentionSizes(shape[0], math.isqrt(shape[1]), shape[2] // size, size, window)


def _shape(value: Any) -> list[int]:
    """The shape of a value; empty where it is not fixed."""
    return [] if value.get_partial_shape().is_dynamic else [int(n) for n in value.get_shape()]


def _source(value: Any) -> Any:
    """What a value in windows and heads was cut from."""
    while value.get_node().get_type_name() in _COPIES:
        value = value.get_node().input_value(0)
    return value


def _result(product: Any) -> Any:
    """The product's value once its windows and heads are tokens again."""
    node = product
    while len(_shape(node.output(0))) != 3:
        after = only_consumer(node)
        if after is None or after.get_type_name() not in _COPIES:
            break
        node = after
    return node.output(0)


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
        if node.get_type_name() != "MatMul" or value.get_shape()[0] != 1:
            return self._flat(value)
        if any(node.get_attributes().values()):  # one of its factors is transposed
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


def _rewrite(a: _Attention, const: _Shared) -> None:
    tokens = a.tokens()
    groups = list(_groups(tokens))
    real = [group[group != PAD].reshape(len(group), -1) for group in groups]
    order = _Order(np.concatenate([part.reshape(-1) for part in real]), const)
    q = order(_with_bias(a, const))
    k, v = (_heads(order.linear(x), a) for x in a.sources[1:])
    places = np.pad(place_channels(a.sizes.w, a.sizes.w), ((0, 0), (0, _spare(a))))
    cuts = [_pieces(x, [part.size for part in real]) for x in (q, k, v)]
    results = []
    where = np.nonzero(tokens != PAD)[1][np.argsort(tokens[tokens != PAD])]  # each token's place
    for group, part, values in zip(groups, real, zip(*cuts, strict=True), strict=True):
        padding = np.stack([places[window == PAD] for window in group])
        results.append(_attend(values, places[where[part]], padding, a, const))
    y = results[0] if len(results) == 1 else ops.concat(results, 0)
    y = _Order(np.argsort(order.order), const)(y)
    replace(a.result, ops.reshape(y, ints(*a.result.get_shape()), False))


def _with_bias(a: _Attention, const: _Shared) -> Any:
    """Queries and what they add to scores by row and by column: [tokens, heads, channels]."""
    q = _heads(a.sources[0], a)
    channels = [q, _along(q, a, 0, const), _along(q, a, 1, const)]
    if _spare(a):
        rest = (a.count, a.sizes.h, _spare(a))
        channels.append(const(np.zeros(rest, np.float32)))
    return ops.concat(channels, -1)


def _spare(a: _Attention) -> int:
    return -(a.sizes.d + 2 * a.sizes.w) % CHANNELS


def _along(q: Any, a: _Attention, axis: int, const: _Shared) -> Any:
    """Queries times the table of rows (axis 0) or columns (1): [tokens, heads, keys]."""
    s = a.sizes
    way = [1, 0, 2, 3, 4] if axis == 0 else [2, 0, 1, 3, 4]
    turned = axis == 1 or s.b > 1
    x = ops.reshape(q, ints(s.b, s.n, s.n, s.h, s.d), False)
    x = ops.transpose(x, ints(*way)) if turned else x
    x = ops.reshape(x, ints(s.n, s.b * s.n * s.h, s.d), False)
    name = f"{a.name}/{('rows', 'columns')[axis]}"
    x = ops.matmul(x, const(a.table(axis)), False, False, name=name)
    x = ops.reshape(x, ints(s.n, s.b, s.n, s.h, -1), False)
    x = ops.transpose(x, ints(*np.argsort(way).tolist())) if turned else x
    return ops.reshape(x, ints(a.count, s.h, -1), False)


def _heads(x: Any, a: _Attention) -> Any:
    return ops.reshape(x, ints(a.count, a.sizes.h, a.sizes.d), False)


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
        ops.transpose(ops.reshape(x, ints(*shape, a.sizes.h, -1), False), ints(0, 2, 1, 3))
        for x in values
    )
    k = ops.concat([k, const(_by_head(own, a))], -1)
    if padding.shape[1]:
        empty = np.zeros((shape[0], a.sizes.h, padding.shape[1], a.sizes.d), np.float32)
        k = ops.concat([k, const(np.concatenate([empty, _by_head(padding, a)], -1))], 2)
        v = ops.concat([v, const(empty)], 2)
    name = f"{a.name}/{shape[1]}"
    scores = ops.matmul(q, k, False, True, name=name)
    y = ops.matmul(ops.softmax(scores, -1), v, False, False, name=f"{name}/values")
    y = ops.transpose(y, ints(0, 2, 1, 3))
    return ops.reshape(y, ints(math.prod(shape), -1), False)


def _by_head(values: Floats, a: _Attention) -> Floats:
    """[windows, tokens, channels], once for each head."""
    return np.repeat(values[:, None], a.sizes.h, axis=1)
