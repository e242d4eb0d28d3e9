"""A program of an engine at one set of sizes: its launches with their arguments, ready to queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samedge._wording import option, spoken
from samedge.errors import DeviceError, NotSupportedError
from samedge.runtime.gpu.driver import Stream
from samedge.runtime.gpu.modules import Start
from samedge.runtime.gpu.replay import Scratch, Work
from samedge.runtime.triton.plan import (
    POINTER_ALIGNMENT,
    SCRATCH_POINTERS,
    Argument,
    KernelCode,
    Port,
    Program,
    Step,
)
from samedge.runtime.triton.plan_check import INT32
from samedge.runtime.triton.sizes import Size, evaluate


class Launches(Work):
    """See the module, and `samedge.runtime.gpu.replay.Work`.

    Args:
        program: of one graph.
        kernels: of its target.
        handles: of the kernels on the device, in the same order.
        weights: address of the weights' memory.
        arena: shared by all launches of a session.
        values: of the named sizes.

    Raises:
        DeviceError: a launch would reach beyond the arena.
    """

    alignment = POINTER_ALIGNMENT

    def __init__(
        self,
        program: Program,
        kernels: Sequence[KernelCode],
        handles: Sequence[Any],
        weights: int,
        arena: Scratch,
        values: Mapping[str, int],
    ) -> None:
        self._arena, self._arena_version = arena, 0
        self._shapes = {
            port.name: tuple(evaluate(size, values) for size in port.shape)
            for port in (*program.inputs, *program.outputs)
        }
        self._bytes = evaluate(program.arena, values)
        self._starts: list[Start] = []
        # Parameters that are addresses in the arena, and in ports: (launch, parameter, offset).
        self._in_arena: list[tuple[Start, int, int]] = []
        self._in_ports: dict[str, list[tuple[Start, int, int]]] = {}
        for step in program.steps:
            code, handle = kernels[step.kernel], handles[step.kernel]
            self._add(step, code, handle, weights, values)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an input or output."""
        return self._shapes[name]

    def set_address(self, name: str, address: int) -> None:
        """Where an input or output lies."""
        for start, index, offset in self._in_ports.get(name, ()):
            start.set(index, address + offset)

    def take_scratch(self) -> bool:
        """Have the arena; whether it is in another place than before."""
        self._arena.reserve(self._bytes)
        if self._arena_version == self._arena.version:
            return False
        for start, index, offset in self._in_arena:
            start.set(index, self._arena.address + offset)
        self._arena_version = self._arena.version
        return True

    def check_capturable(self, stream: Stream) -> None:
        """Launches always are."""

    def queue(self, stream: Stream) -> None:
        """Queue all launches in order."""
        for start in self._starts:
            start.queue(stream)

    def close(self) -> None:
        """Let them go."""
        self._starts, self._in_arena, self._in_ports = [], [], {}

    def _add(
        self, step: Step, code: KernelCode, handle: Any, weights: int, values: Mapping[str, int]
    ) -> None:
        numbers = [self._number(argument, step, values) for argument in step.arguments]
        x, y, z = (evaluate(size, values) for size in step.grid)
        parameters = [
            weights + number if argument.kind == "weight" else number
            for argument, number in zip(step.arguments, numbers, strict=True)
        ]
        parameters += [0] * SCRATCH_POINTERS
        start = Start(handle, (x, y, z), code.threads, code.resources.shared, parameters)
        self._starts.append(start)
        for index, (argument, number) in enumerate(zip(step.arguments, numbers, strict=True)):
            if argument.kind == "arena":
                self._in_arena.append((start, index, number))
            elif argument.kind == "port":
                self._in_ports.setdefault(argument.port, []).append((start, index, number))

    def _number(self, argument: Argument, step: Step, values: Mapping[str, int]) -> int:
        """The value of an argument; what `plan_check` could not know is checked here."""
        number = evaluate(argument.value, values)
        fits = (
            (argument.kind == "size" and -INT32 - 1 <= number <= INT32)
            or argument.kind == "null"
            or number % POINTER_ALIGNMENT == 0
        )
        if not fits or (argument.kind == "arena" and number >= self._bytes):
            raise DeviceError(
                f"the engine's launch {step.label} has {argument.kind} {number} for "
                f"{_listed(values)}, beyond its arena of {self._bytes} bytes or not aligned; "
                "report this, and use another backend"
            )
        return number


def sizes_of(ports: Sequence[Port], inputs: Mapping[str, Any]) -> dict[str, int]:
    """The named sizes, from the shapes of arrays.

    Args:
        ports: inputs of a program.
        inputs: arrays by name.

    Raises:
        DeviceError: an array is missing, or its shape does not fit the others.
    """
    values: dict[str, int] = {}
    for port in ports:
        if port.name not in inputs:
            raise DeviceError(f"the input '{port.name}' is missing")
        shape = tuple(inputs[port.name].shape)
        wanted = [_shown(size) for size in port.shape]
        fits = len(shape) == len(port.shape) and all(
            side >= 1 and (values.setdefault(_shown(size), side) if not isinstance(size, int)
                           else size) == side
            for side, size in zip(shape, port.shape, strict=True)
        )  # fmt: skip
        if not fits:
            raise DeviceError(
                f"the input '{port.name}' came as {list(shape)}, expected [{', '.join(wanted)}]"
                + (f" with {_listed(values)}" if values else "")
            )
    return values


def program_for(programs: Sequence[Program], values: Mapping[str, int]) -> Program:
    """The first program that takes these sizes.

    Args:
        programs: of one graph.
        values: of the named sizes.

    Raises:
        NotSupportedError: with the size that does not fit, and the sizes that do.
    """
    for program in programs:
        if all(values[name] <= most for name, most in program.limits.items()):
            return program
    limits = programs[-1].limits
    name = next((n for n, most in limits.items() if values[n] > most), next(iter(limits)))
    more = (
        f"Prompt fewer objects or points at a time{spoken(' (set_frame once, predict often)', '')}"
        if name not in ("height", "width")
        else "Build it for larger frames (samedge build --max-side)"
    )
    raise NotSupportedError(
        f"the {programs[-1].graph} has {values[name]} {name}; this engine takes 1 to "
        f"{limits[name]}. {more}, or use {option('backend', 'openvino')}"
    )


def _shown(size: Size) -> str:
    """A plain size of an input: its number or its name."""
    return str(size) if isinstance(size, int) else str(size.parts[0])


def _listed(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
