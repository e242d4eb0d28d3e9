"""A bundle's graph -> an engine of TensorRT or TensorRT-RTX.

The network is strongly typed: the graph says every precision, no builder flag does. TensorRT 10.3
and 11 and TensorRT-RTX take the same calls. What is written is the library's own engine, plain, so
that trtexec reads it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from samedge.bundle import Bundle
from samedge.errors import DeviceError, NotSupportedError, OutputError
from samedge.files.limits import TIMING_CACHE_BYTES
from samedge.files.paths import read_small
from samedge.files.whole import write_bytes
from samedge.geometry.frame_geometry import MAX_SIDE
from samedge.progress import Progress, Step, silent
from samedge.runtime.precision import graph_key
from samedge.runtime.tensorrt.layer_report import LayerReport
from samedge.runtime.tensorrt.library import NvidiaLibrary, device_error, make_log
from samedge.runtime.tensorrt.network import (
    mark_outputs,
    parsed,
    without_channel_convolutions,
    without_products,
)
from samedge.runtime.tensorrt.sizes import Shape, profile_shapes, ranges_for

_NO_FLOAT32 = "FP32 GEMM is not supported"  # what TensorRT-RTX says for Turing
_TURING = 75
_PLACES = (
    "convolutions of each channel by itself are computed as sums of products: {} makes much larger "
    "ones of them for this GPU"
)
_SUMS = "{} float32 matrix products are computed as sums of products: {} has no other for this GPU"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class BuildOptions:
    """What can be chosen about an engine.

    Attributes:
        workspace_mb: most scratch memory a layer may take, in MB (10^6 bytes); None: all there is.
        timing_cache: file of measured layer times, read and extended; makes the next build quick.
        version_compatible: loads in later versions of the library as well.
        hardware_compatible: runs on other GPUs from Ampere on as well (TensorRT only).
        refittable: a program of the user's can exchange its weights; samedge never does.
        max_side: largest side of a frame, in px; a smaller one takes less memory at the largest.
        compute_capability: the GPU's, 86 for 8.6, to build for another GPU than this machine's
            (TensorRT-RTX only); None: this machine's.
    """

    workspace_mb: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    refittable: bool = False
    max_side: int = MAX_SIDE
    compute_capability: int | None = None

    def record(self) -> dict[str, Any]:
        """What the finished engine depends on, as JSON values."""
        given = asdict(self)
        del given["timing_cache"], given["compute_capability"]
        return given


@dataclass(frozen=True)
class BuiltEngine:
    """A finished engine.

    Attributes:
        data: the engine file's content.
        report: what the builder tells about the engine's kernels and memory; None if nothing.
        notes: what a user should know about the build.
        also: the tensors from inside that it gives out.
    """

    data: memoryview
    report: LayerReport | None
    notes: tuple[str, ...]
    also: tuple[str, ...] = ()


def build_engine(
    library: NvidiaLibrary,
    bundle: Bundle,
    graph: str,
    precision: str,
    options: BuildOptions | None = None,
    progress: Progress = silent,
    also: Sequence[str] = (),
    capability: int | None = None,
) -> BuiltEngine:
    """Build an engine of `graph` ("encoder" or "decoder").

    Args:
        library: TensorRT, which needs the GPU that the engine is for, or TensorRT-RTX.
        bundle: open.
        graph: which graph.
        precision: "fp32", "fp16" or "int8".
        options: default: for this machine.
        progress: told the phase that the build of the graph is in; from any thread.
        also: float tensors from inside, by name, to be outputs as well; what the library's form of
            the graph does not have is left out.
        capability: this machine's GPU's, 86 for 8.6, where `options` name no other GPU.

    Raises:
        BundleError: the graph's file was changed.
        NotSupportedError: the bundle has no such graph, the library cannot run one of its nodes, or
            an option does not fit the library.
        DeviceError: the build failed; with what the library says.
        KeyboardInterrupt: Ctrl-C; the build was stopped.
    """
    given = options or BuildOptions()
    key = graph_key(bundle.manifest, library.name, graph, precision)
    target = given.compute_capability or capability
    build = _Build(library, bundle, graph, key, given, progress, tuple(also), target)
    try:
        try:
            return build.run()
        except _NoFloat32:
            return build.run(products=False)
    except _Refused as error:
        limit = f" within {given.workspace_mb} MB of workspace" if given.workspace_mb else ""
        what = f"could not build the {precision} {graph}{limit}"
        raise device_error(library, what, error.log) from None


@dataclass(frozen=True)
class _Build:
    """What `build_engine` was given."""

    library: NvidiaLibrary
    bundle: Bundle
    graph: str
    key: str
    options: BuildOptions
    progress: Progress
    also: tuple[str, ...]
    capability: int | None

    def run(self, products: bool = True) -> BuiltEngine:
        """Build; with `products` false, without float32 matrix products."""
        with self.bundle.opened_graph(self.graph, self.key) as path:
            return self._run(path, products)

    def _run(self, path: Path, products: bool) -> BuiltEngine:
        library, options = self.library, self.options
        log = make_log(library)
        builder = _builder(library, log)
        network = parsed(library, builder, path, log)
        config = builder.create_builder_config()
        _configure(library, config, options)
        notes = _read_timing_cache(config, options)
        if not products:
            notes.append(_SUMS.format(without_products(library, network), library.title))
        weights = []  # held until the engine is built: the network does not hold them
        if library.ahead_of_time and self.capability == _TURING:
            weights = without_channel_convolutions(library, network)
        if weights:
            notes.append(_PLACES.format(library.title))
        also = mark_outputs(library, network, self.also) if self.also else []
        shapes = profile_shapes(
            self.bundle.manifest.graphs[self.graph][self.key].inputs,
            ranges_for(self.bundle, options.max_side),
        )
        _add_profile(library, builder, config, shapes)
        with _monitored(library, config, self.graph, self.progress):
            engine = builder.build_serialized_network(network, config)
        if engine is None:
            refused = any(_NO_FLOAT32 in text for text in log.problems)
            raise _NoFloat32(log) if refused and products else _Refused(log)
        _write_timing_cache(config, options, notes)
        return BuiltEngine(memoryview(engine), _report(log), tuple(notes), tuple(also))


class _Refused(Exception):
    """The library gave no engine; its log says why."""

    def __init__(self, log: Any) -> None:
        super().__init__("no engine")
        self.log = log


class _NoFloat32(_Refused):
    """It has no float32 matrix products for the GPU."""


def _builder(library: NvidiaLibrary, log: Any) -> Any:
    try:
        return library.module.Builder(log)
    except (
        TypeError,
        RuntimeError,
    ) as error:  # the library gave no builder: it says why in the log
        raise device_error(library, "cannot build engines here", log) from error


def _report(log: Any) -> LayerReport | None:
    """The layers; their report is of use to people only, and no reason to fail."""
    try:
        return LayerReport.from_log(log.report)
    except DeviceError:
        return None


def _configure(library: NvidiaLibrary, config: Any, options: BuildOptions) -> None:
    trt = library.module
    # TF32 rounds to 11 bits: neither a float32 engine nor the exact resize in front of every
    # engine may have that.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb * 10**6)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.refittable:
        config.set_flag(trt.BuilderFlag.REFIT)
    if library.ahead_of_time:
        _configure_rtx(library, config, options)
    else:
        _configure_tensorrt(library, config, options)


def _configure_rtx(library: NvidiaLibrary, config: Any, options: BuildOptions) -> None:
    trt = library.module
    if options.hardware_compatible or options.version_compatible:
        raise NotSupportedError(
            "TensorRT-RTX has no engines for all GPUs or versions at once; build one for each GPU "
            "(--sm 86,89,120), with the version that the device has"
        )
    if options.refittable and options.compute_capability is not None:
        raise NotSupportedError(
            "TensorRT-RTX builds refittable engines only on the GPU that they are for; leave out "
            "--sm there, or --refittable here"
        )
    # Without it the engine allocates while it runs, which a CUDA graph does not allow.
    config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if options.compute_capability is None:
        return
    known = trt.ComputeCapability.__members__
    name = f"SM{options.compute_capability}"
    if name not in known:
        there = ", ".join(n.removeprefix("SM") for n in known if n.startswith("SM"))
        raise NotSupportedError(
            f"TensorRT-RTX {library.version} does not build for sm_{options.compute_capability}; "
            f"it builds for: {there}"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[name], 0)


def _configure_tensorrt(library: NvidiaLibrary, config: Any, options: BuildOptions) -> None:
    if options.compute_capability is not None:
        raise NotSupportedError(
            "TensorRT builds for the GPU of the machine it runs on; run `samedge build` there, or "
            "build ahead of time with --target tensorrt-rtx"
        )
    if options.hardware_compatible:
        level = library.module.HardwareCompatibilityLevel.AMPERE_PLUS
        config.hardware_compatibility_level = level


def _add_profile(
    library: NvidiaLibrary, builder: Any, config: Any, inputs: dict[str, tuple[Shape, Shape, Shape]]
) -> None:
    profile = builder.create_optimization_profile()
    for name, shapes in inputs.items():
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise DeviceError(
            f"{library.title} {library.version} refuses the sizes that the engine is to serve; "
            "report this with what `samedge doctor` prints"
        )


def _read_timing_cache(config: Any, options: BuildOptions) -> list[str]:
    """Hand the library its measured times; notes for the user where they are of no use."""
    if options.timing_cache is None:
        return []
    try:
        data = read_small(options.timing_cache, TIMING_CACHE_BYTES.most, NotSupportedError)
    except FileNotFoundError:
        data = b""
    timings = config.create_timing_cache(data)
    if timings is not None and config.set_timing_cache(timings, False):
        return []
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return [
        f"the timing cache {options.timing_cache.name} is of another GPU or version and was "
        "replaced"
    ]


def _write_timing_cache(config: Any, options: BuildOptions, notes: list[str]) -> None:
    if options.timing_cache is None:
        return
    timings = config.get_timing_cache()
    if timings is None:
        notes.append("this library keeps no timing cache")
        return
    try:
        write_bytes(options.timing_cache, memoryview(timings.serialize()))
    except OutputError as error:  # the engine is there all the same
        notes.append(f"the timing cache could not be written: {error}")


@contextmanager
def _monitored(
    library: NvidiaLibrary, config: Any, graph: str, progress: Progress
) -> Iterator[None]:
    """Progress of the build, and Ctrl-C.

    A Python exception must not pass through the library's callbacks. So a signal only sets a flag,
    the next callback tells the library to stop, and the exception is raised behind it.
    """
    stop = _Stop()
    monitor = _monitor(library, graph, progress, stop)
    config.progress_monitor = monitor
    with stop.on_signals():
        yield_error: BaseException | None = None
        try:
            yield
        except DeviceError as error:
            yield_error = error
    if stop.reason is not None:
        raise stop.reason
    if yield_error is not None:
        raise yield_error


class _Stop:
    """Why a build is to stop; None if it is not."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Catch Ctrl-C and SIGTERM, where they would raise KeyboardInterrupt in this thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        replaced = {}
        for number in _SIGNALS:
            if callable(signal.getsignal(number)):
                replaced[number] = signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in replaced.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.reason = KeyboardInterrupt()


def _monitor(library: NvidiaLibrary, graph: str, progress: Progress, stop: _Stop) -> Any:
    trt = library.module

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self.tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.tell(phase_name, step + 1)
            return stop.reason is None

        def phase_finish(self, phase_name: str) -> None:
            self.tell(phase_name, self.steps.get(phase_name, 0))

        def tell(self, phase: str, done: int) -> None:
            if stop.reason is not None:
                return
            try:
                progress(Step(f"building the {graph}", done, self.steps.get(phase, 0), phase))
            except BaseException as error:
                stop.reason = error

    return Monitor()
