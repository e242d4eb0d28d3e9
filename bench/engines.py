"""What TensorRT-RTX makes of the SAMUS encoder in half precision, step by step; without a GPU.

    python -m samedge.bench.engines [--vit vit_b] [--sm 86]

Kernels, fused attentions and memory, from the builder's own report. No times: those need a GPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge._optional import require
from samedge.bench.contenders.eager import require_torch, synthetic_samus
from samedge.bench.contenders.plain import export_plain
from samedge.bench.entry import add_files, finish, parsed, parser, run, tell
from samedge.bench.report.sheet import Column, Sheet, Table
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import DeviceError
from samedge.progress import Progress, Step

if TYPE_CHECKING:
    from samedge.export.graphs.model import OnnxGraph
    from samedge.runtime.tensorrt.layer_report import LayerReport

COLUMNS = (
    Column("graph"),
    Column("kernels", "d"),
    Column("fused attentions", "d"),
    Column("attentions", "d"),
    Column("working_bytes", ".1f", "working memory, MB", 1e-6),
    Column("weight_bytes", ".1f", "weights, MB", 1e-6),
)


def measure(vit: str, capability: int, work: Path, progress: Progress) -> list[Any]:
    """One row per graph: name and `LayerReport`.

    Args:
        vit: "vit_b", "vit_l", "vit_h" or "tiny".
        capability: compute capability of the GPU to build for, 86 for 8.6.
        work: folder for the ONNX files.
        progress: told each step.

    Raises:
        MissingDependencyError: torch, onnx or tensorrt-rtx is not installed.
        DeviceError: TensorRT-RTX could not build one.
    """
    torch = require_torch()
    from samedge.export.graphs.encoder import encoder_graph
    from samedge.export.graphs.model import OnnxGraph
    from samedge.export.graphs.tensorrt_attention import MAX_COLUMNS, fuse_attention
    from samedge.export.half.graph import to_half
    from samedge.fold import fold

    model: Any = synthetic_samus(vit)
    side = model.config.img_size
    progress(Step("folding"))
    encoder_graph(fold(model)).save(work / "folded.onnx")
    folded = network_part(OnnxGraph.read(work / "folded.onnx"), side)
    graphs = {"folded": folded}
    shapes = {"+ one product for relative positions": 0.0, "+ as columns of qkv": MAX_COLUMNS}
    for name, columns in shapes.items():
        graphs[name] = folded.copy()
        fuse_attention(graphs[name], columns)
    progress(Step("writing the plain export"))
    example = torch.zeros(1, 3, side, side, dtype=torch.half)
    plain = export_plain(model.image_encoder.half(), example, work / "plain.onnx")
    rows = [("plain export of the half model", build(plain, capability))]
    for name, graph in graphs.items():
        progress(Step(f"building: {name}"))
        to_half(graph).save(work / "graph.onnx")
        rows.append((name, build(work / "graph.onnx", capability)))
    return rows


def network_part(graph: OnnxGraph, side: int, channels: int = 1) -> OnnxGraph:
    """The part of an encoder graph behind `network_input`, which is all that other exports have.

    Args:
        graph: of images; not changed.
        side, channels: of the network's input.
    """
    require("onnx", extra="export", what="samedge.bench.engines")
    from onnx import TensorProto, helper

    part = graph.copy()
    part.nodes = [node for node in part.nodes if NETWORK_INPUT not in node.output]
    shape = (1, channels, side, side)
    part.inputs = [helper.make_tensor_value_info(NETWORK_INPUT, TensorProto.FLOAT, shape)]
    part.prune()
    return part


def build(path: Path, capability: int) -> LayerReport:
    """Build an ONNX file with fixed shapes for a GPU that need not be here; what came out.

    Raises:
        MissingDependencyError: tensorrt-rtx is not installed.
        DeviceError: it could not build the file.
    """
    trt: Any = require("tensorrt_rtx", extra="rtx", what="building engines")
    from samedge.runtime.tensorrt.layer_report import LayerReport

    lines: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            lines.append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if not trt.OnnxParser(network, log).parse_from_file(str(path)):
        raise DeviceError(f"TensorRT-RTX cannot read {path.name}: {_last(lines)}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability}"), 0)
    if builder.build_serialized_network(network, config) is None:
        raise DeviceError(f"TensorRT-RTX cannot build {path.name}: {_last(lines)}")
    return LayerReport.from_log("\n".join(lines))


def _last(lines: list[str]) -> str:
    return lines[-1] if lines else "it says nothing"


def row(name: str, report: LayerReport) -> list[Any]:
    """Cells under `COLUMNS`."""
    return [name, len(report.layers), *report.attentions, report.activations, report.weights]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("engines", __doc__)
    made.add_argument("--vit", default="vit_b")
    made.add_argument("--sm", type=int, default=86, help="compute capability, 86 for 8.6")
    add_files(made, page=False)
    options = parsed(made, arguments)
    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        rows = measure(options.vit, options.sm, Path(folder), tell)
    title = f"SAMUS {options.vit} encoder, fp16, TensorRT-RTX, sm_{options.sm}"
    table = Table(title, COLUMNS, [row(*found) for found in rows])
    about = {"vit": options.vit, "compute_capability": options.sm}
    return finish(Sheet("engines", (table,), about), options, arguments)


if __name__ == "__main__":
    run(main)
