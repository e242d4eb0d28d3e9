"""A plan on a CPU: every launch of a program in Triton's interpreter, on plain memory.

Runs in the interpreter's process (`tests.kernels.interpreted`). The arena, the weights and the
caller's arrays are pieces of memory of their own, and every pointer is what the plan says: a wrong
offset reads or writes something else. The arena is filled with NaN's bits before a run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from samedge.bundle import Bundle
from samedge.runtime.triton.plan import Argument, Port, Program, Weight
from samedge.runtime.triton.sizes import evaluate

Arrays = Mapping[str, Any]
_DTYPES = {"fp32": np.float32, "fp16": np.float16, "i8": np.int8, "i32": np.int32}


def weights_memory(bundle: Bundle, weights: Sequence[Weight], own: bytes) -> bytes:
    """What `samedge.runtime.triton.weights` brings to a GPU, made in another way.

    Args:
        bundle: whose files the weights stand in.
        weights: of the plan.
        own: the engine's own constants.
    """
    memory = bytearray(b"\xff" * max((w.offset + 4096 for w in weights), default=0))
    for weight in weights:
        data = own if not weight.file else (bundle.root / weight.file).read_bytes()
        dtype = np.dtype(_DTYPES[weight.stored])
        extent = 1 + sum((n - 1) * s for n, s in zip(weight.shape, weight.strides, strict=True))
        flat = np.frombuffer(data, np.uint8)[weight.position :][: extent * dtype.itemsize]
        strides = [s * dtype.itemsize for s in weight.strides]
        values = np.lib.stride_tricks.as_strided(flat.copy().view(dtype), weight.shape, strides)
        scaled = values if weight.scale == 1 else values * np.float32(weight.scale)
        found = scaled.astype(_DTYPES[weight.dtype]).tobytes()
        memory[weight.offset : weight.offset + len(found)] = found
    return bytes(memory)


def sizes_of(program: Program, inputs: Arrays) -> dict[str, int]:
    """The named sizes, from the inputs' shapes."""
    found = {}
    for port in program.inputs:
        for size, got in zip(port.shape, inputs[port.name].shape, strict=True):
            if not isinstance(size, int) and size.operator == "name":
                found[size.parts[0]] = got
    return found


def fits(program: Program, inputs: Arrays) -> bool:
    """Whether a program takes these sizes."""
    sizes = sizes_of(program, inputs)
    return all(sizes.get(name, 0) <= most for name, most in program.limits.items())


def execute(
    program: Program, signatures: Sequence[Any], weights: bytes, inputs: Arrays,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run a program.

    Args:
        program: of a plan.
        signatures: of its kernels, by number.
        weights: the memory of the weights.
        inputs: numpy arrays by name.
        sizes: named sizes that no input has.

    Returns:
        outputs by name.
    """
    values = {**sizes_of(program, inputs), **(sizes or {})}
    ports = {port.name: _input(port, inputs[port.name]) for port in program.inputs}
    shapes = {port.name: [evaluate(s, values) for s in port.shape] for port in program.outputs}
    for port in program.outputs:
        count = int(np.prod(shapes[port.name])) * np.dtype(port.dtype).itemsize
        ports[port.name] = np.full(-(-count // 256) * 256, 0xCD, np.uint8)
    arena = np.full(evaluate(program.arena, values), 0xFF, np.uint8)
    memory = {"arena": arena, "weight": np.frombuffer(bytearray(weights), np.uint8)}
    for step in program.steps:
        signature = signatures[step.kernel]
        given = iter(step.arguments)
        arguments = {
            name: None if kind is None else _value(kind, next(given), memory, ports, values)
            for name, kind in signature.types
        }
        assert next(given, None) is None, step.label
        grid = tuple(evaluate(size, values) for size in step.grid)
        module, _, function = signature.kernel.partition(":")
        kernel = getattr(importlib.import_module(module), function)
        kernel[grid](
            **arguments,
            **dict(signature.constants),
            num_warps=signature.warps,
            num_stages=signature.stages,
        )
    return {port.name: _output(port, shapes[port.name], ports) for port in program.outputs}


def _input(port: Port, array: Any) -> Any:
    assert str(array.dtype) == port.dtype, port.name
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    padded = np.zeros(-(-len(data) // 256) * 256, np.uint8)
    padded[: len(data)] = data
    return padded


def _output(port: Port, shape: Sequence[int], ports: Arrays) -> Any:
    count = int(np.prod(shape))
    return ports[port.name].view(port.dtype)[:count].reshape(shape).copy()


def _value(
    kind: str, argument: Argument, memory: Arrays, ports: Arrays, sizes: Mapping[str, int]
) -> Any:
    import torch

    from samedge.kernels.torch_runner import DTYPES

    value = evaluate(argument.value, sizes)
    if argument.kind == "size":
        assert kind == "i32"
        return value
    bytes_ = ports[argument.port] if argument.kind == "port" else memory[argument.kind]
    dtype = DTYPES[kind.removeprefix("*")]
    assert 0 <= value <= len(bytes_)
    return torch.from_numpy(bytes_)[value:].view(dtype)
