"""samedge's INT8 beside that of other quantisers, by what the masks say.

    python -m samedge.bench.quantisers BUNDLE --calibration PATH [--with nncf,onnxruntime]

All get the same float32 encoder and the same calibration frames, and run in OpenVINO with what is
not INT8 in bfloat16 (where the CPU has it). Masks are asked on frames that no one was calibrated
with. The other quantisers are no dependencies of samedge: install those that are asked for.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.entry import add_files, finish, parsed, parser, run, tell
from samedge.bench.report.sheet import Column, Sheet, Table
from samedge.bundle import Bundle
from samedge.errors import MissingDependencyError, NotSupportedError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.int8.calibration_data import CalibrationData, choose_frames
from samedge.export.int8.encoder_runs import NetworkInputs
from samedge.export.int8.mask_agreement import MaskAgreement
from samedge.export.int8.quantise import quantise
from samedge.export.int8.record import Int8Options
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import encoder_inputs
from samedge.progress import Progress, Step
from samedge.runtime.openvino.compile import core, split_encoder
from samedge.sources.opening import open_source

FRAMES, QUESTIONS = 32, 40
OTHERS = ("nncf", "onnxruntime")
COLUMNS = (
    Column("quantiser"),
    Column("dice", ".4f", "mean Dice"),
    Column("worst_dice", ".4f", "worst"),
    Column("flipped", ".3%", "pixels that differ"),
    Column("logit_rms", ".4f", "logits, RMS"),
    Column("masks", "d", optional=True),
)


def compare(
    bundle: Bundle,
    frames: Sequence[NDArray[Any]],
    others: Sequence[str] = OTHERS,
    threads: int = 2,
    progress: Progress = print,
) -> list[dict[str, Any]]:
    """One row per quantiser: its name, and `Agreement.to_json()`.

    Args:
        bundle: with float32 graphs, of a family of images.
        frames: every second one to calibrate with, the others to ask about.
        others: of `OTHERS`.
        threads: of the engine.
        progress: told each step.

    Raises:
        MissingDependencyError: a quantiser is not installed.
        NotSupportedError: it is none of `OTHERS`.
    """
    data = choose_frames(frames[::2], bundle.family, "folder", FRAMES)
    asked = choose_frames(frames[1::2], bundle.family, "folder", QUESTIONS)
    masks = MaskAgreement.ask(bundle, asked.frames, threads)
    with bundle.opened_graph("encoder", "fp32") as path:
        graph = OnnxGraph.read(path)
    rows = [{"name": "bf16, no INT8", **masks.compare(graph, "bf16").to_json()}]
    progress(Step("samedge"))
    ours = quantise(graph, data, bundle, options=Int8Options(threads=threads))
    rows.append({"name": "samedge", **masks.compare(ours.graph, "bf16").to_json()})
    for name in others:
        progress(Step(name))
        with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
            source = Path(folder) / "encoder.onnx"
            graph.save(source)
            parts = _quantise(name, source, bundle, data)
            rows.append({"name": name, **masks.compare_network(*parts, "bf16").to_json()})
            del parts
    return rows


def _quantise(name: str, path: Path, bundle: Bundle, data: CalibrationData) -> tuple[Any, Any]:
    """Preprocessing and network, the second quantised by `name`."""
    if name not in OTHERS:
        raise NotSupportedError(f"no quantiser '{name}' here; use {', '.join(OTHERS)}")
    try:
        if name == "nncf":
            return _nncf(import_module("nncf"), path, bundle, data)
        return _onnxruntime(import_module("onnxruntime.quantization"), path, bundle, data)
    except ImportError as error:
        raise MissingDependencyError(name, "test", "this comparison") from error


def _nncf(nncf: Any, path: Path, bundle: Bundle, data: CalibrationData) -> tuple[Any, Any]:
    """Its preset for transformers, which leaves attention's softmax alone and smooths."""
    preprocess, encoder = split_encoder(core().read_model(path))
    inputs = nncf.Dataset(list(NetworkInputs(data.frames, bundle)))
    quantised = nncf.quantize(
        encoder,
        inputs,
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(data.frames),
    )
    return preprocess, quantised


def _onnxruntime(
    quantization: Any, path: Path, bundle: Bundle, data: CalibrationData
) -> tuple[Any, Any]:
    """Static, symmetric, weights per channel; attention's own products left out, as in ours."""
    graph, written = OnnxGraph.read(path), path.with_name("quantised.onnx")
    left_out = [
        node.name
        for node in graph.nodes
        if node.name.startswith("preprocess")
        or (node.op_type == "MatMul" and not any(i.endswith(".weight") for i in node.input))
    ]
    quantization.quantize_static(
        str(path),
        str(written),
        _Reader(_feeds(graph, bundle, data)),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["Conv", "MatMul"],
        nodes_to_exclude=left_out,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
    )
    preprocess, encoder = split_encoder(core().read_model(written))
    return preprocess, encoder


class _Reader:
    """What ONNX Runtime calls a CalibrationDataReader."""

    def __init__(self, feeds: Iterator[dict[str, NDArray[Any]]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._feeds, None)


def _feeds(
    graph: OnnxGraph, bundle: Bundle, data: CalibrationData
) -> Iterator[dict[str, NDArray[Any]]]:
    variant, family = bundle.manifest.variant, bundle.family
    sizes = variant.input_size, variant.low_res
    for frame in data.frames:
        height, width = frame.shape[:2]
        geometry = frame_geometry(family, height, width, None, *sizes)
        channels = frame.shape[2] if frame.ndim == 3 else 1
        inputs, pixels = encoder_inputs(family, geometry, channels)
        np.copyto(pixels, frame.reshape(pixels.shape))
        yield {value.name: inputs[value.name] for value in graph.inputs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    options = _options(arguments)
    with open_source(options.calibration) as source:
        every = [frame.picture for frame in source]
    step = max(1, len(every) // (2 * max(FRAMES, QUESTIONS)))
    others = [name for name in options.others.split(",") if name]
    rows = compare(Bundle.open(options.bundle), every[::step], others, options.threads, tell)
    cells = [[row["name"], *(row[column.name] for column in COLUMNS[1:])] for row in rows]
    about = {"bundle": options.bundle.name, "threads": options.threads}
    table = Table("Masks against float32", COLUMNS, cells)
    return finish(Sheet("quantisers", (table,), about), options, arguments)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("quantisers", __doc__)
    made.add_argument("bundle", type=Path)
    made.add_argument("--calibration", type=Path, required=True, help="frames: folder or video")
    made.add_argument("--with", dest="others", default=",".join(OTHERS))
    made.add_argument("--threads", type=int, default=2)
    add_files(made, page=False)
    return parsed(made, arguments)


if __name__ == "__main__":
    run(main)
