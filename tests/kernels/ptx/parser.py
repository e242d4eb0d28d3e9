"""The PTX of one Triton kernel as a list of instructions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        opcode: "ld.global.v4.b32" -> ("ld", "global", "v4", "b32").
        operands: as they stand; {...} vectors and [...] addresses stay whole.
        predicate: register that it depends on, with "%", or None.
        negated: it is carried out where the predicate is false.
        location: line of the source, "attention.py:103".
    """

    opcode: tuple[str, ...]
    operands: tuple[str, ...]
    predicate: str | None
    negated: bool
    location: str

    def __str__(self) -> str:
        return f"{'.'.join(self.opcode)} {', '.join(self.operands)}"


@dataclass(frozen=True)
class Program:
    """A kernel.

    Attributes:
        name: of its function.
        parameters: how many it takes.
        threads: per block.
        register_types: prefix of registers -> type: {"r": "b32", "p": "pred"}.
        instructions: in order.
        labels: label -> index of the instruction that it stands before.
    """

    name: str
    parameters: int
    threads: int
    register_types: Mapping[str, str]
    instructions: list[Instruction]
    labels: Mapping[str, int]


_LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)")
_INLINED_AT = re.compile(r"inlined_at\s+(\d+)\s+(\d+)")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+%(\w+)<\d+>")
_LABEL = re.compile(r"(\$\w+):\s*")
_INSTRUCTION = re.compile(r"(?:@(!?)(%\w+)\s+)?(\S+)\s*(.*)", re.S)
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*")
_ENTRY = re.compile(r"\.visible \.entry (\w+)\((.*?)\)(.*?)^\{\n(.*?)^\}", re.S | re.M)
_FILE = re.compile(r"^\s*\.file\s+(\d+)\s.*?([^\"/]+)\"\s*$", re.M)


def parse(ptx: str) -> Program:
    """The only function of a PTX module."""
    files = dict(_FILE.findall(ptx))
    entry = _ENTRY.search(re.sub(r"//[^\n]*", "", ptx))
    if entry is None:
        raise ValueError("no function in this PTX")
    name, parameters, attributes, body = entry.groups()
    register_types: dict[str, str] = {}
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    location = "?"
    for line in body.splitlines():
        if loc := _INLINED_AT.search(line) or _LOC.search(line):
            location = f"{files.get(loc[1], loc[1])}:{loc[2]}"
            continue
        for statement in line.split(";"):
            statement = statement.strip()
            if declared := _REGISTERS.match(statement):
                register_types[declared[2]] = declared[1]
                continue
            while label := _LABEL.match(statement):
                labels[label[1]] = len(instructions)
                statement = statement[label.end() :]
            if statement and statement[0] not in "{}.":
                instructions.append(_instruction(statement, location))
    threads = re.search(r"\.reqntid (\d+)", attributes)
    assert threads is not None, "Triton's kernels say how many threads a block has"
    return Program(
        name, parameters.count(".param"), int(threads[1]), register_types, instructions, labels
    )


def _instruction(statement: str, location: str) -> Instruction:
    match = _INSTRUCTION.match(statement)
    assert match is not None
    negation, predicate, opcode, rest = match.groups()
    operands = tuple(operand.strip() for operand in _OPERAND.findall(rest))
    return Instruction(tuple(opcode.split(".")), operands, predicate, bool(negation), location)
