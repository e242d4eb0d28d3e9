"""An ONNX file as plain values: `read_model`. Whatever samedge's exporters never write is refused.

Readers of ONNX disagree about files that are not quite right (a field that stands twice, two ways
to give one value). Such a file means one thing to whoever checks it and another to the engine, so
every part stands once, in the one form that is written, and unknown parts are errors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from samedge.bundle.graphs.wire import (
    BYTES,
    FIXED32,
    VARINT,
    Budget,
    WireError,
    fields,
    signed,
    varint,
)
from samedge.files.limits import GRAPH_AXES, GRAPH_NAME_BYTES, GRAPH_PARTS

MAX_TEXT = 1 << 20  # of the metadata: sizes of attention

OPSET = 20
FLOAT, UINT8, INT8, INT32, INT64, BOOL, HALF = 1, 2, 3, 6, 7, 9, 10
ITEMSIZE = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8, BOOL: 1, HALF: 2}

Shape = tuple[int | str, ...]
Attribute = int | float | tuple[int, ...]


@dataclass(frozen=True)
class Outside:
    """Where in the file of large weights a tensor lies: name, and bytes from where to where."""

    location: str
    offset: int
    length: int


@dataclass(frozen=True)
class Initialiser:
    """A tensor that is part of the graph.

    Attributes:
        name, shape: of it.
        dtype: ONNX's number of the element type.
        data: its bytes, little-endian, where they are in the file itself.
        outside: where they are if they are not.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    data: memoryview | None
    outside: Outside | None


@dataclass(frozen=True)
class Node:
    """An operation."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True)
class Port:
    """An input or output of a graph; sizes that are free have names."""

    name: str
    dtype: int
    shape: Shape


@dataclass
class Model:
    """A file's graph, in the file's order."""

    nodes: list[Node] = field(default_factory=list)
    initialisers: list[Initialiser] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)


def read_model(data: memoryview) -> Model:
    """The graph in an ONNX file.

    Raises:
        WireError: it is no ONNX file, or not as samedge writes them.
    """
    return _Reader(Budget(GRAPH_PARTS.most)).model(data)


# Message -> field -> (what it is, may stand more than once). Text that nobody reads is "text".
_ONE, _MANY = False, True
_Fields = Mapping[int, tuple[str, int, bool]]
_MODEL: _Fields = {
    1: ("ir_version", VARINT, _ONE), 2: ("text", BYTES, _ONE), 3: ("text", BYTES, _ONE),
    4: ("text", BYTES, _ONE), 5: ("number", VARINT, _ONE), 6: ("text", BYTES, _ONE),
    7: ("graph", BYTES, _ONE), 8: ("opset", BYTES, _ONE), 14: ("entry", BYTES, _MANY),
}  # fmt: skip
_GRAPH: _Fields = {
    1: ("node", BYTES, _MANY), 2: ("text", BYTES, _ONE), 5: ("initialiser", BYTES, _MANY),
    10: ("text", BYTES, _ONE), 11: ("input", BYTES, _MANY), 12: ("output", BYTES, _MANY),
}  # fmt: skip
_NODE: _Fields = {
    1: ("input", BYTES, _MANY), 2: ("output", BYTES, _MANY), 3: ("name", BYTES, _ONE),
    4: ("operator", BYTES, _ONE), 5: ("attribute", BYTES, _MANY), 6: ("text", BYTES, _ONE),
    7: ("domain", BYTES, _ONE),
}  # fmt: skip
_ATTRIBUTE: _Fields = {
    1: ("name", BYTES, _ONE), 2: ("float", FIXED32, _ONE), 3: ("int", VARINT, _ONE),
    8: ("ints", -1, _MANY), 20: ("type", VARINT, _ONE),
}  # fmt: skip
_TENSOR: _Fields = {
    1: ("dims", -1, _MANY), 2: ("dtype", VARINT, _ONE), 8: ("name", BYTES, _ONE),
    9: ("data", BYTES, _ONE), 13: ("place", BYTES, _MANY), 14: ("location", VARINT, _ONE),
}  # fmt: skip
_ENTRY: _Fields = {1: ("key", BYTES, _ONE), 2: ("value", BYTES, _ONE)}
_OPSET: _Fields = {1: ("domain", BYTES, _ONE), 2: ("version", VARINT, _ONE)}
_PORT: _Fields = {1: ("name", BYTES, _ONE), 2: ("type", BYTES, _ONE), 3: ("text", BYTES, _ONE)}
_TYPE: _Fields = {1: ("tensor", BYTES, _ONE)}
_TENSOR_TYPE: _Fields = {1: ("dtype", VARINT, _ONE), 2: ("shape", BYTES, _ONE)}
_SHAPE: _Fields = {1: ("dim", BYTES, _MANY)}
_DIM: _Fields = {1: ("size", VARINT, _ONE), 2: ("name", BYTES, _ONE)}

_INT, _FLOAT, _INTS = 2, 1, 7  # AttributeProto.AttributeType
_KIND = {_INT: "int", _FLOAT: "float", _INTS: "ints"}


class _Reader:
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def model(self, data: memoryview) -> Model:
        made, graphs, opsets = Model(), 0, []
        for name, value in self._known(data, _MODEL, "the file"):
            if name == "graph":
                graphs += 1
                self._graph(value, made)
            elif name == "opset":
                opsets.append(self._opset(value))
            elif name == "ir_version" and not 8 <= value <= 10:
                raise WireError(f"its version of ONNX is {value}, expected 8 to 10")
            elif name == "entry":
                self._entry(value)
        if graphs != 1:
            raise WireError("it has no graph")
        if opsets != [("", OPSET)]:
            raise WireError(f"its operators are not those of ONNX opset {OPSET}")
        return made

    def _graph(self, data: memoryview, made: Model) -> None:
        for name, value in self._known(data, _GRAPH, "the graph"):
            if name == "node":
                made.nodes.append(self._node(value))
            elif name == "initialiser":
                made.initialisers.append(self._tensor(value))
            elif name == "input":
                made.inputs.append(self._port(value))
            elif name == "output":
                made.outputs.append(self._port(value))

    def _node(self, data: memoryview) -> Node:
        name = operator = ""
        inputs, outputs = [], []
        attributes: dict[str, Attribute] = {}
        for part, value in self._known(data, _NODE, "a node"):
            if part == "name":
                name = text(value)
            elif part == "operator":
                operator = text(value)
            elif part == "input":
                inputs.append(text(value))
            elif part == "output":
                outputs.append(text(value))
            elif part == "domain" and len(value):
                raise WireError("an operator is not ONNX's own")
            elif part == "attribute":
                key, content = self._attribute(value)
                if key in attributes:
                    raise WireError(f"a node has the attribute {key!r} twice")
                attributes[key] = content
        return Node(name, operator, tuple(inputs), tuple(outputs), attributes)

    def _attribute(self, data: memoryview) -> tuple[str, Attribute]:
        name, kind = "", 0
        found: dict[str, Any] = {}
        for part, value in self._known(data, _ATTRIBUTE, "an attribute"):
            if part == "name":
                name = text(value)
            elif part == "type":
                kind = value
            elif part == "float":
                found["float"] = struct.unpack("<f", value)[0]
            elif part == "int":
                found["int"] = signed(value)
            else:
                found.setdefault("ints", []).extend(self._ints(value))
        wanted = _KIND.get(kind)
        if wanted is None or found.keys() != {wanted}:
            raise WireError(f"the attribute {name!r} is no number and no list of whole numbers")
        value = found[wanted]
        return name, tuple(value) if kind == _INTS else value

    def _tensor(self, data: memoryview) -> Initialiser:
        name, dtype, location = "", 0, 0
        dims: list[int] = []
        content: memoryview | None = None
        place: dict[str, str] = {}
        for part, value in self._known(data, _TENSOR, "a weight"):
            if part == "name":
                name = text(value)
            elif part == "dtype":
                dtype = value
            elif part == "dims":
                dims.extend(self._ints(value))
            elif part == "data":
                content = value
            elif part == "location":
                location = value
            else:
                key, entry = self._entry(value)
                if key in place:
                    raise WireError(f"the weight {name!r} has two places")
                place[key] = entry
        if dtype not in ITEMSIZE or len(dims) > GRAPH_AXES.most or any(side < 0 for side in dims):
            raise WireError(f"the weight {name!r} has no type and shape that weights have")
        if (content is None) == (location == 0) or bool(place) != (location == 1) or location > 1:
            raise WireError(f"the weight {name!r} is neither in the file nor beside it")
        outside = _outside(name, place) if place else None
        return Initialiser(name, dtype, tuple(dims), content, outside)

    def _port(self, data: memoryview) -> Port:
        name, dtype = "", 0
        shape: Shape | None = None
        for part, value in self._known(data, _PORT, "an input or output"):
            if part == "name":
                name = text(value)
            elif part == "type":
                for _, tensor in self._known(value, _TYPE, "a type"):
                    for kind, content in self._known(tensor, _TENSOR_TYPE, "a tensor's type"):
                        if kind == "dtype":
                            dtype = content
                        else:
                            shape = self._shape(content)
        if dtype not in ITEMSIZE or shape is None:
            raise WireError(f"the input or output {name!r} has no type and shape")
        return Port(name, dtype, shape)

    def _shape(self, data: memoryview) -> Shape:
        sizes: list[int | str] = []
        for _, dim in self._known(data, _SHAPE, "a shape"):
            found = list(self._known(dim, _DIM, "a size"))
            if len(found) != 1:
                raise WireError("a size of an input or output is neither fixed nor named")
            part, value = found[0]
            if part == "size" and not 0 < value < 1 << 31:
                raise WireError(f"an input or output has the size {signed(value)}")
            sizes.append(value if part == "size" else text(value))
        if len(sizes) > GRAPH_AXES.most:
            raise WireError(f"an input or output has {len(sizes)} axes")
        return tuple(sizes)

    def _opset(self, data: memoryview) -> tuple[str, int]:
        found = dict(self._known(data, _OPSET, "an operator set"))
        domain = found.get("domain", memoryview(b""))
        return (text(domain) if len(domain) else ""), found.get("version", 0)

    def _entry(self, data: memoryview) -> tuple[str, str]:
        found = dict(self._known(data, _ENTRY, "an entry"))
        if found.keys() != {"key", "value"}:
            raise WireError("an entry lacks its name or its value")
        return text(found["key"]), text(found["value"], MAX_TEXT)

    def _ints(self, value: int | memoryview) -> Iterator[int]:
        """The numbers of a repeated field: one, or several packed together."""
        if isinstance(value, int):
            yield signed(value)
            return
        at = 0
        while at < len(value):
            self._budget.take()
            number, at = varint(value, at)
            yield signed(number)

    def _known(self, data: memoryview, known: _Fields, what: str) -> Iterator[tuple[str, Any]]:
        """The fields of a message by their names."""
        seen = set()
        for number, kind, value in fields(data, self._budget):
            name, wanted, many = known.get(number, ("", 0, _ONE))
            if not name:
                raise WireError(f"{what} has a part (number {number}) that samedge never writes")
            if kind != wanted and not (wanted == -1 and kind in (VARINT, BYTES)):
                raise WireError(f"{what} has a part (number {number}) of another type")
            if number in seen and not many:
                raise WireError(f"{what} has a part (number {number}) twice")
            seen.add(number)
            yield name, value


def text(data: memoryview, limit: int = GRAPH_NAME_BYTES.most) -> str:
    """A name: UTF-8, printable (it goes to terminals and reports), and not endless.

    Raises:
        WireError: it is something else.
    """
    if len(data) > limit:
        raise WireError(f"a name has {len(data)} bytes, expected up to {limit}")
    try:
        found = bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("a name is no UTF-8") from None
    if not found.isprintable():
        raise WireError("a name has characters that cannot be printed")
    return found


def _outside(name: str, place: Mapping[str, str]) -> Outside:
    numbers = [place.get(key, "") for key in ("offset", "length")]
    plain = all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers)
    if place.keys() != {"location", "offset", "length"} or not plain:
        raise WireError(
            f"the weight {name!r} lies in another file, without a plain name, offset and length"
        )
    return Outside(place["location"], int(numbers[0]), int(numbers[1]))
