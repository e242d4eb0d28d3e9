"""Engines of `samedge build --target openvino`: made of a bundle's graphs, found, and compiled.

Such an engine is what a session compiles, with everything done to the graphs that does not depend
on the machine: cut, typed, rewritten. So it is for any CPU that computes its precision. What the
layers of an INT8 graph that are not quantised are computed in is decided where it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samedge._openvino import ov
from samedge.bundle import Bundle
from samedge.errors import BundleError, DeviceError, NotSupportedError
from samedge.files.paths import shown
from samedge.machine.memory import ran_out, release_memory
from samedge.runtime.backend import GraphKeys, LoadOptions
from samedge.runtime.engines.keys import OPENVINO_FORMAT, OpenVinoGraphsKey, graphs_digest
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.engines.records import ENDING
from samedge.runtime.engines.store import EngineStore, StoredEngine
from samedge.runtime.openvino import compile as compiling
from samedge.runtime.openvino.compile import DEVICE, PARTS, TYPES, Compiled
from samedge.runtime.openvino.engine_file import GraphPart, parse_engine
from samedge.runtime.openvino.rewrites import REWRITES_VERSION
from samedge.runtime.openvino.rewrites.dense import optimise
from samedge.runtime.openvino.weights import halve_weights, mark_decompression
from samedge.runtime.precision import graph_key

NAME = "openvino"
_LISTED = 8  # engines that a message names


def key_for(bundle: Bundle, precision: str, graphs: GraphKeys) -> OpenVinoGraphsKey:
    """What an engine has to fit.

    Args:
        bundle: open.
        precision: of the engine.
        graphs: the backend's.

    Raises:
        NotSupportedError: the bundle lacks a graph.
    """
    manifest = bundle.manifest
    keys = {graph: graph_key(manifest, NAME, graph, precision, graphs) for graph in manifest.graphs}
    version = str(ov.__version__).partition("-")[0]
    return OpenVinoGraphsKey(
        precision, graphs_digest(bundle, keys), OPENVINO_FORMAT, REWRITES_VERSION, version
    )


def prepare(bundle: Bundle, precision: str, graphs: GraphKeys) -> dict[str, ov.Model]:
    """The parts of a bundle as an engine has them: what `compile.compile_graph` would compile, but
    for what depends on the machine.

    Args:
        bundle, precision, graphs: as for `key_for`.

    Raises:
        BundleError: a graph's file was changed, or is not a graph of ours.
    """
    models = {}
    for graph in PARTS:
        file = graph_key(bundle.manifest, NAME, graph, precision, graphs)
        with bundle.opened_graph(graph, file) as path:
            models[graph] = compiling.read_model(path)
    models["preprocess"], encoder = compiling.split_encoder(models["encoder"])
    models["encoder"] = optimise(encoder, precision)
    if precision in ("bf16", "fp16"):
        halve_weights(models["encoder"], TYPES[precision])
    return models


def unfit(bundle: Bundle, precision: str, graphs: GraphKeys, folders: Sequence[Path]) -> str | None:
    """Why no engine in these folders serves a precision, in words; None if one does."""
    reasons = EngineStore(tuple(folders)).unfit(key_for(bundle, precision, graphs))
    return None if reasons is None else _no_engine(bundle, precision, folders, reasons)


def compile_prepared(
    bundle: Bundle, graphs: GraphKeys, options: LoadOptions
) -> dict[str, dict[str, Compiled]]:
    """Compile the engine in `options.engines`: graph -> part -> compiled part.

    Raises:
        NotSupportedError: none of them fits.
        SourceError: it is damaged.
        DeviceError: OpenVINO could not compile it.
    """
    found = EngineStore(options.engines).find(key_for(bundle, options.precision, graphs))
    if not isinstance(found, StoredEngine):
        why = _no_engine(bundle, options.precision, options.engines, found.reasons)
        raise NotSupportedError(why)
    parts = parse_engine(found.file.view(), found.path.name)
    rest = compiling.rest_of(bundle, options.precision)
    compiled: dict[str, dict[str, Compiled]] = {}
    for graph, names in PARTS.items():
        compiled[graph] = {}
        for name in names:
            computes = rest if name == "encoder" else "fp32"
            model = _read(parts[name], found.file, computes, found.path.name)
            compiled[graph][name] = _compiled(model, name, computes, options, found.file)
    release_memory()
    return compiled


def _read(part: GraphPart, file: MappedFile, computes: str, name: str) -> ov.Model:
    """The model of a part; its constants are the mapped file's."""
    weights = file.array()[part.start : part.start + part.size]
    try:
        model = compiling.core().read_model(part.graph, ov.Tensor(weights, shared_memory=True))
    except (RuntimeError, MemoryError) as error:
        if lack := ran_out(error, f"reading {name}"):
            raise lack from error
        raise BundleError(
            f"OpenVINO cannot read {name}: {error}; build it again with `samedge build`"
        ) from error
    if computes != "fp32":
        mark_decompression(model)
        halve_weights(model, TYPES[computes])
    return model


def _compiled(
    model: Any, name: str, computes: str, options: LoadOptions, file: MappedFile
) -> Compiled:
    config = compiling.engine_config(computes, options)
    try:
        return Compiled(compiling.core().compile_model(model, DEVICE, config), file, cached=True)
    except (RuntimeError, MemoryError) as error:
        if lack := ran_out(error, f"compiling the {name} part"):
            raise lack from error
        raise DeviceError(f"OpenVINO could not compile the {name} part: {error}") from error


def _no_engine(
    bundle: Bundle, precision: str, folders: Sequence[Path], reasons: Sequence[str]
) -> str:
    """What was looked for in the folders that the user named, what lies there, and what to do."""
    here = sorted(path.name for folder in folders for path in folder.glob(f"*{ENDING}"))
    listed = ", ".join(here[:_LISTED]) + ", ..." * (len(here) > _LISTED)
    found = "; ".join(reasons) or f"it holds {listed or 'none'}"
    return (
        f"no engine in {shown(folders[-1])} fits {bundle.path.name} in {precision} on a CPU "
        f"(openvino): {found}. Nothing was built in its place; samedge build {shown(bundle.path)} "
        f"--target openvino --precision {precision} -o {shown(folders[-1])}"
    )
