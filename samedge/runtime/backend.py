"""What every inference engine has to offer, and the choice between them.

A backend is one engine running one graph of a bundle. `auto` takes the first backend that works
on this machine and says which and why; a backend that was asked for by name and is not there is an
error with the remedy, never a fallback to something slower.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.progress import Progress, silent
from samedge.runtime.frames import on_gpu_error

Arrays = Mapping[str, NDArray[Any]]
HINTS = ("latency", "throughput")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph; a dimension is an int, or a name if it is free."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphIO:
    """Inputs and outputs of one graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def output(self, name: str) -> TensorSpec:
        """The output called `name`."""
        return next(spec for spec in self.outputs if spec.name == name)

    def has_output(self, name: str) -> bool:
        """Whether the graph gives an output called `name`."""
        return any(spec.name == name for spec in self.outputs)

    def has_input(self, name: str) -> bool:
        """Whether the graph takes an input called `name`."""
        return any(spec.name == name for spec in self.inputs)


@dataclass(frozen=True)
class LoadOptions:
    """How to load a graph.

    Attributes:
        precision: "fp32", "bf16", "fp16" or "int8".
        threads: CPU threads for inference.
        device: number of the device, for machines with several.
        cache: keep the compiled engine on disk for the next start.
        profile: count time per layer (slower; see `samedge.bench.layers`).
        hint: "latency", one frame as soon as possible; or "throughput", as many frames a second as
            possible over several sessions, which share the engine.
        engines: folders of engines to take instead of the bundle's and the cache's (NVIDIA).
        progress: told how far the build of an engine is.
        shared: what the engines of one session have in common (a CUDA stream); a backend's own.
    """

    precision: str = "fp32"
    threads: int = 1
    device: int = 0
    cache: bool = True
    profile: bool = False
    hint: str = "latency"
    engines: tuple[Path, ...] = ()
    progress: Progress = field(default=silent, compare=False)
    shared: dict[str, Any] = field(default_factory=dict, compare=False)


class Backend(Protocol):
    """One engine with one graph of a bundle loaded."""

    name: str
    precision: str
    device_name: str

    @classmethod
    def unavailable(cls) -> str | None:
        """Why this backend cannot run here, with the remedy; None if it can."""

    @classmethod
    def precisions(cls) -> tuple[str, ...]:
        """Precisions this machine computes natively, best known first."""

    @classmethod
    def load(cls, bundle: Bundle, graph: str, options: LoadOptions) -> Backend:
        """Load `graph` ("encoder" or "decoder") of `bundle`; its file's hash is checked first."""

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs of the loaded graph."""

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Milliseconds of each part of the last run, where the backend runs a graph in parts."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What happened while loading that a user should know (a damaged cache, for example)."""

    def run(self, inputs: Arrays, outputs: Arrays) -> None:
        """Compute `outputs` in place from `inputs`.

        Arrays are used where they lie, without a copy, and kept referenced until another array
        takes their place: hand in the same array object again and nothing is set up anew. The
        matrices of a frame's geometry (`rows`, `mask_cols` and so on) never change in place: an
        engine may copy each of them once.

        Raises:
            DeviceError: the engine failed, or its result does not have the shape of the array.
        """

    def buffer(self, name: str) -> Any:
        """Memory for the output `name`, which has a fixed shape, where this backend likes it best:
        a numpy array, or a `DeviceArray`. `run` of any backend of the session takes it; it has
        `shape`, `copy()` (to numpy), and slices of its first axis."""

    def device_frame(self, frame: Any, deep: bool) -> Any:
        """A frame that lies on a GPU as [H, W, C], for `run`.

        Args:
            frame: has `__cuda_array_interface__` or lies on a DLPack device that is no CPU.
            deep: grey frames may have 16 bits.

        Raises:
            FrameError: wrong dtype, shape or layout.
            NotSupportedError: this backend cannot read it there.
        """

    def device_output(self, name: str) -> Any:
        """The output `name` of the last run as a `DeviceArray`, valid until the next run.

        Raises:
            NotSupportedError: this backend's results lie in the CPU's memory.
        """

    def close(self) -> None:
        """Free the engine. Calling it twice is harmless."""


class HostMemory:
    """The part of a backend that has to do with memory, for those that compute in the CPU's."""

    name: str
    io: Any  # GraphIO

    def buffer(self, name: str) -> NDArray[Any]:
        """An array for the output `name`."""
        spec = self.io.output(name)
        return np.zeros(tuple(int(side) for side in spec.shape), spec.dtype)

    def device_frame(self, frame: Any, deep: bool) -> Any:
        """Refused: frames are read from the CPU's memory."""
        raise on_gpu_error(frame)

    def device_output(self, name: str) -> Any:
        """Refused: results lie in the CPU's memory."""
        raise NotSupportedError(
            f"the {self.name} backend has its results in the CPU's memory: use the Result"
        )


class NamesTensors(Protocol):
    """What a backend offers that can tell where an error begins (`parity.drift`)."""

    name: str

    @classmethod
    def named_outputs(
        cls,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        names: Sequence[str],
        cases: Sequence[Arrays],
    ) -> list[dict[str, NDArray[Any]]]:
        """Tensors from inside `graph` by their ONNX names, for each of the cases (sets of inputs
        of the whole graph), computed as `load` would compute them. Names that the engine does not
        know are left out of the result; the graph's own outputs are always known."""


# Name -> module and class, in the order in which `auto` tries them.
BACKENDS: dict[str, tuple[str, str]] = {
    "tensorrt": ("samedge.runtime.tensorrt.backend", "TensorRtBackend"),
    "tensorrt_rtx": ("samedge.runtime.tensorrt.rtx", "TensorRtRtxBackend"),
    "openvino": ("samedge.runtime.openvino.backend", "OpenVinoBackend"),
    "openvino_gpu": ("samedge.runtime.openvino.gpu", "OpenVinoGpuBackend"),
    "emulation": ("samedge.export.half.emulation_backend", "EmulationBackend"),
}
# Only by name: `auto` never takes these.
ON_REQUEST = frozenset({"openvino_gpu", "emulation"})
# Names that users know from the documentation, and what this version can say about them.
LATER = ("torch",)


def backend_class(name: str) -> type[Backend]:
    """The backend called `name`, checked to run on this machine.

    Raises:
        NotSupportedError: unknown, not in this version, or not usable here; with the remedy.
    """
    if name in LATER:
        raise NotSupportedError(
            f"the backend '{name}' is not in this version of samedge; "
            f"use backend='openvino' (any CPU), or a later version of samedge"
        )
    if name not in BACKENDS:
        raise NotSupportedError(
            f"there is no backend '{name}'; expected one of: auto, {', '.join(BACKENDS)}"
        )
    cls = _import(name)
    reason = cls.unavailable()
    if reason is not None:
        raise NotSupportedError(f"the backend '{name}' does not run here: {reason}")
    return cls


def choose_backend(name: str) -> tuple[type[Backend], str]:
    """The backend to use for `name` ("auto" or a backend's name), and why it was taken.

    Raises:
        NotSupportedError: none works here; every reason and its remedy is listed.
    """
    if name != "auto":
        return backend_class(name), "asked for"
    refused: dict[str, str] = {}
    for candidate in BACKENDS:
        if candidate in ON_REQUEST:
            continue
        cls = _import(candidate)
        reason = cls.unavailable()
        if reason is None:
            why = "first backend that works here"
            # What is wrong, without what to do about it: there is another that works.
            short: dict[str, list[str]] = {}
            for name, text in refused.items():
                short.setdefault(re.split(r"[;.] ", text)[0], []).append(name)
            told = "; ".join(f"{', '.join(names)}: {text}" for text, names in short.items())
            return cls, f"{why} ({told})" if told else why
        refused[candidate] = reason
    reasons = "\n  ".join(f"{name}: {text}" for name, text in refused.items())
    raise NotSupportedError(f"no backend works on this machine:\n  {reasons}")


def _import(name: str) -> type[Backend]:
    """The class of a backend.

    Raises:
        MissingDependencyError: a package that the module itself needs is not installed.
    """
    module, cls = BACKENDS[name]
    backend: type[Backend] = getattr(import_module(module), cls)
    return backend
