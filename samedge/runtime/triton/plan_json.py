"""A plan as JSON and back: docs/triton-engine.md has the format.

Reading is strict: every key is known and of its type, every number in its range, and nothing is
missing. What the values mean for each other `samedge.runtime.triton.plan_check` looks at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import Any, NoReturn, TypeVar

from samedge.errors import SourceError
from samedge.runtime.triton.plan import (
    ITEMSIZE,
    Argument,
    EnginePlan,
    KernelCode,
    Port,
    Program,
    Resources,
    Step,
    Target,
    Weight,
)
from samedge.runtime.triton.sizes import OPERATORS, Expr, Size

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
GRAPHS = ("encoder", "decoder")
PORT_TYPES = ("uint8", "int32", "int64", "float16", "float32")
ARGUMENTS = ("arena", "weight", "port", "size", "null")
LARGEST = (1 << 48) - 1  # of any number: bytes, elements
_MOST_TEXT = 500  # characters
_MOST_AXES = 8
_DEEPEST = 32  # expressions inside each other
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

T = TypeVar("T")


def plan_to_json(plan: EnginePlan) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "samedge": plan.samedge,
        "bundle": plan.bundle,
        "precision": plan.precision,
        "files": dict(plan.files),
        "weights_size": plan.weights_size,
        "weights": [asdict(weight) for weight in plan.weights],
        "targets": [_target_to_json(plan.targets[number]) for number in sorted(plan.targets)],
    }


def size_to_json(size: Size) -> Any:
    """A number, a name, or [operator, size, size]."""
    if isinstance(size, int):
        return size
    if size.operator == "name":
        return size.parts[0]
    return [size.operator, *map(size_to_json, size.parts)]


def _target_to_json(target: Target) -> dict[str, Any]:
    return {
        "compute_capability": target.compute_capability,
        "kernels": [asdict(kernel) for kernel in target.kernels],
        "programs": [_program_to_json(program) for program in target.programs],
    }


def _program_to_json(program: Program) -> dict[str, Any]:
    return {
        "graph": program.graph,
        "limits": dict(program.limits),
        "inputs": [_port_to_json(port) for port in program.inputs],
        "outputs": [_port_to_json(port) for port in program.outputs],
        "arena": size_to_json(program.arena),
        "steps": [_step_to_json(step) for step in program.steps],
    }


def _port_to_json(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": [size_to_json(s) for s in port.shape]}


def _step_to_json(step: Step) -> dict[str, Any]:
    return {
        "label": step.label,
        "kernel": step.kernel,
        "grid": [size_to_json(size) for size in step.grid],
        "arguments": [_argument_to_json(argument) for argument in step.arguments],
        "flops": size_to_json(step.flops),
        "reads": size_to_json(step.reads),
        "writes": size_to_json(step.writes),
    }


def _argument_to_json(argument: Argument) -> list[Any]:
    if argument.kind == "null":
        return ["null"]
    value = size_to_json(argument.value)
    return [argument.kind, value] + [argument.port] * (argument.kind == "port")


class Node:
    """A JSON object whose keys are all known.

    Args:
        data: the value that came.
        where: it stands, for messages: "targets[0]".
        keys: that it has to have, and no others.

    Raises:
        SourceError: it is no object, a key is missing or not known.
    """

    def __init__(self, data: Any, where: str, keys: Iterable[str]) -> None:
        self.where = where
        if not isinstance(data, dict):
            wrong(where or "plan", "an object", data)
        self._data: dict[str, Any] = data
        wanted = set(keys)
        for key in wanted - data.keys():
            wrong(self.at(key), "a value", "nothing")
        for key in data.keys() - wanted:
            wrong(self.at(str(key)), "no such key", "one")

    def at(self, key: str) -> str:
        """Where a key stands."""
        return f"{self.where}.{key}" if self.where else key

    def text(self, key: str, pattern: re.Pattern[str] | None = None, empty: bool = False) -> str:
        """One line of printable text, of a pattern if there is one."""
        value = self._data[key]
        fine = isinstance(value, str) and value.isprintable() and len(value) <= _MOST_TEXT
        if not fine or not (value or empty):
            wrong(self.at(key), "one line of printable text", value)
        if pattern is not None and not pattern.fullmatch(value):
            wrong(self.at(key), pattern.pattern, value)
        return str(value)

    def choice(self, key: str, choices: Iterable[str]) -> str:
        """One of several words."""
        value, known = self._data[key], tuple(choices)
        if not isinstance(value, str) or value not in known:
            wrong(self.at(key), "one of " + ", ".join(known), value)
        return value

    def number(self, key: str, low: int = 0, high: int = LARGEST) -> int:
        """A whole number from `low` to `high`."""
        return _number(self._data[key], self.at(key), low, high)

    def list(self, key: str, read: Callable[[Any, str], T], least: int = 0) -> tuple[T, ...]:
        """A list, each value read by `read(value, where)`."""
        values = self._data[key]
        if not isinstance(values, list) or len(values) < least:
            wrong(self.at(key), f"a list of {least} values or more", values)
        return tuple(read(value, f"{self.at(key)}[{n}]") for n, value in enumerate(values))

    def table(self, key: str, read: Callable[[Any, str], T]) -> dict[str, T]:
        """An object of any keys, each value read by `read(value, where)`."""
        values = self._data[key]
        if not isinstance(values, dict):
            wrong(self.at(key), "an object", values)
        return {name: read(value, f"{self.at(key)}.{name}") for name, value in values.items()}

    def size(self, key: str) -> Size:
        """A number or an expression."""
        return _size(self._data[key], self.at(key))

    def any(self, key: str) -> Any:
        """Whatever stands there."""
        return self._data[key]


def wrong(where: str, wanted: str, got: Any) -> NoReturn:
    """Refuse a value."""
    raise SourceError(
        f"the engine's plan is damaged or of another version of samedge: '{where:.200}' is "
        f"{got!r:.100}, expected {wanted}; build the engine again with `samedge build`"
    )


def plan_from_json(data: Any, more: Iterable[str] = ()) -> EnginePlan:
    """What `plan_to_json` gave.

    Args:
        data: JSON values.
        more: further keys, which the caller reads.

    Raises:
        SourceError: names the first value that is missing or wrong.
    """
    node = Node(data, "", (*(field.name for field in fields(EnginePlan)), *more))
    targets = node.list("targets", _target, 1)
    numbers = [target.compute_capability for target in targets]
    if len({*numbers}) != len(numbers):
        wrong("targets", "different compute capabilities", numbers)
    return EnginePlan(
        samedge=node.text("samedge"),
        bundle=node.text("bundle"),
        precision=node.choice("precision", PRECISIONS),
        files=node.table("files", _digest),
        weights=node.list("weights", _weight),
        weights_size=node.number("weights_size"),
        targets=dict(zip(numbers, targets, strict=True)),
    )


def _number(value: Any, where: str, low: int = 0, high: int = LARGEST) -> int:
    if type(value) is not int or not low <= value <= high:
        wrong(where, f"a whole number from {low} to {high}", value)
    return int(value)


def _digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        wrong(where, "64 hexadecimal digits", value)
    return value


def _size(value: Any, where: str, depth: int = 0) -> Size:
    if type(value) is int:
        return _number(value, where)
    if isinstance(value, str):
        return Expr("name", (_size_name(value, where),))
    if depth == _DEEPEST:
        wrong(where, f"at most {_DEEPEST} expressions inside each other", "more")
    if not isinstance(value, list) or len(value) != 3 or value[0] not in OPERATORS:
        wrong(where, "a number, a name or [operator, size, size]", value)
    operator, a, b = value
    if operator == "/" and (type(b) is not int or b == 0):
        wrong(where, "a quotient by a number that is not 0", value)
    return Expr(operator, (_size(a, where, depth + 1), _size(b, where, depth + 1)))


def _size_name(value: str, where: str) -> str:
    if not _NAME.fullmatch(value):
        wrong(where, "a name of letters, digits and _", value)
    return value


def _weight(data: Any, where: str) -> Weight:
    node = Node(data, where, (field.name for field in fields(Weight)))
    shape = node.list("shape", lambda v, at: _number(v, at, 1))
    strides = node.list("strides", _number)
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        wrong(where, f"a stride for each of up to {_MOST_AXES} sizes", [shape, strides])
    if math.prod(shape) > LARGEST:
        wrong(where, f"at most {LARGEST} elements", list(shape))
    scale = node.any("scale")
    if type(scale) not in (int, float) or not 1e-30 < abs(scale) < 1e30:
        wrong(node.at("scale"), "a finite number that is not 0", scale)
    return Weight(
        name=node.text("name"),
        file=node.text("file", empty=True),
        position=node.number("position"),
        stored=node.choice("stored", ITEMSIZE),
        shape=shape,
        strides=strides,
        scale=float(scale),
        dtype=node.choice("dtype", ITEMSIZE),
        offset=node.number("offset"),
    )


def _target(data: Any, where: str) -> Target:
    node = Node(data, where, (field.name for field in fields(Target)))
    return Target(
        node.number("compute_capability", 10, 999),
        node.list("kernels", _kernel),
        node.list("programs", _program, 1),
    )


def _kernel(data: Any, where: str) -> KernelCode:
    node = Node(data, where, (field.name for field in fields(KernelCode)))
    inner = Node(node.any("resources"), node.at("resources"), (f.name for f in fields(Resources)))
    return KernelCode(
        name=node.text("name"),
        symbol=node.text("symbol", re.compile(r"[A-Za-z_$][A-Za-z0-9_$.]*", re.ASCII)),
        position=node.number("position"),
        size=node.number("size", 1),
        sha256=_digest(node.any("sha256"), node.at("sha256")),
        threads=node.number("threads", 1, 1024),
        parameters=node.text("parameters", re.compile("[pi]*"), empty=True),
        resources=Resources(
            registers=inner.number("registers", 0, 255),
            shared=inner.number("shared", 0, 1 << 20),
            spilled=inner.number("spilled", 0, 1 << 30),
            tensor_core=inner.number("tensor_core", 0, 1 << 30),
            blocks=inner.number("blocks", 0, 64),
        ),
    )


def _program(data: Any, where: str) -> Program:
    node = Node(data, where, (field.name for field in fields(Program)))
    limits = node.table("limits", lambda v, at: _number(v, at, 1, (1 << 31) - 1))
    for name in limits:
        _size_name(name, node.at("limits"))
    return Program(
        graph=node.choice("graph", GRAPHS),
        limits=limits,
        inputs=node.list("inputs", _port, 1),
        outputs=node.list("outputs", _port, 1),
        arena=node.size("arena"),
        steps=node.list("steps", _step, 1),
    )


def _port(data: Any, where: str) -> Port:
    node = Node(data, where, (field.name for field in fields(Port)))
    shape = node.list("shape", _size)
    if len(shape) > _MOST_AXES:
        wrong(node.at("shape"), f"at most {_MOST_AXES} sizes", len(shape))
    return Port(node.text("name", _NAME), node.choice("dtype", PORT_TYPES), shape)


def _step(data: Any, where: str) -> Step:
    node = Node(data, where, (field.name for field in fields(Step)))
    grid = node.list("grid", _size)
    if len(grid) != 3:
        wrong(node.at("grid"), "blocks in x, y and z", len(grid))
    return Step(
        label=node.text("label", empty=True),
        kernel=node.number("kernel"),
        grid=(grid[0], grid[1], grid[2]),
        arguments=node.list("arguments", _argument),
        flops=node.size("flops"),
        reads=node.size("reads"),
        writes=node.size("writes"),
    )


def _argument(data: Any, where: str) -> Argument:
    if not isinstance(data, list) or not data or data[0] not in ARGUMENTS:
        wrong(where, "a list that begins with " + ", ".join(ARGUMENTS), data)
    kind = data[0]
    if len(data) != {"null": 1, "port": 3}.get(kind, 2):
        wrong(where, '["null"], ["port", size, name] or [kind, size]', data)
    if kind == "null":
        return Argument("null")
    if kind == "size" and type(data[1]) is int:
        return Argument("size", _number(data[1], where, -(1 << 31), (1 << 31) - 1))
    value = _size(data[1], where)
    if kind != "port":
        return Argument(kind, value)
    name = data[2]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        wrong(where, "the name of a port", name)
    return Argument("port", value, name)
