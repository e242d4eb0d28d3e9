"""A small engine by hand: four kernels that fit the graphs of a bundle, and what they compute.

The first launch of each graph brings an input into the arena, the second computes the graph from
there with ONNX Runtime: a launch left out, out of order or with a wrong argument is a wrong mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime

from samedge.bundle import Bundle, Manifest
from samedge.bundle.manifest import GraphEntry, TensorEntry
from samedge.runtime.triton.engine_file import Blob
from samedge.runtime.triton.plan import (
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
from samedge.runtime.triton.sizes import Size, cdiv, named, product
from tests.runtime.stand_in.kernels import Code

BLOCK = 128
SHARED = 65536  # of the kernel "encoder"
MOST = {"height": 512, "width": 512, "frame_channels": 3, "objects": 16, "points": 8}
FIRST = {"encoder": "frame", "decoder": "point_coords"}  # what the first launch copies
COPIES = {"encoder": "copy_frame", "decoder": "copy_tokens"}
WEIGHTS = 512


def port(tensor: TensorEntry) -> Port:
    """As the manifest has it."""
    shape = tuple(named(s) if isinstance(s, str) else s for s in tensor.shape)
    return Port(tensor.name, tensor.dtype, shape)


def names_of(entry: GraphEntry) -> list[str]:
    """Named sizes of a graph's inputs, in the order of a kernel's parameters."""
    return sorted({s for t in entry.inputs for s in t.shape if isinstance(s, str)})


def parameters(entry: GraphEntry) -> dict[bool, str]:
    """Of the first kernel of a graph and of the second."""
    sizes = "i" * len(names_of(entry))
    return {False: "pp" + sizes, True: "pp" + "p" * (len(entry.tensors) - 1) + sizes}


def cubins(capability: int) -> dict[str, bytes]:
    """What the stand-in takes for machine code of a kernel."""
    symbols = ("copy_frame", "encoder", "copy_tokens", "decoder")
    return {s: f"\x7fELF sm_{capability} {s} ".encode() * 3 for s in symbols}


def small_plan(
    manifest: Manifest, capabilities: tuple[int, ...] = (86,), precision: str = "fp16"
) -> tuple[EnginePlan, bytes, bytes]:
    """A plan for the graphs of a bundle, its constants and its code."""
    constants, code = Blob(), Blob()
    table = np.arange(8, dtype=np.float32)
    file = manifest.graphs["encoder"]["fp32"].file
    weights = (
        Weight("table", "", constants.add(table.tobytes()), "fp32", (8,), (1,), 0.5, "fp16", 0),
        Weight("bytes", file, 64, "u8", (4, 32), (1, 4), 1.0, "u8", 256),
    )
    targets = {}
    for capability in capabilities:
        kernels = []
        for symbol, data in cubins(capability).items():
            graph = "encoder" if symbol in ("copy_frame", "encoder") else "decoder"
            takes = parameters(manifest.graphs[graph]["fp32"])[symbol == graph]
            sha = hashlib.sha256(data).hexdigest()
            found = Resources(40, SHARED if symbol == "encoder" else 0, 0, 16, 3)
            place = code.add(data)
            kernels.append(
                KernelCode(f"{symbol}.fp16", symbol, place, len(data), sha, BLOCK, takes, found)
            )
        programs = tuple(_program(manifest, graph) for graph in ("encoder", "decoder"))
        targets[capability] = Target(capability, tuple(kernels), programs)
    files = {file: manifest.files[file].sha256}
    plan = EnginePlan("0.1.0", "tiny.samedge", precision, files, weights, WEIGHTS, targets)
    return plan, constants.bytes(), code.bytes()


def _program(manifest: Manifest, graph: str) -> Program:
    entry = manifest.graphs[graph]["fp32"]
    ports = {t.name: port(t) for t in entry.tensors}
    first = ports[FIRST[graph]]
    itemsize = np.dtype(first.dtype).itemsize
    size = product(*first.shape, itemsize)
    place: Size = 0 if graph == "encoder" else 256
    sizes = tuple(Argument("size", named(name)) for name in names_of(entry))
    others = tuple(Argument("port", port=name) for name in ports if name != first.name)
    index = 0 if graph == "encoder" else 2
    grid = (cdiv(size, BLOCK), 1, 1)
    steps = (
        Step(
            f"{graph}.copy", index, grid,
            (Argument("port", port=first.name), Argument("arena", place), *sizes), 0, size, size,
        ),
        Step(
            f"{graph}.network", index + 1, grid,
            (Argument("arena", place), Argument("weight", 256 * (index // 2)), *others, *sizes),
            product(size, 2), size, size,
        ),
    )  # fmt: skip
    limits = {name: MOST[name] for name in names_of(entry)}
    arena = place + product(cdiv(size, 256), 256)
    return Program(
        graph, limits, tuple(map(port, entry.inputs)), tuple(map(port, entry.outputs)), arena, steps
    )


def kernels(bundle: Bundle, driver: Any) -> dict[str, Code]:
    """What the kernels of `small_plan` do, for the stand-in of the driver."""
    found = {}
    for graph in ("encoder", "decoder"):
        entry = bundle.manifest.graphs[graph]["fp32"]
        network = _Network(bundle, graph, driver)
        takes = parameters(entry)
        found[COPIES[graph]] = Code(takes[False], network.copy)
        found[graph] = Code(takes[True], network.compute)
    return found


class _Network:
    """Two kernels: one that copies an input, one that computes a graph."""

    def __init__(self, bundle: Bundle, graph: str, driver: Any) -> None:
        self._entry, self._graph, self._driver = (
            bundle.manifest.graphs[graph]["fp32"],
            graph,
            driver,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(bundle.root / self._entry.file), options, providers=["CPUExecutionProvider"]
        )
        first = FIRST[graph]
        self._first = next(t for t in self._entry.inputs if t.name == first)
        data = (bundle.root / bundle.manifest.graphs["encoder"]["fp32"].file).read_bytes()
        self._bytes = np.frombuffer(data, np.uint8, 128, 64).reshape(32, 4).T

    def copy(self, grid: tuple[int, int, int], arguments: list[int]) -> None:
        values = self._values(arguments)
        array = self._read(self._first, arguments[0], values)
        assert grid == (-(-array.nbytes // BLOCK), 1, 1)
        self._write(arguments[1], array)

    def compute(self, grid: tuple[int, int, int], arguments: list[int]) -> None:
        values = self._values(arguments)
        if self._graph == "encoder":
            table = self._driver.get(arguments[1], (8,), np.float16)
            assert np.array_equal(table, np.arange(8) / 2)
        else:
            assert np.array_equal(self._driver.get(arguments[1], (4, 32), np.uint8), self._bytes)
        others = [t for t in self._entry.tensors if t.name != self._first.name]
        places = dict(zip((t.name for t in others), arguments[2:], strict=False))
        places[self._first.name] = arguments[0]
        inputs = {t.name: self._read(t, places[t.name], values) for t in self._entry.inputs}
        results = self._session.run([t.name for t in self._entry.outputs], inputs)
        for tensor, result in zip(self._entry.outputs, results, strict=True):
            assert result.shape == _shape(tensor, values)
            self._write(places[tensor.name], result)

    def _values(self, arguments: list[int]) -> dict[str, int]:
        names = names_of(self._entry)
        return dict(zip(names, arguments[-len(names) :], strict=True))

    def _read(self, tensor: TensorEntry, address: int, values: Mapping[str, int]) -> Any:
        return self._driver.get(address, _shape(tensor, values), tensor.dtype)

    def _write(self, address: int, array: Any) -> None:
        data = np.ascontiguousarray(array).view(np.uint8).ravel()
        self._driver.device(address, len(data))[:] = data


def _shape(tensor: TensorEntry, values: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(values[s] if isinstance(s, str) else s for s in tensor.shape)


def changed_step(plan: EnginePlan, graph: str, at: int, **changes: Any) -> EnginePlan:
    """The plan with one launch of every target changed."""
    targets = {}
    for number, target in plan.targets.items():
        programs = tuple(
            replace(program, steps=_with(program.steps, at, changes))
            if program.graph == graph
            else program
            for program in target.programs
        )
        targets[number] = replace(target, programs=programs)
    return replace(plan, targets=targets)


def _with(steps: tuple[Step, ...], at: int, changes: dict[str, Any]) -> tuple[Step, ...]:
    return (*steps[:at], replace(steps[at], **changes), *steps[at + 1 :])
