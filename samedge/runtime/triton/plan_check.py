"""Whether the parts of a plan fit each other: what can be known before it meets a device.

Sizes are sums, products and rounded-up quotients of numbers that are not negative, so each grows
with the sizes that it is made of: what holds where all of them are 1 and at a program's limits
holds in between. Only that one size is below another has to be looked at for the sizes at hand
(`samedge.runtime.triton.launches`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from samedge.runtime.triton.plan import (
    ALIGNMENT,
    ITEMSIZE,
    POINTER_ALIGNMENT,
    Argument,
    EnginePlan,
    KernelCode,
    Program,
    Target,
    Weight,
)
from samedge.runtime.triton.plan_json import GRAPHS, LARGEST, wrong
from samedge.runtime.triton.sizes import Size, names_in

WARP = 32
MOST_PARAMETERS = 4096 // 8  # a kernel takes 4 KiB of them
GRID = ((1 << 31) - 1, (1 << 16) - 1, (1 << 16) - 1)  # most blocks in x, y, z
INT32 = (1 << 31) - 1
ENORMOUS = 1 << 62  # of any number that is computed


def check_plan(plan: EnginePlan, constants: int, code: int) -> None:
    """Refuse a plan whose parts do not fit each other.

    Args:
        plan: whose values are each in their range.
        constants: bytes of the engine file's constants.
        code: bytes of its machine code.

    Raises:
        SourceError: names the first part that does not fit, and what would.
    """
    _check_weights(plan, constants)
    if not plan.targets:
        wrong("targets", "one or more", "none")
    for number, target in plan.targets.items():
        where = f"sm_{number}"
        for at, kernel in enumerate(target.kernels):
            _check_kernel(kernel, f"{where}.kernels[{at}]", code)
        ports: dict[str, object] = {}
        for at, program in enumerate(target.programs):
            _check_program(program, target, plan.weights_size, f"{where}.programs[{at}]")
            same = (program.inputs, program.outputs, frozenset(program.limits))
            if ports.setdefault(program.graph, same) != same:
                wrong(
                    f"{where}.programs[{at}]", f"the ports of the other {program.graph}", "others"
                )
        for graph in GRAPHS:
            if graph not in ports:
                wrong(f"{where}.programs", f"one of the {graph}", "none")


def extent(weight: Weight) -> int:
    """Bytes from a weight's first element to the end of its last, where it is stored."""
    steps = zip(weight.shape, weight.strides, strict=True)
    return (sum((size - 1) * step for size, step in steps) + 1) * ITEMSIZE[weight.stored]


def weight_bytes(weight: Weight) -> int:
    """Bytes of a weight on the device."""
    return math.prod(weight.shape) * ITEMSIZE[weight.dtype]


def value_of(size: Size, values: Mapping[str, int], where: str) -> int:
    """The number that a size is.

    Raises:
        SourceError: it is larger than anything is.
    """
    if isinstance(size, int):
        return size
    if size.operator == "name":
        return values[size.parts[0]]
    a, b = (value_of(part, values, where) for part in size.parts)
    if size.operator == "/":
        return -(-a // b)
    found = a + b if size.operator == "+" else a * b
    if found > ENORMOUS:
        wrong(where, f"less than {ENORMOUS}", found)
    return found


def _check_weights(plan: EnginePlan, constants: int) -> None:
    end = 0
    for weight in sorted(plan.weights, key=lambda weight: weight.offset):
        where = f"weights.{weight.name}"
        if weight.file and weight.file not in plan.files:
            wrong(where, "a file that the plan has the hash of", weight.file)
        if not weight.file and weight.position + extent(weight) > constants:
            wrong(where, f"within the {constants} bytes of the constants", weight.position)
        if weight.offset % ALIGNMENT or weight.offset < end:
            wrong(where, f"a multiple of {ALIGNMENT} from {end} on", weight.offset)
        end = weight.offset + weight_bytes(weight)
        if end > plan.weights_size:
            wrong(where, f"within the {plan.weights_size} bytes of the weights", end)
        if weight.dtype != weight.stored and not (_is_float(weight.dtype, weight.stored)):
            wrong(where, f"{weight.stored} or a floating-point type", weight.dtype)
        if weight.scale != 1 and not _is_float(weight.dtype):
            wrong(where, f"the factor 1 of {weight.dtype}", weight.scale)


def _is_float(*dtypes: str) -> bool:
    return all(dtype in ("fp32", "fp16", "bf16") for dtype in dtypes)


def _check_kernel(kernel: KernelCode, where: str, code: int) -> None:
    if kernel.position % ALIGNMENT or kernel.position + kernel.size > code:
        wrong(where, f"a multiple of {ALIGNMENT} within {code} bytes of code", kernel.position)
    if kernel.threads % WARP:
        wrong(where, f"a multiple of {WARP} threads", kernel.threads)
    if len(kernel.parameters) > MOST_PARAMETERS:
        wrong(where, f"at most {MOST_PARAMETERS} parameters", len(kernel.parameters))


def _check_program(program: Program, target: Target, weights: int, where: str) -> None:
    for port in program.inputs:
        for size in port.shape:
            if not isinstance(size, int) and size.operator != "name":
                wrong(f"{where}.inputs.{port.name}", "plain sizes and names", "an expression")
    sizes = frozenset[str]().union(*(names_in(s) for p in program.inputs for s in p.shape))
    if sizes != program.limits.keys():
        wrong(f"{where}.limits", f"limits of {', '.join(sorted(sizes))}", [*program.limits])
    names = [port.name for port in (*program.inputs, *program.outputs)]
    if len({*names}) != len(names):
        wrong(f"{where}.inputs", "different names of all ports", names)
    least, most = dict.fromkeys(program.limits, 1), program.limits
    for port in (*program.inputs, *program.outputs):
        _all_known(port.shape, sizes, f"{where}.{port.name}")
        if any(value_of(size, least, where) < 1 for size in port.shape):
            wrong(f"{where}.{port.name}", "sizes of 1 or more", "0")
        shape = (value_of(size, most, where) for size in port.shape)
        if math.prod(shape) > LARGEST:
            wrong(f"{where}.{port.name}", f"at most {LARGEST} elements", "more")
    _all_known((program.arena,), sizes, f"{where}.arena")
    if value_of(program.arena, most, where) > LARGEST:
        wrong(f"{where}.arena", f"at most {LARGEST} bytes", "more")
    for at, step in enumerate(program.steps):
        here = f"{where}.steps[{at}]"
        if step.kernel >= len(target.kernels):
            wrong(f"{here}.kernel", f"one of {len(target.kernels)} kernels", step.kernel)
        parameters = target.kernels[step.kernel].parameters
        if len(step.arguments) != len(parameters):
            wrong(f"{here}.arguments", f"{len(parameters)} arguments", len(step.arguments))
        inner = (*step.grid, step.flops, step.reads, step.writes)
        _all_known((*inner, *(a.value for a in step.arguments)), sizes, here)
        for count in (step.flops, step.reads, step.writes):
            value_of(count, most, here)
        for size, largest in zip(step.grid, GRID, strict=True):
            if value_of(size, least, here) < 1 or value_of(size, most, here) > largest:
                wrong(f"{here}.grid", f"1 to {largest} blocks", value_of(size, most, here))
        for number, (argument, kind) in enumerate(zip(step.arguments, parameters, strict=True)):
            _check_argument(argument, kind, program, weights, f"{here}.arguments[{number}]")


def _check_argument(
    argument: Argument, parameter: str, program: Program, weights: int, where: str
) -> None:
    if (argument.kind == "size") != (parameter == "i"):
        wrong(where, "a size" if parameter == "i" else "a pointer", argument.kind)
    most = value_of(argument.value, program.limits, where)
    if argument.kind == "size" and most > INT32:
        wrong(where, f"at most {INT32}", most)
    if argument.kind == "weight":
        if not isinstance(argument.value, int):
            wrong(where, "a fixed place in the weights", "an expression")
        _check_place(most, weights, where)
    if argument.kind == "arena":
        _check_place(most, value_of(program.arena, program.limits, where), where)
    if argument.kind == "port":
        if argument.port not in {port.name for port in (*program.inputs, *program.outputs)}:
            wrong(where, "the name of an input or output", argument.port)
        if most % POINTER_ALIGNMENT:
            wrong(where, f"a multiple of {POINTER_ALIGNMENT} bytes", most)


def _check_place(offset: int, end: int, where: str) -> None:
    if offset % POINTER_ALIGNMENT or offset >= end:
        wrong(where, f"a multiple of {POINTER_ALIGNMENT} below {end} bytes", offset)


def _all_known(sizes: Sequence[Size], known: frozenset[str], where: str) -> None:
    for size in sizes:
        for name in names_in(size) - known:
            wrong(where, "sizes of the inputs: " + ", ".join(sorted(known)), name)
