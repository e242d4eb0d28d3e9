"""TensorRT-RTX engines for tests: built here, without a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from samedge.bundle import Bundle
from samedge.export.onnx_graph import OnnxGraph
from samedge.runtime.engine_build import build_engines
from samedge.runtime.engine_store import read_record
from samedge.runtime.layer_report import LayerReport
from samedge.runtime.tensorrt_build import BuildOptions

DEMO = Path(__file__).parents[2] / "samedge" / "data" / "samus-demo.samedge"

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed (x86-64 Linux only)"
)


def engines_of(
    bundle: Path | Bundle,
    folder: Path,
    precisions: tuple[str, ...],
    capabilities: tuple[int, ...],
    max_side: int = 1024,
) -> Path:
    """Build engines into `folder`; returns it."""
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    options = BuildOptions(max_side=max_side)
    build_engines(opened, "tensorrt_rtx", precisions, capabilities, folder, options)
    return folder


def report_of(folder: Path, stem: str, capability: int) -> LayerReport:
    """The layer report of the engine `stem` ("encoder.fp16") for a GPU."""
    path = next(folder.glob(f"{stem}.*.sm{capability}.engine"))
    return LayerReport.from_json(read_record(path)["report"])


def network_report(encoder: Path, size: int, capability: int, work: Path) -> LayerReport:
    """The report of the part behind `network_input` alone, built with fixed shapes.

    A graph that was exported by other means has no other part, so this is what to compare with one.
    """
    import tensorrt_rtx as trt

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.lines.append(message)

    graph = OnnxGraph.read(encoder)
    graph.nodes = [node for node in graph.nodes if "network_input" not in node.output]
    shape = (1, 1, size, size)
    graph.inputs = [helper.make_tensor_value_info("network_input", TensorProto.FLOAT, shape)]
    graph.prune()
    graph.save(work / "network.onnx")
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse_from_file(str(work / "network.onnx"))
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), 0)
    assert builder.build_serialized_network(network, config) is not None
    return LayerReport.from_log("\n".join(log.lines))
