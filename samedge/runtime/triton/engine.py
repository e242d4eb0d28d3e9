"""An engine on a device: weights and kernels, loaded once for all sessions of this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.runtime.backend import GraphIO, TensorSpec
from samedge.runtime.gpu.driver import Device, DeviceMemory
from samedge.runtime.gpu.engine import DeviceQueue, GpuEngine
from samedge.runtime.gpu.modules import Module
from samedge.runtime.gpu.replay import Scratch
from samedge.runtime.triton.engine_file import EngineFile
from samedge.runtime.triton.launches import Launches, program_for, sizes_of
from samedge.runtime.triton.plan import POINTER_ALIGNMENT, Port, Program
from samedge.runtime.triton.weights import check_bundle, load_weights

LEAST_CAPABILITY = 80  # below it Triton emits no tensor-core code
_lock = threading.Lock()
_loaded: dict[tuple[str, int], LoadedEngine] = {}


class LoadedEngine:
    """Weights and kernels of an engine on a device, shared by sessions: `acquire`, `release`.

    Attributes:
        file: that it was loaded from.
        target: the part of its plan for this device.
        handles: of the target's kernels, in order.
    """

    def __init__(self, file: EngineFile, bundle: Bundle, device: Device) -> None:
        self.file = file
        self.target = target_for(file, device)
        check_bundle(file.plan, bundle, file.name)
        _check_shared(self, device)
        self._key = (file.digest, device.index)
        self._users = 0
        self._modules: list[Module] = []
        self._weights: DeviceMemory | None = None
        self.handles: list[Any] = []
        try:
            for kernel in self.target.kernels:
                what = f"the engine {file.name}, kernel {kernel.name}"
                module = Module(file.cubin(kernel), what, device)
                self._modules.append(module)
                self.handles.append(module.kernel(kernel.symbol, kernel.resources.shared))
            self._weights = device.allocate(
                file.plan.weights_size, f"the weights of the engine {file.name}"
            )
            load_weights(file, bundle, lambda at, piece: self._memory().fill(piece, at))
        except BaseException:
            self._free()
            raise

    @classmethod
    def acquire(cls, file: EngineFile, bundle: Bundle, device: Device) -> LoadedEngine:
        """The engine on the calling thread's device, loaded if no session has it.

        Raises:
            NotSupportedError: it is for other GPUs or of another bundle, or the driver is too old.
            BundleError: a file with weights was changed.
            DeviceError: out of memory, or the device failed.
        """
        with _lock:
            key = (file.digest, device.index)
            engine = _loaded.get(key)
            if engine is None:
                engine = _loaded[key] = cls(file, bundle, device)
            else:
                check_bundle(file.plan, bundle, file.name)
            engine._users += 1
            return engine

    def release(self) -> None:
        """One session less; the last one frees everything."""
        with _lock:
            self._users -= 1
            if self._users == 0:
                del _loaded[self._key]
                self._free()

    @property
    def weights(self) -> int:
        """Address of the weights."""
        return self._memory().address

    def programs(self, graph: str) -> tuple[Program, ...]:
        """Those of a graph."""
        return tuple(program for program in self.target.programs if program.graph == graph)

    def _memory(self) -> DeviceMemory:
        assert self._weights is not None
        return self._weights

    def _free(self) -> None:
        for module in self._modules:
            module.close()
        self._modules, self.handles = [], []
        if self._weights is not None:
            self._weights.free()
            self._weights = None


class TritonEngine(GpuEngine):
    """One graph of an engine. See `samedge.runtime.gpu.engine.GpuEngine`.

    Args:
        queue: of the session.
        engine: acquired; released with this object.
        graph: "encoder" or "decoder".
        io: inputs and outputs, from the bundle's manifest.
        arena: of the session; whoever made it closes it.
        notes: what a user should know about the loading.

    Raises:
        NotSupportedError: the engine has other inputs and outputs than the bundle.
    """

    alignment = POINTER_ALIGNMENT

    def __init__(
        self,
        queue: DeviceQueue,
        engine: LoadedEngine,
        graph: str,
        io: GraphIO,
        arena: Scratch,
        notes: list[str],
    ) -> None:
        super().__init__(queue, io, notes)
        self._programs = engine.programs(graph)
        _check_ports(self._programs[0], io, engine.file.name)
        self._engine, self._arena = engine, arena

    def _work(self, inputs: Mapping[str, Any]) -> Launches:
        values = sizes_of(self._programs[0].inputs, inputs)
        engine, program = self._engine, program_for(self._programs, values)
        kernels, arena = engine.target.kernels, self._arena
        return Launches(program, kernels, engine.handles, engine.weights, arena, values)

    def _release(self) -> None:
        self._engine.release()


def target_for(file: EngineFile, device: Device) -> Any:
    """The part of an engine for a device.

    Raises:
        NotSupportedError: there is none; with those that there are, and the remedy.
    """
    here = device.compute_capability
    target = file.plan.targets.get(here)
    if target is None:
        there = ", ".join(f"sm_{number}" for number in sorted(file.plan.targets))
        raise NotSupportedError(
            f"the engine {file.name} is for {there}, and this GPU ({device.name}) has sm_{here}; "
            f"build one for it: samedge build BUNDLE --target triton --sm {here}"
        )
    return target


def too_old(capability: int, name: str) -> str | None:
    """Why no engine runs on a GPU of this compute capability; None if one can."""
    if capability >= LEAST_CAPABILITY:
        return None
    return (
        f"this GPU ({name}) has sm_{capability}, and engines of samedge's own are for sm_80 and "
        "newer (the compiler makes no tensor-core code for older ones); use the backend tensorrt "
        "or openvino"
    )


def _check_shared(engine: LoadedEngine, device: Device) -> None:
    most = device.shared_memory
    for kernel in engine.target.kernels:
        if kernel.resources.shared > most:
            raise NotSupportedError(
                f"the engine {engine.file.name} needs {kernel.resources.shared} bytes of shared "
                f"memory for {kernel.name}, and this GPU ({device.name}) has {most}; build it "
                f"again: samedge build BUNDLE --target triton --sm {device.compute_capability}"
            )


def _check_ports(program: Program, io: GraphIO, name: str) -> None:
    """Refuse an engine with other inputs and outputs than the bundle's graph."""
    for kind, ports, specs in (
        ("inputs", program.inputs, io.inputs),
        ("outputs", program.outputs, io.outputs),
    ):
        has, wanted = _described(ports), _specified(specs)
        if has != wanted:
            odd = sorted({*has} ^ {*wanted})
            raise NotSupportedError(
                f"the engine {name} has other {kind} of the {program.graph} than the bundle "
                f"({'; '.join(odd)}); build it again with `samedge build --force`"
            )


def _described(ports: Sequence[Port]) -> set[str]:
    shapes = {p.name: [s if isinstance(s, int) else "*" for s in p.shape] for p in ports}
    return {f"{port.name} {port.dtype} {shapes[port.name]}" for port in ports}


def _specified(specs: Sequence[TensorSpec]) -> set[str]:
    shapes = {s.name: [side if isinstance(side, int) else "*" for side in s.shape] for s in specs}
    return {f"{spec.name} {spec.dtype} {shapes[spec.name]}" for spec in specs}
