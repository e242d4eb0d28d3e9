"""The nodes of an ONNX file: what is computed from what, by name. Needs no onnx package.

An ONNX file is one protobuf message. Only what tells the graph's shape is read; weights are
skipped, and the file is mapped, so a model of several gigabytes costs a few milliseconds.
https://protobuf.dev/programming-guides/encoding and onnx.proto give the numbers below.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from samedge.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field numbers of ModelProto, GraphProto, NodeProto and ValueInfoProto.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_KIND = 1, 2, 3, 4
_VALUE_NAME = 1


@dataclass(frozen=True)
class OnnxNode:
    """One operation: its name, its operator, and the values it takes and gives."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxNodes:
    """A graph's nodes in an order in which they can run, and the names of its ends."""

    nodes: tuple[OnnxNode, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def computed_from(self, sources: Iterable[str]) -> list[OnnxNode]:
        """The nodes that depend on one of the values `sources`, in order."""
        known, found = set(sources), []
        for node in self.nodes:
            if known.intersection(node.inputs):
                known.update(node.outputs)
                found.append(node)
        return found


def read_nodes(path: Path) -> OnnxNodes:
    """The nodes of the ONNX file at `path`.

    Raises:
        BundleError: it is no ONNX file, or cut short.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            view = memoryview(data)
            try:
                return _graph(view)
            finally:
                view.release()
    except (ValueError, IndexError, OSError) as error:
        raise BundleError(
            f"{path.name} is no complete ONNX file ({error}); copy or export the bundle again"
        ) from error


def _graph(model: memoryview) -> OnnxNodes:
    graphs = [span for number, span in _fields(model, 0, len(model)) if number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise ValueError("it holds no graph")
    nodes, inputs, outputs = [], [], []
    for number, (start, stop) in _fields(model, *graphs[0]):
        if number == _GRAPH_NODE:
            nodes.append(_node(model, start, stop))
        elif number == _GRAPH_INPUT:
            inputs.append(_value_name(model, start, stop))
        elif number == _GRAPH_OUTPUT:
            outputs.append(_value_name(model, start, stop))
    return OnnxNodes(tuple(nodes), tuple(inputs), tuple(outputs))


def _node(data: memoryview, start: int, stop: int) -> OnnxNode:
    inputs, outputs, name, kind = [], [], "", ""
    for number, (first, last) in _fields(data, start, stop):
        if number in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_KIND):
            text = str(data[first:last], "utf-8")
            if number == _NODE_INPUT:
                inputs.append(text)
            elif number == _NODE_OUTPUT:
                outputs.append(text)
            elif number == _NODE_NAME:
                name = text
            else:
                kind = text
    return OnnxNode(name, kind, tuple(inputs), tuple(outputs))


def _value_name(data: memoryview, start: int, stop: int) -> str:
    for number, (first, last) in _fields(data, start, stop):
        if number == _VALUE_NAME:
            return str(data[first:last], "utf-8")
    raise ValueError("a value without a name")


def _fields(data: memoryview, at: int, stop: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Number and extent of each length-delimited field of the message in [at, stop); numbers of
    other kinds are passed over.

    Raises:
        ValueError: not a message.
    """
    while at < stop:
        key, at = _varint(data, at, stop)
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            length, at = _varint(data, at, stop)
            if length > stop - at:
                raise ValueError("a field reaches beyond its end")
            yield number, (at, at + length)
            at += length
        elif kind == _VARINT:
            _, at = _varint(data, at, stop)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
    if at != stop:
        raise ValueError("a field reaches beyond its end")


def _varint(data: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
