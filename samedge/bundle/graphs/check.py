"""A bundle's graph against what samedge's exporters write, before an engine sees it.

Engines are not told of a graph that is anything else: other operators, types or shapes that do not
go together, weights that are not where they should be, names that are no text.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from samedge.bundle.graphs.model import (
    INT64,
    ITEMSIZE,
    Initialiser,
    Model,
    Node,
    Port,
    Shape,
    read_model,
)
from samedge.bundle.graphs.operators import results
from samedge.bundle.graphs.values import LISTED, NAMES, RuleError, Value, same
from samedge.bundle.manifest import GraphEntry, TensorEntry
from samedge.errors import BundleError


def check_graph(path: Path, entry: GraphEntry | None = None) -> None:
    """Refuse an ONNX file that no exporter of samedge writes.

    Args:
        path: of the graph; weights outside of it are in `NAME.data` beside it, and nowhere else.
        entry: what the manifest says of it; None: only the file itself is looked at.

    Raises:
        BundleError: says what is wrong with it.
        OSError: it cannot be read.
    """
    data = path.with_name(f"{path.name}.data")
    size = data.stat().st_size if data.is_file() else None
    try:
        with open(path, "rb") as file:
            # Nobody closes the map: it goes with the last view of it.
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        _check(view, data.name, size, entry)
    except ValueError as error:  # an empty file cannot be mapped
        raise BundleError(
            f"{path.name} is no graph that samedge writes: {error}. It is not loaded; export the "
            "bundle again"
        ) from None


def _check(
    view: memoryview, data_name: str, data_size: int | None, entry: GraphEntry | None
) -> None:
    model = read_model(view)
    for one in model.initialisers:
        _check_place(one, data_name, data_size)
    values = _start(model)
    for node in model.nodes:
        _run(node, values)
    _check_outputs(model.outputs, values)
    if entry is not None:
        _check_ports(model.inputs, entry.inputs, "inputs")
        _check_ports(model.outputs, entry.outputs, "outputs")


def _check_place(one: Initialiser, data_name: str, data_size: int | None) -> None:
    size = prod(one.shape) * ITEMSIZE[one.dtype]
    if one.outside is None:
        if one.data is not None and len(one.data) != size:
            raise RuleError(
                f"the weight '{one.name}' has {len(one.data)} bytes, its shape says {size}"
            )
        return
    place = one.outside
    if place.location != data_name or data_size is None:
        raise RuleError(
            f"the weight '{one.name}' lies in another file, '{place.location}'; weights outside of "
            f"the graph are only taken from {data_name}, which the manifest lists"
        )
    if place.length != size or place.offset + place.length > data_size:
        raise RuleError(
            f"the weight '{one.name}' has {size} bytes, and its place in {data_name} is "
            f"{place.offset} + {place.length} of {data_size}"
        )


def _start(model: Model) -> dict[str, Value]:
    """Inputs and weights by name."""
    values: dict[str, Value] = {}
    for port in model.inputs:
        _add(values, port.name, Value(port.dtype, port.shape))
    for one in model.initialisers:
        _add(values, one.name, Value(one.dtype, one.shape, _numbers(one), constant=True))
    return values


def _add(values: dict[str, Value], name: str, value: Value) -> None:
    if not name or name in values:
        raise RuleError(f"the value '{name}' is made twice, or has no name")
    values[name] = value


def _numbers(one: Initialiser) -> tuple[int, ...] | None:
    if one.dtype != INT64 or one.data is None or len(one.shape) > 1 or prod(one.shape) > LISTED:
        return None
    return tuple(np.frombuffer(one.data, "<i8").tolist())


def _run(node: Node, values: dict[str, Value]) -> None:
    try:
        unknown = [name for name in node.inputs if name not in values]
        if unknown:
            raise RuleError(f"nothing before it makes its input '{unknown[0]}'")
        given = [values[name] for name in node.inputs]
        for name, value in zip(node.outputs, results(node, given), strict=True):
            _add(values, name, value)
    except RuleError as error:
        raise RuleError(f"node '{node.name}' ({node.operator}): {error}") from None


def _check_outputs(outputs: Sequence[Port], values: dict[str, Value]) -> None:
    for port in outputs:
        value = values.get(port.name)
        if value is None or value.constant:
            raise RuleError(f"nothing computes its output '{port.name}'")
        fits = len(value.shape) == len(port.shape) and all(
            same(one, other) for one, other in zip(value.shape, port.shape, strict=True)
        )
        if value.dtype != port.dtype or not fits:
            raise RuleError(f"its output '{port.name}' is not computed in the shape that it says")


def _check_ports(ports: Sequence[Port], listed: Sequence[TensorEntry], what: str) -> None:
    found = {port.name: (NAMES[port.dtype], _plain(port.shape)) for port in ports}
    wanted = {tensor.name: (tensor.dtype, _plain(tensor.shape)) for tensor in listed}
    if found != wanted or len(ports) != len(listed):
        wrong = sorted(
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        )
        raise RuleError(f"the manifest says otherwise of its {what} ({', '.join(wrong)})")


def _plain(shape: Shape) -> tuple[int | None, ...]:
    """Free sizes are equal whatever they are called."""
    return tuple(side if isinstance(side, int) else None for side in shape)
