"""What every inference engine has to offer: two protocols, and the values that they exchange.

A `Backend` is what a machine can do with one library: whether it runs here, which precisions it
computes, and how a bundle is opened. What it opens are two `Engine`s, the encoder and the decoder,
each one loaded graph. `samedge.runtime.choice` knows which backends there are.

Subclass the protocols: what most backends have in common stands in their methods as the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from samedge._wording import option
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.progress import Progress, silent
from samedge.runtime.frames import CudaArray, FrameLike

Arrays = Mapping[str, NDArray[Any]]
HINTS = ("latency", "throughput")

# Precision -> graph -> keys of the manifest's entries that serve it, best first. "int8" is the
# encoder's alone: the decoder is never quantised.
GraphKeys = Mapping[str, Mapping[str, tuple[str, ...]]]
# Of engines that compute what the graph says.
STRONGLY_TYPED: GraphKeys = {
    "fp32": {"encoder": ("fp32",), "decoder": ("fp32",)},
    "fp16": {"encoder": ("fp16",), "decoder": ("fp16",)},
    "int8": {"encoder": ("int8",), "decoder": ("fp16",)},
}


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
    """How to open a bundle.

    Attributes:
        precision: "fp32", "bf16", "fp16" or "int8".
        threads: CPU threads for inference.
        device: number of the device, for machines with several.
        cache: keep the compiled engine on disk for the next start.
        profile: count time per layer (slower; see `samedge.bench.layers`).
        hint: "latency", one frame as soon as possible; or "throughput", as many frames a second as
            possible over several sessions, which share the engine.
        engines: folders of engines to take instead of the bundle's and the cache's; none is built
            then.
        progress: told how far the build of an engine is.
    """

    precision: str = "fp32"
    threads: int = 1
    device: int = 0
    cache: bool = True
    profile: bool = False
    hint: str = "latency"
    engines: tuple[Path, ...] = ()
    progress: Progress = field(default=silent, compare=False)


class GpuArray(CudaArray, Protocol):
    """An array in a GPU's memory: for others by `__cuda_array_interface__` and DLPack, and by
    these, which numpy's arrays have as well."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its element type."""

    def __getitem__(self, part: slice, /) -> GpuArray:
        """Some of the first axis, without a copy."""

    def copy(self) -> NDArray[Any]:
        """A copy in the CPU's memory."""

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        """A capsule of DLPack."""

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's type of the device, and its number."""


class Engine(Protocol):
    """One graph of a bundle, loaded."""

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs of the graph."""

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Milliseconds of each part of the last run, if the engine runs its graph in parts. Those
        called "copy_in", "preprocess" and "copy_out" become stages of the answer."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What happened while loading that a user should know (a damaged cache, for example)."""
        return ()

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Compute `outputs` in place from `inputs`: numpy arrays, or what `buffer` gave.

        Arrays are used where they lie, without a copy, and kept referenced until another array
        takes their place: hand in the same array object again and nothing is set up anew. The
        matrices of a frame's geometry (`rows`, `mask_cols` and so on) never change in place: an
        engine may copy each of them once.

        Raises:
            DeviceError: the engine failed, is closed, or its result does not have the shape of the
                array.
        """

    def buffer(self, name: str) -> NDArray[Any] | GpuArray:
        """Memory for the output `name`, which has a fixed shape, where this engine likes it best.
        `run` of the other engine takes it as well."""
        spec = self.io.output(name)
        return np.zeros(tuple(int(side) for side in spec.shape), spec.dtype)

    def close(self) -> None:
        """Free the engine. Calling it twice is harmless."""


class GpuMemory(Protocol):
    """Frames and answers that stay on the GPU on which the engines of a session run."""

    def frame(self, frame: FrameLike, deep: bool) -> GpuArray:
        """A frame that lies on a GPU as [H, W, C], uint8 or uint16.

        Args:
            frame: has `__cuda_array_interface__` or lies on a DLPack device that is no CPU.
            deep: grey frames may have 16 bits.

        Raises:
            FrameError: wrong dtype, shape or layout.
            NotSupportedError: it lies on another GPU.
        """

    def encoder_input(self, pixels: GpuArray) -> GpuArray:
        """A frame of `frame` as the encoder's input: uint8 [H, W, C], 16-bit levels in 2 bytes."""

    def output(self, name: str) -> GpuArray:
        """The decoder's output `name` of the last run, valid until the next.

        Raises:
            DeviceError: nothing was run yet.
        """


def _nothing() -> None:
    """Nothing is shared."""


@dataclass(frozen=True, eq=False)
class Engines:
    """What a backend opens for one session.

    Attributes:
        encoder, decoder: the two graphs.
        device_name: where they run, for people.
        gpu: takes frames from a GPU and leaves answers there; None for engines that compute in the
            CPU's memory.
        release: frees what both engines share (a CUDA stream), after they are closed.
    """

    encoder: Engine
    decoder: Engine
    device_name: str
    gpu: GpuMemory | None = None
    release: Callable[[], None] = _nothing

    def close(self) -> None:
        """Free everything."""
        try:
            self.encoder.close()
            self.decoder.close()
        finally:
            self.release()


E = TypeVar("E", bound=Engine)


def both_graphs(load: Callable[[str], E]) -> tuple[E, E]:
    """`load("encoder")` and `load("decoder")`; the encoder is closed if the decoder fails."""
    encoder = load("encoder")
    try:
        return encoder, load("decoder")
    except BaseException:
        encoder.close()
        raise


class InnerTensors(Protocol):
    """What a backend offers that can tell where an error begins (`parity.drift`)."""

    def named_outputs(
        self,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        names: Sequence[str],
        cases: Sequence[Arrays],
    ) -> list[dict[str, NDArray[Any]]]:
        """Tensors from inside `graph` by their ONNX names, for each of the cases (sets of inputs
        of the whole graph), computed as an engine of `Backend.open` would compute them. Names that
        the engine does not know are left out of the result; the graph's own outputs are always
        known."""


class Backend(Protocol):
    """What this machine can do with one inference library.

    Attributes:
        name: as users write it, and as the bundle's parity table has it.
        graphs: which of a bundle's graphs serve which precision.
    """

    name: str
    graphs: GraphKeys = STRONGLY_TYPED

    def unavailable(self) -> str | None:
        """Why this backend cannot run here, with the remedy; None if it can."""

    def precisions(self) -> tuple[str, ...]:
        """Precisions this machine computes natively, best known first."""

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Load encoder and decoder of `bundle`; their files' hashes are checked first.

        Raises:
            BundleError: a file was changed, or is not a graph of ours.
            NotSupportedError: no such precision or device here, or no graph for it in the bundle.
            DeviceError: the library failed.
        """

    def slower_than_float32(self) -> frozenset[str]:
        """Precisions that run natively but gain nothing here, which `auto` therefore leaves out."""
        return frozenset()

    def doubtful(self) -> Mapping[str, str]:
        """Precisions that run here, but may answer otherwise than on the machine of a bundle's
        parity gate, with the reason. `auto` leaves them out; by name they come with a note."""
        return {}

    def proven(
        self, bundle: Bundle, precision: str, device: int = 0, engines: Sequence[Path] = ()
    ) -> bool | None:
        """Whether `precision` passed a parity gate on a device like number `device` here, beyond
        the rows in the bundle's own table; None if it was not tried. `engines`: as in
        `LoadOptions`."""
        return None

    def unready(self, bundle: Bundle, device: int = 0) -> str | None:
        """Why `auto` should leave this bundle to the next backend, though this one runs on device
        number `device` here; None if it should not."""
        return None

    def ready(self, bundle: Bundle, engines: Sequence[Path], device: int = 0) -> tuple[str, ...]:
        """Precisions that the engines in these folders serve on device number `device`, in the
        backend's own order.

        Raises:
            NotSupportedError: none, with what was found, what was expected and what to do; or the
                backend takes no engines from outside.
        """
        raise NotSupportedError(
            f"the {self.name} backend compiles for itself and takes no engines of `samedge "
            f"build`: leave out {option('engines')}, or use the backend tensorrt, tensorrt_rtx, "
            "triton or openvino"
        )

    @property
    def inner(self) -> InnerTensors | None:
        """What gives out tensors from inside the graphs; None if nothing does."""
        return None
