"""ONNX file -> compiled OpenVINO parts, through the engine cache.

The encoder graph is cut at the tensor `network_input` (float32 `[1, C, S, S]`):

* `preprocess`: uint8 frame of any size -> network input. Always float32: its sums are exact
  integers, which bfloat16 would destroy.
* `encoder`: network input -> image embedding. Fixed shapes, so OpenVINO plans all memory once;
  this part carries the precision that was asked for.

The decoder stays whole and in float32. In an int8 graph the quantised layers say so themselves;
`rest_of` is what everything around them is computed in.
"""

from __future__ import annotations

import io
import platform
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from samedge._openvino import ops, ov
from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import BundleError, DeviceError
from samedge.machine.memory import ran_out, release_memory
from samedge.runtime.backend import LoadOptions
from samedge.runtime.engines.keys import OpenVinoKey, graph_digest
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.engines.store import EngineStore, load_or_build
from samedge.runtime.openvino.rewrites import REWRITES_VERSION
from samedge.runtime.openvino.rewrites.dense import optimise
from samedge.runtime.openvino.rewrites.windows import RECORDED
from samedge.runtime.openvino.shapes import CPU_SHAPES, bound_kernels
from samedge.runtime.openvino.weights import halve_weights, to_float32
from samedge.runtime.precision import parity

DEVICE = "CPU"
PARTS: dict[str, tuple[str, ...]] = {"encoder": ("preprocess", "encoder"), "decoder": ("decoder",)}
TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class Compiled:
    """One compiled part and the mapped file that it lives from.

    Sessions of one bundle in one process share it; each has an inference request of its own.
    """

    def __init__(self, model: ov.CompiledModel, file: MappedFile | None, cached: bool) -> None:
        self.model: ov.CompiledModel | None = model
        self.cached = cached
        self._file = file

    def __del__(self) -> None:
        self.model = None  # before the memory it lives from
        self._file = None


_shared: weakref.WeakValueDictionary[OpenVinoKey, Compiled] = weakref.WeakValueDictionary()


@cache
def core() -> ov.Core:
    """The process's OpenVINO core (plugins are loaded once)."""
    made = ov.Core()
    bound_kernels(made)
    return made


def compile_graph(
    bundle: Bundle, graph: str, file: str, options: LoadOptions, device: str = DEVICE
) -> tuple[dict[str, Compiled], list[str]]:
    """Compile all parts of `graph`, from the cache where possible.

    On a GPU the pre-processing still runs on the CPU: there its sums are exact, and frames of any
    size cost nothing.

    The graph's file is verified against its hash in any case, also if the cache makes reading it
    unnecessary: a changed bundle is an error, not a matter of luck.

    Args:
        bundle, options: as for `Backend.open`.
        graph: "encoder" or "decoder".
        file: which of its files, a key of the manifest's.
        device: OpenVINO's name of it.

    Returns:
        Part name -> compiled part, in the order in which they run; and notes for the user.

    Raises:
        BundleError: a hash does not match, or the graph is not one of ours.
        DeviceError: OpenVINO could not compile it.
    """
    bundle.graph(graph, file)
    digest = graph_digest(bundle, graph, file)
    store = EngineStore.of_user(bundle) if options.cache else None
    rest = rest_of(bundle, options.precision, device)
    models = _Models(bundle, graph, file, options.precision, rest, device)
    parts: dict[str, Compiled] = {}
    notes: list[str] = []
    for part in PARTS[graph]:
        where = DEVICE if part == "preprocess" else device
        exact = part != "encoder"
        asked, computes = ("fp32", "fp32") if exact else (options.precision, rest)
        key = _key(digest, part, asked, computes, options, where)
        config = engine_config(computes, options, where)
        compiled = _shared.get(key)
        if compiled is None:
            compiled, said = _obtain(store, key, models, config)
            _shared[key] = compiled
            notes += said
        parts[part] = compiled
    models.close()
    release_memory()
    return parts, notes


def backend_of(device: str) -> str:
    """The backend that runs on an OpenVINO device: "CPU", or "GPU" or "GPU.1"."""
    return "openvino" if device == DEVICE else "openvino_gpu"


def rest_of(bundle: Bundle, precision: str, device: str = DEVICE) -> str:
    """What is computed in "fp32", "bf16" or "fp16" at `precision`: for int8, all but the quantised
    layers, in the fastest type that is native, unless the bundle's parity table is against it."""
    if precision != "int8":
        return precision
    native = core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    candidates = ("bf16",) if device == DEVICE else ("fp16",)
    for name in candidates:
        if name.upper() in native and parity(bundle, backend_of(device), name) is not False:
            return name
    return "fp32"


class _Models:
    """The parts of one ONNX file as OpenVINO models; the file is read when the first is needed."""

    def __init__(
        self, bundle: Bundle, graph: str, file: str, precision: str, rest: str, device: str
    ) -> None:
        self._bundle, self._graph, self._file = bundle, graph, file
        self._precision, self._rest, self._device = precision, rest, device
        self._parts: dict[str, ov.Model] | None = None

    def take(self, part: str) -> ov.Model:
        """The model of `part`; it is handed out once, so that its memory can be freed."""
        if self._parts is None or part not in self._parts:
            self._parts = self._read()
        return self._parts.pop(part)

    def close(self) -> None:
        self._parts = None

    def _read(self) -> dict[str, ov.Model]:
        with self._bundle.opened_graph(self._graph, self._file) as path:
            model = read_model(path)
        if self._graph != "encoder":
            return {self._graph: model}
        preprocess, encoder = split_encoder(model)
        if self._device == DEVICE:  # the rewrites know its kernels
            encoder = optimise(encoder, self._precision)
        if self._rest != "fp32":
            halve_weights(encoder, TYPES[self._rest])
        del model
        release_memory()  # what was replaced: about as much as the weights
        return {"preprocess": preprocess, "encoder": encoder}


def read_model(path: Path) -> ov.Model:
    """A bundle's graph, computed in float32 (and in int8 where it is quantised).

    Raises:
        BundleError: OpenVINO cannot read it.
    """
    model = open_model(path)
    to_float32(model)
    return model


def open_model(path: Path) -> ov.Model:
    """A bundle's graph as its file has it.

    Raises:
        BundleError: OpenVINO cannot read it.
    """
    try:
        return core().read_model(path)
    except (RuntimeError, MemoryError) as error:
        if lack := ran_out(error, f"reading {path.name}", path.stat().st_size):
            raise lack from error
        raise BundleError(
            f"OpenVINO cannot read {path.name}: {error}; export the bundle again with "
            "this version of samedge"
        ) from error


def split_encoder(model: ov.Model) -> tuple[ov.Model, ov.Model]:
    """Cut the encoder graph at the tensor `network_input`. `model` is used up.

    Raises:
        BundleError: the graph has no such tensor, or its shape is not fixed.
    """
    port = next((out for out in _outputs(model) if NETWORK_INPUT in out.get_names()), None)
    if port is None or port.get_partial_shape().is_dynamic:
        raise BundleError(
            f"the encoder graph has no tensor '{NETWORK_INPUT}' of fixed shape; "
            "export the bundle again with this version of samedge"
        )
    results, parameters = model.get_results(), model.get_parameters()
    entry = ops.parameter(port.get_shape(), port.get_element_type(), name=NETWORK_INPUT)
    for consumer in port.get_target_inputs():
        consumer.replace_source_output(entry.output(0))
    entry.output(0).get_tensor().set_names({f"{NETWORK_INPUT}:0"})
    encoder = ov.Model(results, [entry], "encoder")
    if model.has_rt_info(RECORDED):
        encoder.set_rt_info(model.get_rt_info(RECORDED).value, RECORDED)
    preprocess = ov.Model([ops.result(port)], parameters, "preprocess")
    encoder.inputs[0].get_tensor().set_names({NETWORK_INPUT})
    return preprocess, encoder


def _outputs(model: ov.Model) -> Iterator[Any]:
    for node in model.get_ordered_ops():
        yield from node.outputs()


def _obtain(
    store: EngineStore | None, key: OpenVinoKey, models: _Models, config: dict[str, Any]
) -> tuple[Compiled, tuple[str, ...]]:
    """The compiled part of `key`, from the store or new, and what a user should know about that."""

    def build() -> ov.CompiledModel:
        return _guard(
            lambda: core().compile_model(models.take(key.part), key.device, config), key.part
        )

    def read(file: MappedFile) -> ov.CompiledModel:
        tensor = ov.Tensor(file.array(), shared_memory=True)
        model = core().import_model(tensor, key.device, config)
        file.drop_pages()
        return model

    if store is None or key.profile:
        return Compiled(build(), None, cached=False), ()
    found = load_or_build(store, key, read, build, _export)
    return Compiled(found.engine, found.file, found.stored), found.notes


def _guard(compile_: Callable[[], ov.CompiledModel], part: str) -> ov.CompiledModel:
    try:
        return compile_()
    except (RuntimeError, MemoryError) as error:
        if lack := ran_out(error, f"compiling the {part} part"):
            raise lack from error
        raise DeviceError(
            f"OpenVINO {ov.__version__} could not compile the {part} part: {error}"
        ) from error


def _export(model: ov.CompiledModel) -> memoryview:
    exported = model.export_model()
    return exported.getbuffer() if isinstance(exported, io.BytesIO) else memoryview(exported)


def engine_config(precision: str, options: LoadOptions, device: str = DEVICE) -> dict[str, Any]:
    """OpenVINO properties to compute in `precision`: "fp32", "bf16" or "fp16".

    With the hint "latency" one frame has all threads; with "throughput" OpenVINO makes as many
    streams as it finds useful, and sessions that share the engine run side by side.
    """
    throughput = options.hint == "throughput"
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
        "NUM_STREAMS": "AUTO" if throughput else "1",
        "INFERENCE_PRECISION_HINT": TYPES[precision],
    }
    if device == DEVICE:
        config["INFERENCE_NUM_THREADS"] = options.threads
        config |= CPU_SHAPES
    if options.profile:
        config["PERF_COUNT"] = True
    return config


def _key(
    digest: str, part: str, precision: str, computes: str, options: LoadOptions, device: str
) -> OpenVinoKey:
    return OpenVinoKey(
        graph=digest,
        part=part,
        precision=precision,
        computes=computes,
        threads=options.threads,
        profile=options.profile,
        hint=options.hint,
        device=device,
        openvino=ov.__version__,
        rewrites=str(REWRITES_VERSION) if part == "encoder" else "",
        machine=platform.machine(),
        cpu=core().get_property(device, "FULL_DEVICE_NAME"),
        features=tuple(sorted(core().get_property(device, "OPTIMIZATION_CAPABILITIES"))),
    )
