"""An engine of TensorRT or TensorRT-RTX, loaded: what it takes and gives, and how it is run."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge._wording import option, spoken
from samedge.errors import DeviceError, NotSupportedError, OutputError
from samedge.runtime.backend import GraphIO, TensorSpec
from samedge.runtime.engines.keys import KernelsKey
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.engines.store import EngineStore, NoEngine
from samedge.runtime.gpu.driver import Device
from samedge.runtime.tensorrt.library import NVIDIA_LIBRARIES, NvidiaLibrary, device_error, make_log

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT32": "int32",
    "INT64": "int64",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}
# (library, SHA-256 of the engine, device) -> engine: sessions of one bundle share its weights.
_shared: weakref.WeakValueDictionary[tuple[str, str, int], Engine] = weakref.WeakValueDictionary()


class Engine:
    """A deserialised engine. It needs its device to be the calling thread's.

    Args:
        library: that the engine was built by.
        data: the engine file, mapped, or the builder's memory.
        host_code: the engine brings its own runtime (version compatible engines do).

    Attributes:
        log: the library's messages.
        digest: SHA-256 of the engine file, where it is known.
    """

    def __init__(
        self, library: NvidiaLibrary, data: MappedFile | memoryview, host_code: bool = False
    ) -> None:
        self.library, self.log, self.digest = library, make_log(library), ""
        trt = library.module
        self._runtime = trt.Runtime(self.log)
        if host_code:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(
            data.array() if isinstance(data, MappedFile) else data
        )
        if self._engine is None:
            raise device_error(library, "cannot load the engine", self.log)
        if isinstance(data, MappedFile):
            data.drop_pages()  # the engine has a copy of its own
        self._kernels: Any = None

    @classmethod
    def shared(
        cls, library: NvidiaLibrary, data: MappedFile, digest: str, device: int, host_code: bool
    ) -> Engine:
        """The engine with this SHA-256, loaded once for all sessions on a device."""
        key = (library.name, digest, device)
        engine = _shared.get(key)
        if engine is None:
            engine = cls(library, data, host_code)
            engine.digest = digest
            _shared[key] = engine
        return engine

    def io(self, listed: Mapping[str, tuple[int | str, ...]]) -> GraphIO:
        """Inputs and outputs, with the manifest's names for sizes that are free.

        Args:
            listed: shapes of the graph's inputs and outputs by name, from the manifest.

        Raises:
            DeviceError: the engine has others.
        """
        trt, engine = self.library.module, self._engine
        names = [engine.get_tensor_name(at) for at in range(engine.num_io_tensors)]
        if set(names) != set(listed):
            raise DeviceError(
                f"the engine takes and gives {', '.join(sorted(names))}, the bundle says "
                f"{', '.join(sorted(listed))}; build it again with `samedge build --force`"
            )
        modes = {name: engine.get_tensor_mode(name) for name in names}
        specs = {name: TensorSpec(name, self._dtype(name), listed[name]) for name in names}
        return GraphIO(
            inputs=tuple(specs[n] for n in names if modes[n] == trt.TensorIOMode.INPUT),
            outputs=tuple(specs[n] for n in names if modes[n] == trt.TensorIOMode.OUTPUT),
        )

    def check_range(self, spec: TensorSpec, shape: tuple[int, ...]) -> None:
        """Refuse an input that is smaller or larger than the engine was built for.

        Raises:
            NotSupportedError: with the size that does not fit, and the sizes that do.
        """
        low, _, high = (tuple(s) for s in self._engine.get_tensor_profile_shape(spec.name, 0))
        if len(shape) != len(low):
            raise DeviceError(
                f"the input '{spec.name}' came as {list(shape)}, expected {list(spec.shape)}"
            )
        for size, side, least, most in zip(spec.shape, shape, low, high, strict=True):
            name = size if isinstance(size, str) else "elements on an axis"
            if not least <= side <= most:
                raise NotSupportedError(
                    f"the input '{spec.name}' has {side} {name}; this engine takes {least} to "
                    f"{most}. Prompt fewer objects or points at a time"
                    f"{spoken(' (set_frame once, predict often)', '')}, or use "
                    f"{option('backend', 'openvino')}"
                )

    def context(self) -> Any:
        """A new execution context whose scratch memory the caller provides.

        Raises:
            DeviceError: the library refuses.
        """
        trt = self.library.module
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.library.ahead_of_time:
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            # The kernels for a new size are compiled before its first frame, not during the next.
            eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            config.dynamic_shapes_kernel_specialization_strategy = eager
            if self._kernels is not None:
                config.set_runtime_cache(self._kernels)
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise device_error(self.library, "cannot run the engine", self.log)
        return context

    def use_kernels(self, store: EngineStore, key: KernelsKey) -> str | None:
        """Take the kernels that TensorRT-RTX compiled on this device before, and keep new ones.

        Returns:
            what a user should know; None if all is well.
        """
        if self._kernels is not None or not self.library.ahead_of_time:
            return None
        self._kernels = self._engine.create_runtime_config().create_runtime_cache()
        found = store.find(key)
        if isinstance(found, NoEngine):
            return "; ".join(found.reasons) or None
        if self._kernels.deserialize(found.file.array()):
            return None
        return store.discard(found.path, "the driver or the GPU has changed")

    def keep_kernels(self, store: EngineStore, key: KernelsKey) -> str | None:
        """Store what was compiled on this device.

        Returns:
            why that was not possible; None if it was.
        """
        if self._kernels is None:
            return None
        try:
            store.save(key, memoryview(self._kernels.serialize()))
        except OutputError as error:
            return f"the kernels compiled on this GPU are not kept for the next start: {error}"
        return None

    def layers(self) -> dict[str, Any]:
        """The library's own report on the engine's layers."""
        trt = self.library.module
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        return dict(json.loads(text))

    def _dtype(self, name: str) -> str:
        trt, engine = self.library.module, self._engine
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise DeviceError(
                f"the engine wants '{name}' in the CPU's memory, which this version of samedge "
                "does not know; build it again with `samedge build --force`"
            )
        kind = str(engine.get_tensor_dtype(name).name)
        if kind not in _DTYPES:
            raise DeviceError(f"'{name}' is {kind}, which no frame or mask has")
        return _DTYPES[kind]


def layer_information(engine: str | Path, backend: str, device: int = 0) -> dict[str, Any]:
    """The library's report on an engine's layers (its engine inspector's JSON). It needs the GPU
    that the engine is for; the report in an engine's record is the builder's own, and needs none.

    Args:
        engine: the file.
        backend: "tensorrt" or "tensorrt_rtx".
        device: number of the GPU.

    Raises:
        NotSupportedError: library or GPU are missing.
        DeviceError: the engine does not load here.
    """
    library = NVIDIA_LIBRARIES[backend]
    owner = Device(device)
    try:
        with owner:
            return Engine(library, MappedFile(Path(engine)), host_code=False).layers()
    finally:
        owner.close()
