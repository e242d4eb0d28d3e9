"""From the float32 graphs of a bundle to its graphs of other precisions, each behind its gate.

No torch, no checkpoint: what is derived comes from the ONNX files, so a bundle that somebody else
exported gets half precision and INT8 as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from samedge.bundle import Bundle, BundleWriter, ParityRow
from samedge.bundle.manifest import GRAPHS, GraphEntry, TensorEntry
from samedge.errors import ParityError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.graphs.tensorrt_attention import shape_for_gpu
from samedge.export.half.graph import to_half
from samedge.export.half.overflow import Probe, float32_nodes, probe
from samedge.export.int8.calibration_data import CalibrationData
from samedge.export.int8.quantise import quantise
from samedge.export.int8.record import Int8Options
from samedge.export.int8.report import report_page
from samedge.machine.cpu import physical_cores
from samedge.progress import Progress, Step
from samedge.runtime.parity.verify import verify, verify_session
from samedge.runtime.session import Session

Frames = Sequence[NDArray[np.uint8]]

EMULATION = "emulation"
_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
}


@dataclass(frozen=True)
class HalfGraphs:
    """The half-precision twins of a bundle's float32 graphs.

    Attributes:
        graphs: "encoder" and "decoder".
        record: for the manifest: what the overflow probe found, and which nodes stay in float32.
        kept: those of the encoder.
    """

    graphs: Mapping[str, OnnxGraph]
    record: Mapping[str, Any]
    kept: frozenset[str]


def half_graphs(draft: Bundle, frames: Frames, work: Path, progress: Progress) -> HalfGraphs:
    """Make a bundle's float32 graphs half precision.

    Args:
        draft: a bundle with float32 graphs.
        frames: to look for large values on, beside the self-test frames.
        work: a folder for files on the way.
        progress: told the step.

    Raises:
        ModelError: values that are not finite, or weights beyond the half range.
    """
    progress(Step("looking for values too large for half precision"))
    full = {name: OnnxGraph.read(draft.graph(name, "fp32")) for name in GRAPHS}
    found = _probe(draft, full, frames, work)
    shaped = shape_for_gpu(full["encoder"])
    kept = {n: float32_nodes(graph, found.too_large(n)) for n, graph in full.items()}
    return HalfGraphs(
        graphs={name: to_half(graph, kept[name]) for name, graph in full.items()},
        record={**found.to_json(kept), "shape": shaped},
        kept=frozenset(kept["encoder"]),
    )


def half_parity(draft: Bundle, progress: Progress) -> ParityRow:
    """The row of the parity table for a draft's fp16 graphs, computed in emulated half precision.

    Raises:
        ParityError: half precision is too far from the float32 reference.
    """
    progress(Step("parity gate: half precision, emulated in float32"))
    row = verify(draft, EMULATION, "fp16")[0]
    if not row.passed:
        raise ParityError(_too_far(row))
    return row


@dataclass(frozen=True)
class Int8Graph:
    """The INT8 twin of a bundle's float32 encoder, not yet proven.

    Attributes:
        graph: the encoder.
        record: for the manifest.
        page: a report for people, HTML.
        passed: whether the masks of the calibration frames agree with those of float32.
    """

    graph: OnnxGraph
    record: Mapping[str, Any]
    page: str
    passed: bool

    def worst(self, count: int = 5) -> str:
        """The layers that hurt most, for a message."""
        ranked = sorted(self.record["layers"], key=lambda layer: -float(layer["error"]))[:count]
        return ", ".join(f"{layer['name']} ({layer['error']:.1%})" for layer in ranked)


def int8_graph(
    draft: Bundle, data: CalibrationData, keep: Collection[str], progress: Progress
) -> Int8Graph:
    """Make a bundle's float32 encoder INT8.

    Args:
        draft: a bundle with float32 graphs.
        data: frames to calibrate with.
        keep: nodes that half precision is too short for.
        progress: told each step and how much of it is done.

    Raises:
        FrameError: a frame makes the network compute NaN.
        ModelError: there is nothing to quantise.
    """
    graph = OnnxGraph.read(draft.graph("encoder", "fp32"))
    options = Int8Options(keep_float=frozenset(keep), threads=physical_cores())
    made = quantise(graph, data, draft, options=options, progress=progress)
    page = report_page(made.record, f"{draft.manifest.title}: INT8")
    return Int8Graph(made.graph, made.record, page, made.passed)


def _probe(draft: Bundle, graphs: dict[str, OnnxGraph], frames: Frames, work: Path) -> Probe:
    runs: list[Callable[[Session], object]] = [
        partial(verify_session, tests=[test]) for test in draft.selftest()
    ]
    if draft.family.slices == 1:
        runs += [partial(segment_centre, frame=frame) for frame in frames]
    return probe(draft, graphs, runs, work)


def segment_centre(session: Session, frame: NDArray[np.uint8]) -> None:
    """Segment a frame with a click in its middle, or a box around it, whichever is taken."""
    height, width = frame.shape[:2]
    prompts = session.family.prompts
    if "point" in prompts:
        session.segment(frame, points=[((width - 1) / 2, (height - 1) / 2)])
    elif "box" in prompts:
        session.segment(frame, box=[width / 4, height / 4, 3 * width / 4, 3 * height / 4])
    else:
        session.segment(frame)


def _too_far(row: ParityRow) -> str:
    return (
        "parity failed: in half precision the logits differ by "
        f"{row.max_logit_error:.2e} (limit {row.limit:.2e}) and {row.flipped:.2%} of the "
        "mask pixels flip (limit "
        f"{row.flipped_limit:.2%}); export without fp16, and please report "
        "this with the output of `samedge doctor`"
    )


def write_graph(writer: BundleWriter, graph: Any, name: str, precision: str) -> GraphEntry:
    """Save and check a graph; its entry in the manifest.

    Args:
        writer: of the bundle.
        graph: a `GraphBuilder` or an `OnnxGraph`.
        name, precision: "encoder", "fp32": of the file.
    """
    path = writer.new_file(f"{name}.{precision}.onnx")
    model = graph.save(path)
    onnx.checker.check_model(str(path), full_check=True)
    return GraphEntry(path.name, *ports(model))


def ports(model: onnx.ModelProto) -> tuple[tuple[TensorEntry, ...], tuple[TensorEntry, ...]]:
    """Inputs and outputs of a graph, in its order."""
    graph = model.graph
    return tuple(map(_tensor, graph.input)), tuple(map(_tensor, graph.output))


def _tensor(value: onnx.ValueInfoProto) -> TensorEntry:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
    return TensorEntry(value.name, _DTYPES[tensor.elem_type], shape)
