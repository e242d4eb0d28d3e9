"""Real TensorRT-RTX engines, built ahead of time for GPUs that are not here, and what they are
made of. Nothing here says how fast they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import samedge
from samedge.bench.eager import synthetic_samus
from samedge.bundle import Bundle
from samedge.export import exporting
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

pytestmark = [needs_rtx, pytest.mark.xdist_group("engines")]

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
