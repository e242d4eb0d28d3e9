"""A graph's uint8 results as TensorRT wants them: straight from the Cast that makes them.

TensorRT allows uint8 at a network's inputs and outputs only, and counts a Cast followed by an
Identity that renames the result as one in between. Bundles name their results by such an
Identity; here it is taken out. This needs no ONNX package, which a cart does not have: the file is
a protocol buffer, of which a handful of fields matters.
"""

from __future__ import annotations

from collections.abc import Iterator

from samedge.errors import BundleError

# Field numbers of onnx.proto.
_MODEL_GRAPH = 7
_NODE, _OUTPUT = 1, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE = 1, 2, 4
_INFO_NAME, _INFO_TYPE = 1, 2
_TENSOR_TYPE, _ELEMENT_TYPE = 1, 1
_UINT8 = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

Field = tuple[int, int, memoryview, memoryview]  # number, wire type, value, the whole field


def direct_uint8_outputs(model: bytes) -> bytes:
    """An ONNX file whose uint8 outputs are named by the node that computes them.

    Args:
        model: a serialised ModelProto.

    Returns:
        the same file if there is nothing to change.

    Raises:
        BundleError: it is no ONNX file.
    """
    try:
        return _renamed(memoryview(model)) or model
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise BundleError(
            f"a graph is not a valid ONNX file ({error}); export the bundle again"
        ) from error


def _renamed(model: memoryview) -> bytes | None:
    """The file with the names changed; None if there are none to change."""
    graph = next((value for number, _, value, _ in _fields(model) if number == _MODEL_GRAPH), None)
    if graph is None:
        raise ValueError("it has no graph")
    wanted = {name for value in _values(graph, _OUTPUT) if (name := _uint8_name(value))}
    names: dict[str, str] = {}
    for node in _values(graph, _NODE):
        kind, inputs, outputs = _node(node)
        if kind == "Identity" and outputs[0] in wanted:
            names[inputs[0]] = outputs[0]
    if not names:
        return None
    parts: list[bytes | memoryview] = []
    for number, _, value, whole in _fields(graph):
        parts.append(_renamed_node(value, whole, names) if number == _NODE else whole)
    body = b"".join(parts)
    return b"".join(
        _field(_MODEL_GRAPH, body) if number == _MODEL_GRAPH else whole
        for number, _, _, whole in _fields(model)
    )


def _renamed_node(node: memoryview, whole: memoryview, names: dict[str, str]) -> bytes | memoryview:
    """A node's field with its tensors renamed; nothing for the Identity that is not needed."""
    kind, inputs, outputs = _node(node)
    if kind == "Identity" and names.get(inputs[0]) == outputs[0]:
        return b""
    if not names.keys() & {*inputs, *outputs}:
        return whole
    parts: list[bytes | memoryview] = []
    for number, _, value, field in _fields(node):
        named = number in (_NODE_INPUT, _NODE_OUTPUT) and names.get(_text(value))
        parts.append(_field(number, named.encode()) if named else field)
    return _field(_NODE, b"".join(parts))


def _node(node: memoryview) -> tuple[str, list[str], list[str]]:
    """Operator, inputs and outputs."""
    kinds = [_text(value) for value in _values(node, _NODE_TYPE)]
    inputs = [_text(value) for value in _values(node, _NODE_INPUT)]
    outputs = [_text(value) for value in _values(node, _NODE_OUTPUT)]
    return kinds[0] if kinds else "", inputs or [""], outputs or [""]


def _uint8_name(info: memoryview) -> str:
    """The name of an output, if it is uint8."""
    name, kind = "", 0
    for number, _, value, _ in _fields(info):
        if number == _INFO_NAME:
            name = _text(value)
        elif number == _INFO_TYPE:
            for tensor in _values(value, _TENSOR_TYPE):
                kinds = [v for n, _, v, _ in _fields(tensor) if n == _ELEMENT_TYPE]
                kind = _varint(kinds[0], 0)[0] if kinds else 0
    return name if kind == _UINT8 else ""


def _values(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (value for number, _, value, _ in _fields(message) if number == wanted)


def _fields(message: memoryview) -> Iterator[Field]:
    """All fields of a protocol buffer message, nothing copied."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            size, at = _varint(message, at)
            end = at + size
        elif kind == _VARINT:
            _, end = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            end = at + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"unknown wire type {kind}")
        if end > len(message):
            raise ValueError("it ends in the middle of a field")
        yield number, kind, message[at:end], message[start:end]
        at = end


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next field begins."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")


def _field(number: int, value: bytes) -> bytes:
    """A field of bytes."""
    head = bytearray()
    for word in (number << 3 | _BYTES, len(value)):
        while word > 127:
            head.append(word & 127 | 128)
            word >>= 7
        head.append(word)
    return bytes(head) + value


def _text(value: memoryview) -> str:
    return str(value, "utf-8")
