"""Another reader of engine files, written from docs/triton-engine.md alone: what a program in any
language does. It shares nothing with samedge's own but the file, and calls the driver directly."""

from __future__ import annotations

import ctypes
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.runtime.triton.engine_file import write_engine
from samedge.runtime.triton.plan import ITEMSIZE
from tests.runtime.stand_in.driver import Driver
from tests.runtime.triton.plans import kernels, small_plan

DTYPES = {"fp32": "<f4", "fp16": "<f2", "i8": "i1", "u8": "u1", "i32": "<i4"}


def up(size: int) -> int:
    return -(-size // 256) * 256


class Program:
    """The whole of it."""

    def __init__(self, path: Path, bundle: Path, cuda: Driver) -> None:
        self.cuda = cuda
        self.plan, constants, code = self.read(path.read_bytes())
        major, minor = cuda.capability
        (self.target,) = (
            t for t in self.plan["targets"] if t["compute_capability"] == 10 * major + minor
        )
        self.context = self.ok(cuda.cuDevicePrimaryCtxRetain(0))
        self.ok(cuda.cuCtxPushCurrent(self.context))
        self.stream = self.ok(cuda.cuStreamCreate(1))
        self.modules, self.functions = [], []
        for kernel in self.target["kernels"]:
            image = code[kernel["position"] : kernel["position"] + kernel["size"]]
            assert hashlib.sha256(image).hexdigest() == kernel["sha256"]
            self.modules.append(self.ok(cuda.cuModuleLoadData(image)))
            function = self.ok(
                cuda.cuModuleGetFunction(self.modules[-1], kernel["symbol"].encode())
            )
            if kernel["resources"]["shared"] > 49152:
                self.ok(cuda.cuFuncSetAttribute(function, 8, kernel["resources"]["shared"]))
            self.functions.append(function)
        self.memory = [self.ok(cuda.cuMemAlloc(self.plan["weights_size"]))]
        for weight in self.plan["weights"]:
            source = (bundle / weight["file"]).read_bytes() if weight["file"] else constants
            data = self.converted(weight, source)
            self.ok(
                cuda.cuMemcpyHtoD(self.memory[0] + weight["offset"], data.ctypes.data, data.nbytes)
            )

    @staticmethod
    def read(data: bytes) -> tuple[Any, bytes, bytes]:
        assert data[:8] == bytes.fromhex("73616d656467651a")
        assert struct.unpack_from("<I", data, 8) == (1,)
        text, constants, code = struct.unpack_from("<QQQ", data, 16)
        assert len(data) == 256 + up(text) + up(constants) + up(code) + 32
        assert hashlib.sha256(data[:-32]).digest() == data[-32:]
        plan = json.loads(data[256 : 256 + text])
        first = 256 + up(text)
        second = first + up(constants)
        assert plan["constants"] == hashlib.sha256(data[first : first + constants]).hexdigest()
        return plan, data[first : first + constants], data[second : second + code]

    @staticmethod
    def converted(weight: Any, source: bytes) -> Any:
        size = ITEMSIZE[weight["stored"]]
        steps = [size * step for step in weight["strides"]]
        kind = DTYPES[weight["stored"]]
        found: Any = np.ndarray(weight["shape"], kind, source, weight["position"], steps)
        if weight["stored"] != weight["dtype"] or weight["scale"] != 1:
            found = found.astype("<f4") * np.float32(weight["scale"])
        return np.ascontiguousarray(found.astype(DTYPES[weight["dtype"]]))

    def run(self, graph: str, inputs: dict[str, Any]) -> dict[str, Any]:
        programs = [p for p in self.target["programs"] if p["graph"] == graph]
        self.value: dict[str, int] = {}
        for port in programs[0]["inputs"]:
            for size, side in zip(port["shape"], inputs[port["name"]].shape, strict=True):
                if isinstance(size, str):
                    self.value[size] = side
        program = next(
            p for p in programs if all(self.value[n] <= m for n, m in p["limits"].items())
        )
        arena = self.allocated(self.size(program["arena"]))
        ports = {}
        for port in program["inputs"]:
            array = np.ascontiguousarray(inputs[port["name"]])
            assert array.dtype == port["dtype"]
            ports[port["name"]] = self.allocated(array.nbytes)
            self.ok(self.cuda.cuMemcpyHtoD(ports[port["name"]], array.ctypes.data, array.nbytes))
        results = {}
        for port in program["outputs"]:
            results[port["name"]] = np.zeros([self.size(s) for s in port["shape"]], port["dtype"])
            ports[port["name"]] = self.allocated(results[port["name"]].nbytes)
        base = {"arena": arena, "weight": self.memory[0], "size": 0, "null": 0}
        for step in program["steps"]:
            kernel = self.target["kernels"][step["kernel"]]
            values = (ctypes.c_uint64 * (len(step["arguments"]) + 2))()
            for at, (kind, *rest) in enumerate(step["arguments"]):
                start = ports[rest[1]] if kind == "port" else base[kind]
                values[at] = start + (self.size(rest[0]) if rest else 0)
            here = ctypes.addressof(values)
            places = (ctypes.c_void_p * len(values))(*(here + 8 * n for n in range(len(values))))
            grid = [self.size(size) for size in step["grid"]]
            self.ok(
                self.cuda.cuLaunchKernel(
                    self.functions[step["kernel"]], *grid, kernel["threads"], 1, 1,
                    kernel["resources"]["shared"], self.stream, ctypes.addressof(places), 0,
                )
            )  # fmt: skip
        self.ok(self.cuda.cuStreamSynchronize(self.stream))
        for name, array in results.items():
            self.ok(self.cuda.cuMemcpyDtoH(array.ctypes.data, ports[name], array.nbytes))
        return results

    def size(self, size: Any) -> int:
        if isinstance(size, int):
            return size
        if isinstance(size, str):
            return self.value[size]
        a, b = self.size(size[1]), self.size(size[2])
        return {"+": a + b, "*": a * b, "/": (a + b - 1) // max(b, 1)}[size[0]]

    def allocated(self, size: int) -> int:
        self.memory.append(self.ok(self.cuda.cuMemAlloc(size)))
        return self.memory[-1]

    def close(self) -> None:
        for address in self.memory:
            self.ok(self.cuda.cuMemFree(address))
        for module in self.modules:
            self.ok(self.cuda.cuModuleUnload(module))
        self.ok(self.cuda.cuStreamDestroy(self.stream))
        self.ok(self.cuda.cuCtxPopCurrent())
        self.ok(self.cuda.cuDevicePrimaryCtxRelease(0))

    @staticmethod
    def ok(result: tuple[Any, ...]) -> Any:
        status, *values = result
        assert status == 0, status
        return values[0] if values else None


@pytest.fixture
def program(tiny_bundle: Path, tmp_path: Path) -> Iterator[Program]:
    bundle, driver = Bundle.open(tiny_bundle), Driver()
    driver.gpu.code.update(kernels(bundle, driver))
    write_engine(tmp_path / "a.engine", *small_plan(bundle.manifest, (80, 86)))
    found = Program(tmp_path / "a.engine", tiny_bundle, driver)
    yield found
    found.close()
    driver.assert_clean()


def test_the_page_is_enough(program: Program, tiny_bundle: Path) -> None:
    """Embedding and masks are those of a session, for the inputs that a session gives."""
    seen: dict[str, dict[str, Any]] = {}
    with samedge.load(tiny_bundle, "openvino", "fp32", threads=1) as session:
        for graph in ("encoder", "decoder"):
            engine = getattr(session._engines, graph)
            run: Any = engine.run

            def watched(inputs: Any, outputs: Any, graph: str = graph, run: Any = run) -> None:
                seen[graph] = {name: np.array(array) for name, array in inputs.items()}
                run(inputs, outputs)

            engine.run = watched
        pixels = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
        want = session.segment(pixels, points=[(40, 30)])
        embedding = session.embedding()
    got = program.run("encoder", seen["encoder"])["image_embedding"]
    np.testing.assert_allclose(got, embedding, atol=1e-4)
    answer = program.run("decoder", {**seen["decoder"], "image_embedding": got})
    np.testing.assert_allclose(answer["low_res_logits"][0], want.low_res_logits, atol=1e-4)
    assert np.mean(answer["masks"][0] != want.masks) < 1e-3
