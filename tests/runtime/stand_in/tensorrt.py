"""A stand-in for the modules `tensorrt` and `tensorrt_rtx`, on top of the stand-in driver.

An engine is the ONNX file in a wrapper; onnxruntime computes it when its work in a stream is run.
Every call is checked against signatures.json, what the real bindings of a version offer, and
against the rules of the documentation: shapes within the profile, all addresses set and aligned,
scratch memory large enough, one run before a capture, no change of a context behind a graph.

What it proves: samedge makes calls that exist in each version, with arguments that they take, in an
order that the documentation allows; what is queued, waited for and freed is so; the right bytes
come to the right places; every failure that a library can report has its message.

What it cannot prove: that a GPU is fast, or right in half precision or INT8 (it computes float32 in
onnxruntime, one job after the other); that real kernels, tactics and fusions are what the layer
report says; that a real capture takes what is captured here, and a real graph what it replays; that
streams which overlap on a device do so without a race that this order does not show; how much
memory a library takes; what a driver does that breaks its own documentation. The tests in tests/gpu
are for machines that have one.
"""

from __future__ import annotations

import inspect
import json
import threading
from enum import IntEnum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx

from tests.runtime.stand_in.core import Violation
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.tensorrt_network import NETWORK_CLASSES
from tests.runtime.stand_in.tensorrt_runtime import (
    MAGIC,
    EngineInspector,
    ICudaEngine,
    IExecutionContext,
    IRuntimeCache,
    IRuntimeConfig,
    Runtime,
    dimensions,
    need_logger,
    new,
)

SIGNATURES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("signatures.json").read_text()
)


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


def make_module(version: str, driver: Driver) -> ModuleType:
    """The module of a version ("tensorrt 10.3.0") with what its bindings offer, and no more."""
    name, number = version.split()
    table = SIGNATURES[version]
    module = ModuleType(name)
    module.__version__ = number
    module.__spec__ = ModuleSpec(name, None)  # other libraries ask whether it is installed
    world = SimpleNamespace(
        module=module,
        driver=driver,
        version=version,
        builds=0,
        deserialised=0,
        fail_build=False,
        fail_run=False,
        no_float32=False,
    )
    module.world = world
    enums: dict[str, dict[str, int]] = {}
    for entry, kind in table.items():
        owner, attribute = entry.split(".")
        if kind == "value":
            enums.setdefault(owner, {})[attribute] = len(enums.get(owner, {})) + 1
    for owner, members in enums.items():
        setattr(module, owner, IntEnum(owner, members))
    for cls in _CLASSES:
        setattr(module, cls.__name__, _restricted(cls, table, world))
    return module


def _restricted(cls: type, table: dict[str, Any], world: Any) -> type:
    """A subclass with the attributes in the table only, calls checked."""
    body: dict[str, Any] = {"_world": world}
    items = {k: item for base in reversed(cls.__mro__[:-1]) for k, item in vars(base).items()}
    for name, item in items.items():
        entry = f"{cls.__name__}.{name}"
        if name.startswith("_") and name != "__init__":
            continue
        if name == "__init__" and entry not in table:
            continue  # made by other objects, never by a caller
        if entry not in table:
            body[name] = property(_missing(world.version, entry))
        elif inspect.isfunction(item) and not getattr(item, "callback", False):
            body[name] = _checked(item, entry, table[entry])
    allowed = {key.split(".")[1] for key in table if key.startswith(f"{cls.__name__}.")}

    def setter(self: Any, name: str, value: Any) -> None:
        base = type(self).__mro__[0] is type(self) and hasattr(cls, name)
        if base and not name.startswith("_") and name not in allowed:
            raise Violation(f"{world.version} has no {cls.__name__}.{name}")
        object.__setattr__(self, name, value)

    body["__setattr__"] = setter
    return type(cls.__name__, (cls,), body)


def _missing(version: str, entry: str) -> Any:
    def get(_self: Any) -> Any:
        raise Violation(f"{version} has no {entry}")

    return get


def _checked(function: Any, entry: str, overloads: list[Any]) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        for names, needed in overloads:
            given = {*names[: len(args)], *kwargs}
            fits = len(args) <= len(names) and given <= set(names)
            if fits and len(given) == len(args) + len(kwargs) and set(names[:needed]) <= given:
                return function(self, *args, **kwargs)
        raise Violation(f"{entry} takes {overloads}, it is called with {args} {kwargs}")

    call.__name__ = function.__name__
    return call


class ILogger:
    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError

    log.callback = True


class IProgressMonitor:
    def __init__(self) -> None:
        self._ready = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

    def step_complete(self, phase_name: str, step: int) -> bool: ...

    def phase_finish(self, phase_name: str) -> None: ...

    for _name in (phase_start, step_complete, phase_finish):
        _name.callback = True


class Builder:
    def __init__(self, logger: Any) -> None:
        need_logger(logger)
        self._logger = logger
        ahead = self._world.version.startswith("tensorrt_rtx")
        if not ahead and not self._world.driver.devices:
            logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> Any:
        typed = 1 << int(self._world.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        if flags != typed:
            raise Violation("the network is not strongly typed")
        return new(self._world, "INetworkDefinition", _model=None)

    def create_builder_config(self) -> Any:
        typed = {self._world.module.BuilderFlag.TF32}
        return new(
            self._world, "IBuilderConfig", _values={}, _flags=typed, _profile=None, _timings=None
        )

    def create_optimization_profile(self) -> Any:
        return new(self._world, "IOptimizationProfile", _shapes={})

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        if network._model is None:
            raise Violation("a network is built that was not parsed")
        self._world.builds += 1
        model = network._finished()
        _check_profile(model, config._profile)
        # The real library reports from threads of its own.
        finished: list[bool] = []
        thread = threading.Thread(target=lambda: finished.append(_report(config)))
        thread.start()
        thread.join()
        if not finished[0]:
            self._logger.log(Severity.ERROR, "the build was cancelled")
            return None
        if self._world.fail_build:
            self._logger.log(Severity.ERROR, "no tactic")
            return None
        if self._world.no_float32 and _float_products(network):
            self._logger.log(Severity.ERROR, "Error Code 10: FP32 GEMM is not supported on sm_75")
            return None
        self._logger.log(Severity.VERBOSE, "Layers:\nName: stand-in, LayerType: gemm")
        header = {
            "version": self._world.version,
            "profile": config._profile._shapes,
            "flags": sorted(int(flag) for flag in config._flags),
            "marked": network._marked,
        }
        text = json.dumps(header).encode()
        return MAGIC + len(text).to_bytes(4, "little") + text + model.SerializeToString()


def _report(config: Any) -> bool:
    monitor = config._values.get("progress_monitor")
    if monitor is None:
        return True
    if not hasattr(monitor, "_ready"):
        raise Violation("the monitor's base class was not initialised")
    monitor.phase_start("Building engine", None, 3)
    going = True
    for step in range(3):
        going = going and monitor.step_complete("Building engine", step)
    monitor.phase_finish("Building engine")
    return going


def _float_products(network: Any) -> bool:
    """Whether a float32 matrix product is left in a finished network."""
    products = [node for node in network._model.graph.node if node.op_type == "MatMul"]
    return any(network._info(node.input[0])[0] == onnx.TensorProto.FLOAT for node in products)


def _check_profile(model: Any, profile: Any) -> None:
    shapes = {} if profile is None else profile._shapes
    for info in model.graph.input:
        sides = dimensions(info)
        if all(isinstance(side, int) for side in sides):
            continue
        if info.name not in shapes:
            raise Violation(f"the profile says nothing about '{info.name}'")
        for low, usual, high, side in zip(*shapes[info.name], sides, strict=True):
            if not 0 < low <= usual <= high:
                raise Violation(f"the profile of '{info.name}' is not in order")
            if isinstance(side, int) and (low, usual, high) != (side,) * 3:
                raise Violation(f"the profile of '{info.name}' changes a fixed size")


class IBuilderConfig:
    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._values["workspace"] = pool_size

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        if index >= self._values.get("num_compute_capabilities", 0):
            raise Violation("num_compute_capabilities comes before set_compute_capability")
        return True

    def add_optimization_profile(self, profile: Any) -> int:
        object.__setattr__(self, "_profile", profile)
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return new(self._world, "ITimingCache", _data=bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache._data and not cache._data.startswith(b"timings"):
            return False
        object.__setattr__(self, "_timings", cache)
        return True

    def get_timing_cache(self) -> Any:
        return self._timings

    def _property(name: str) -> Any:  # noqa: N805
        return property(
            lambda self: self._values[name], lambda self, value: self._values.update({name: value})
        )

    profiling_verbosity = _property("profiling_verbosity")
    progress_monitor = _property("progress_monitor")
    hardware_compatibility_level = _property("hardware_compatibility_level")
    num_compute_capabilities = _property("num_compute_capabilities")


class ITimingCache:
    def serialize(self) -> bytes:
        return b"timings" + self._data


class IOptimizationProfile:
    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        self._shapes[input] = [list(min), list(opt), list(max)]


class OnnxParser:
    def __init__(self, network: Any, logger: Any) -> None:
        need_logger(logger)
        self._network, self._logger = network, logger
        self._errors: list[Any] = []

    def parse(self, model: Any, path: str | None = None) -> bool:
        loaded = onnx.load_model_from_string(bytes(model))
        if path is None:
            raise Violation("the parser is not told where the weights would be")
        onnx.load_external_data_for_model(loaded, str(Path(path).parent))
        outputs = {info.name for info in loaded.graph.output}
        for index, node in enumerate(loaded.graph.node):
            to_uint8 = node.op_type == "Cast" and any(
                a.name == "to" and a.i == onnx.TensorProto.UINT8 for a in node.attribute
            )
            if to_uint8 and node.output[0] not in outputs:
                self._fail(index, node, "TensorRT does not support UINT8 for intermediate tensors")
            if node.op_type == "Det":
                self._fail(index, node, "no importer for this operator")
        if self._errors:
            return False
        self._network._begin(loaded)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> Any:
        return self._errors[index]

    def _fail(self, index: int, node: Any, text: str) -> None:
        about = (index, node.name, node.op_type, text)
        self._errors.append(new(self._world, "ParserError", _about=about))


class ParserError:
    def node(self) -> int:
        return int(self._about[0])

    def node_name(self) -> str:
        return str(self._about[1])

    def node_operator(self) -> str:
        return str(self._about[2])

    def desc(self) -> str:
        return str(self._about[3])


_CLASSES = (
    Builder,
    EngineInspector,
    IBuilderConfig,
    ICudaEngine,
    IExecutionContext,
    ILogger,
    IOptimizationProfile,
    IProgressMonitor,
    IRuntimeCache,
    IRuntimeConfig,
    ITimingCache,
    OnnxParser,
    ParserError,
    Runtime,
    *NETWORK_CLASSES,
)
