"""TensorRT-RTX engines for tests: built here, without a GPU."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from samedge.bench.engines import build, network_part
from samedge.bundle import Bundle
from samedge.export.graphs.model import OnnxGraph
from samedge.runtime.engines.records import read_record
from samedge.runtime.tensorrt.builder import BuildOptions
from samedge.runtime.tensorrt.bundle_engines import build_engines
from samedge.runtime.tensorrt.layer_report import LayerReport

DEMO = Path(__file__).parents[2] / "samedge" / "data" / "samus-demo.samedge"
# Engines for one GPU are built in `make test`, those for the others among the slow tests.
EACH_GPU = [86, *(pytest.param(other, marks=pytest.mark.slow) for other in (89, 120))]

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
    report = read_record(path).report
    assert report is not None
    return report


def network_report(encoder: Path, side: int, capability: int, work: Path) -> LayerReport:
    """The report of the part behind `network_input` alone, built with fixed shapes.

    A graph that was exported by other means has no other part, so this is what to compare with one.
    """
    network_part(OnnxGraph.read(encoder), side).save(work / "network.onnx")
    return build(work / "network.onnx", capability)
