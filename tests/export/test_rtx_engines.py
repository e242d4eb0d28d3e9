"""Real TensorRT-RTX engines, built ahead of time for GPUs that are not here, and what they are
made of. Nothing here says how fast they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import samedge
from samedge.bench.contenders.eager import synthetic_samus
from samedge.bench.engines import build, network_part
from samedge.bundle import Bundle
from samedge.export import exporting
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from samedge.export.half.graph import to_half
from samedge.export.int8.quantisable import quantisable_layers
from samedge.export.int8.quantised_graph import quantised_graph
from samedge.fold import FoldedModel
from samedge.models import MobileSamConfig, tiny
from samedge.runtime.tensorrt.layer_report import LayerReport
from tests.bundle.manifests import parity_row
from tests.export.rtx import (
    DEMO,
    EACH_GPU,
    engines_of,
    needs_rtx,
    network_report,
    report_of,
)
from tests.fold.oracle import random_model
from tests.real_weights import lite_medsam

pytestmark = needs_rtx

BY_RULE = ("preprocess", "postprocess")
TWO_GPUS = (86, 120)  # of ViT-B; the demo model has engines for 89 as well, and in float32


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory: Any) -> Bundle:
    """SAMUS ViT-B in float32 and half precision; its gates are tested elsewhere."""
    patch = pytest.MonkeyPatch()
    passed = parity_row("openvino", "fp32", True)
    patch.setattr(exporting, "gate", lambda _bundle: [passed])
    patch.setattr(exporting, "half_parity", lambda _draft, _step: passed)
    try:
        folded = samedge.fold(synthetic_samus("vit_b"))
        path = tmp_path_factory.mktemp("vit_b") / "b.samedge"
        return samedge.export(folded, path, ("fp32", "fp16"), consume=True).bundle
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: Any) -> Bundle:
    path = tmp_path_factory.mktemp("demo") / "demo.samedge"
    return samedge.export(Bundle.open(DEMO), path, ("fp32", "fp16")).bundle


@pytest.fixture(scope="module")
def vit_b_engines(vit_b: Bundle, tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    return engines_of(vit_b, folder, ("fp16",), TWO_GPUS)


@pytest.fixture(scope="module")
def demo_engines(demo: Bundle, tmp_path_factory: Any) -> Callable[[int], Path]:
    """Compute capability -> the folder of the engines for it."""

    @cache
    def built(capability: int) -> Path:
        folder = tmp_path_factory.mktemp("engines")
        return engines_of(demo, folder, ("fp32", "fp16"), (capability,))

    return built


def network(folder: Path, stem: str, capability: int) -> LayerReport:
    return report_of(folder, stem, capability).without(BY_RULE)


@pytest.mark.slow
@pytest.mark.parametrize("capability", TWO_GPUS)
def test_samus_vit_b_in_half_precision(
    vit_b: Bundle, vit_b_engines: Path, capability: int, tmp_path: Path
) -> None:
    """A plain export has 260 kernels, 4 of 16 attentions fused, and takes 68.7 MB."""
    alone = network_report(vit_b.graph("encoder", "fp16"), 256, capability, tmp_path)
    assert alone.attentions == (16, 16)
    assert len(alone.layers) <= 170
    assert alone.activations is not None
    assert alone.activations <= 45e6
    whole = network(vit_b_engines, "encoder.fp16", capability)
    assert whole.attentions == (16, 16)
    assert len(whole.layers) <= 170
    assert set(whole.products) == {"float16"}
    assert whole.activations is not None
    assert whole.activations <= 50e6  # with frames of up to 1024 px


@pytest.mark.parametrize("capability", EACH_GPU)
def test_the_demo_model(demo_engines: Callable[[int], Path], capability: int) -> None:
    found = network(demo_engines(capability), "encoder.fp16", capability)
    fused, attentions = found.attentions
    assert fused == attentions == 8
    assert set(found.products) == {"float16"}
    full = network(demo_engines(capability), "encoder.fp32", capability)
    assert set(full.products) == {"float32"}
    assert full.weights is not None
    assert found.weights is not None
    assert found.weights < 0.6 * full.weights


@pytest.mark.parametrize("capability", EACH_GPU)
def test_the_decoder_has_its_logits_in_float32(
    demo_engines: Callable[[int], Path], capability: int
) -> None:
    found = network(demo_engines(capability), "decoder.fp16", capability)
    names = {node for layer in found.products["float32"] for node in layer.nodes}
    assert any(node.startswith("decoder.head/MatMul") for node in names)
    assert all(
        node.startswith(("decoder.head/", "decoder.prompt", "decoder.tokens")) for node in names
    ), sorted(names)
    assert len(found.products["float16"]) > 10


# Head dimensions below 32 the library does not fuse.
SMALL = {"widths": (8, 32), "depths": (1, 1), "heads": (1, 1), "windows": (5, 5), "img_size": 64}


def half_encoder(folded: FoldedModel, folder: Path) -> OnnxGraph:
    encoder_graph(folded).save(folder / "full.onnx")
    return to_half(OnnxGraph.read(folder / "full.onnx"), set())


def colour_report(graph: OnnxGraph, side: int, folder: Path) -> LayerReport:
    network_part(graph, side, 3).save(folder / "network.onnx")
    return build(folder / "network.onnx", 86)


@pytest.fixture(scope="module")
def tiny_vit(tmp_path_factory: Any) -> OnnxGraph:
    """The encoder of a small TinyViT in half precision."""
    folded = samedge.fold(random_model(tiny(MobileSamConfig, **SMALL)), compare=False)
    return half_encoder(folded, tmp_path_factory.mktemp("tiny"))


def test_a_tiny_vit_in_half_precision(tiny_vit: OnnxGraph, tmp_path: Path) -> None:
    """Attention with its constant bias is one kernel without any rewriting; so is a convolution of
    each channel by itself with the GELU behind it."""
    found = colour_report(tiny_vit, SMALL["img_size"], tmp_path)
    assert found.attentions == (1, 1)
    assert set(found.products) == {"float16"}
    together = [layer.nodes for layer in found.layers if layer.operations["Gelu"]]
    for name in ("encoder.blocks.0.conv1", "encoder.blocks.0.conv2", "encoder.blocks.1.conv2"):
        assert any({f"{name}/Conv", f"{name}/Gelu"} <= set(nodes) for nodes in together), name
    assert len(found.layers) <= 28


def test_a_tiny_vit_in_int8(tiny_vit: OnnxGraph, tmp_path: Path) -> None:
    """All its layers are INT8 products, those of each channel by itself as well."""
    layers = quantisable_layers(tiny_vit)
    graph = quantised_graph(tiny_vit, layers, {layer.name: 0.05 for layer in layers})
    found = colour_report(graph, SMALL["img_size"], tmp_path)
    assert found.attentions == (1, 1)
    done = {node for layer in found.products["int8"] for node in layer.nodes}
    assert {layer.node for layer in layers} <= done


@pytest.mark.slow
def test_litemedsam(tmp_path: Path) -> None:
    """The real weights, in half precision."""
    folded = samedge.fold(samedge.open_checkpoint(lite_medsam()).build(), compare=False)
    found = colour_report(half_encoder(folded, tmp_path), 256, tmp_path)
    assert found.attentions == (10, 10)
    assert set(found.products) == {"float16"}
    assert len(found.layers) <= 155
