"""The stand-in's engines and contexts; see `tests.runtime.stand_in.tensorrt`."""

from __future__ import annotations

import json
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.runtime.stand_in.core import Job, Replayable, Violation

MAGIC = b"stand-in engine\n"
ERROR = 1  # severity of a log message
ALIGNMENT = 256
_KINDS = {1: "FLOAT", 2: "UINT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
_NUMPY = {
    "FLOAT": np.float32,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "HALF": np.float16,
}


def need_logger(logger: Any) -> None:
    """Refuse what is no logger, or one whose base class was not initialised."""
    if not getattr(logger, "_ready", False):
        raise Violation("the logger is none, or its base class was not initialised")


def dimensions(info: Any) -> list[int | str]:
    """Sizes of a tensor; names for those that are free."""
    return [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]


def new(world: Any, name: str, **values: Any) -> Any:
    """An object that only other objects make."""
    cls = getattr(world.module, name)
    made = cls.__new__(cls)
    for key, value in values.items():
        object.__setattr__(made, key, value)
    return made


class Runtime:
    def __init__(self, logger: Any) -> None:
        need_logger(logger)
        object.__setattr__(self, "_logger", logger)
        object.__setattr__(self, "_host_code", False)

    engine_host_code_allowed = property(
        lambda self: self._host_code,
        lambda self, value: object.__setattr__(self, "_host_code", value),
    )

    def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
        world = self._world
        world.driver.need_context("deserialize_cuda_engine")
        data = bytes(serialized_engine)
        if not data.startswith(MAGIC):
            self._logger.log(ERROR, "Magic tag does not match")
            return None
        start = len(MAGIC) + 4
        size = int.from_bytes(data[len(MAGIC) : start], "little")
        header = json.loads(data[start : start + size])
        if header["version"] != world.version and not self._host_code:
            self._logger.log(ERROR, "The engine plan file was built by another version")
            return None
        model = onnx.load_model_from_string(data[start + size :])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        run = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        world.deserialised += 1
        return new(world, "ICudaEngine", _header=header, _model=model, _run=run)


class ICudaEngine:
    @property
    def num_io_tensors(self) -> int:
        return len(self._infos())

    def get_tensor_name(self, index: int) -> str:
        return str(list(self._infos())[index])

    def get_tensor_mode(self, name: str) -> Any:
        mode = self._world.module.TensorIOMode
        is_input = any(info.name == name for info in self._model.graph.input)
        return mode.INPUT if is_input else mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_KINDS[self._infos()[name].type.tensor_type.elem_type])

    def get_tensor_location(self, name: str) -> Any:
        return self._world.module.TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        fixed = dimensions(self._infos()[name])
        return [tuple(shape) for shape in self._header["profile"].get(name, [fixed] * 3)]

    def create_runtime_config(self) -> Any:
        return new(self._world, "IRuntimeConfig", _strategy=None, _values={}, _cache=None)

    def create_execution_context(self, strategy: Any) -> Any:
        self._world.driver.need_context("create_execution_context")
        wanted = self._world.module.ExecutionContextAllocationStrategy.USER_MANAGED
        config = getattr(strategy, "_strategy", strategy)
        if config != wanted:
            raise Violation("samedge's contexts use memory of its own")
        context = new(self._world, "IExecutionContext")
        context._begin(self)
        return context

    def create_engine_inspector(self) -> Any:
        return new(self._world, "EngineInspector")

    def _infos(self) -> dict[str, Any]:
        graph = self._model.graph
        return {info.name: info for info in (*graph.input, *graph.output)}


class EngineInspector:
    def get_engine_information(self, format: Any) -> str:  # noqa: A002
        return '{"Layers": ["stand-in"]}'


class IRuntimeConfig:
    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        object.__setattr__(self, "_strategy", strategy)

    def create_runtime_cache(self) -> Any:
        return new(self._world, "IRuntimeCache", _kernels=b"")

    def set_runtime_cache(self, cache: Any) -> bool:
        object.__setattr__(self, "_cache", cache)
        return True

    dynamic_shapes_kernel_specialization_strategy = property(
        lambda self: self._values["specialisation"],
        lambda self, value: self._values.update(specialisation=value),
    )


class IRuntimeCache:
    def serialize(self) -> bytes:
        return b"kernels"

    def deserialize(self, blob: Any) -> bool:
        self._world.driver.need_context("deserialize")
        return bytes(blob) == b"kernels"


class ContextState:
    """What was set in a context; `serial` counts the changes."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory = (0, 0)
        self.serial, self.warm = 0, -1


class IExecutionContext:
    def _begin(self, engine: Any) -> None:
        object.__setattr__(self, "_engine", engine)
        object.__setattr__(self, "_state", ContextState())

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        fits = len(shape) == len(low) and all(
            a <= b <= c for a, b, c in zip(low, shape, high, strict=True)
        )
        if not fits:
            raise Violation(f"{name} {tuple(shape)} is outside of the profile {low} to {high}")
        self._state.shapes[name] = tuple(shape)
        self._state.serial += 1
        return True

    def infer_shapes(self) -> list[str]:
        return [i.name for i in self._engine._model.graph.input if i.name not in self._state.shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._engine._header["marked"]:
            return self._computed_shape(name)
        sizes: dict[str, int] = {}
        for info in self._engine._model.graph.input:
            for side, size in zip(dimensions(info), self._state.shapes[info.name], strict=True):
                if isinstance(side, str):
                    if sizes.setdefault(side, size) != size:
                        raise Violation(f"two inputs disagree about '{side}'")
                elif side != size:
                    raise Violation(f"{info.name} has a fixed size {side}, not {size}")
        infos = self._engine._infos()
        return tuple(sizes[s] if isinstance(s, str) else s for s in dimensions(infos[name]))

    def _computed_shape(self, name: str) -> tuple[int, ...]:
        """That of a tensor from inside: nothing but computing the graph tells it."""
        engine = self._engine
        zeros = {
            info.name: np.zeros(self._state.shapes[info.name], engine_dtype(engine, info.name))
            for info in engine._model.graph.input
        }
        return tuple(engine._run.run([name], zeros)[0].shape)

    def update_device_memory_size_for_shapes(self) -> int:
        if self.infer_shapes():
            raise Violation("the scratch size is asked for before all shapes are set")
        return self._needed()

    def set_device_memory(self, memory: int, size: int) -> None:
        if memory % ALIGNMENT:
            raise Violation("scratch memory is not aligned")
        self._world.driver.device(memory, size)
        self._state.memory = (memory, size)
        self._state.serial += 1

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._infos():
            raise Violation(f"there is no tensor '{name}'")
        if memory % ALIGNMENT or not memory:
            raise Violation(f"the address of '{name}' is not aligned")
        if self._state.addresses.get(name) != memory:
            self._state.addresses[name] = memory
            self._state.serial += 1
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        flags = self._world.module.BuilderFlag
        return int(flags.REQUIRE_USER_ALLOCATION) in self._engine._header["flags"]

    def execute_async_v3(self, stream_handle: int) -> bool:
        driver, state = self._world.driver, self._state
        if self._world.fail_run:
            self._world.fail_run = False
            return False
        ranges = {name: (self._address(name), self._nbytes(name)) for name in self._engine._infos()}
        for address, size in ranges.values():
            driver.device(address, size)
        memory, size = state.memory
        if size < self._needed():
            raise Violation(f"scratch memory of {size} bytes, {self._needed()} are needed")
        capturing = driver.stream(stream_handle).captured is not None
        if capturing and state.warm != state.serial:
            raise Violation("a capture before the first run with these shapes and addresses")
        state.warm = state.serial
        inputs = {info.name for info in self._engine._model.graph.input}
        reads = tuple(r for name, r in ranges.items() if name in inputs)
        writes = (*(r for name, r in ranges.items() if name not in inputs), (memory, size))
        shapes = {name: self.get_tensor_shape(name) for name in ranges}
        work: Any = self._work({n: a for n, (a, _) in ranges.items()}, shapes)
        if capturing:
            mine, serial = weakref.ref(state), state.serial
            work = Replayable(work, lambda: (s := mine()) is not None and s.serial == serial)
        driver.queue(stream_handle, Job("network", work, reads, writes))
        return True

    def _work(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> Any:
        engine, driver = self._engine, self._world.driver

        def run() -> None:
            def get(name: str) -> Any:
                return driver.get(addresses[name], shapes[name], engine_dtype(engine, name))

            inputs = {info.name: get(info.name) for info in engine._model.graph.input}
            names = [info.name for info in engine._model.graph.output]
            for name, result in zip(names, engine._run.run(names, inputs), strict=True):
                data = np.ascontiguousarray(result).view(np.uint8).ravel()
                driver.device(addresses[name], len(data))[:] = data

        return run

    def _address(self, name: str) -> int:
        if name not in self._state.addresses:
            raise Violation(f"the address of '{name}' is not set")
        return int(self._state.addresses[name])

    def _nbytes(self, name: str) -> int:
        shape = self.get_tensor_shape(name)
        return int(np.prod(shape)) * np.dtype(engine_dtype(self._engine, name)).itemsize

    def _needed(self) -> int:
        """Bytes of scratch memory: some, and more for more input."""
        return 1024 + sum(int(np.prod(shape)) for shape in self._state.shapes.values())


def engine_dtype(engine: Any, name: str) -> Any:
    """numpy's type of a tensor's elements."""
    return _NUMPY[_KINDS[engine._infos()[name].type.tensor_type.elem_type]]
