"""Convolutions that see every channel by itself, and those with biases: TinyViT is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

import samedge
from samedge._openvino import ov
from samedge.bundle import Bundle
from samedge.export.graphs.model import OnnxGraph
from samedge.export.int8.activations import activation_scale, activations
from samedge.export.int8.calibration_data import choose_frames
from samedge.export.int8.encoder_runs import EncoderModel
from samedge.export.int8.quantisable import multiplications, quantisable_layers
from samedge.export.int8.quantise import quantise
from samedge.export.int8.quantised_graph import quantised_graph
from samedge.export.int8.record import Int8Options, Quantised
from samedge.export.int8.sensitivity import sensitivity
from samedge.fold import FoldedModel
from samedge.models import MobileSamConfig, tiny
from samedge.runtime.openvino.compile import read_model, split_encoder
from samedge.runtime.openvino.rewrites.dense import optimise
from tests.export.engine import encoder_feed, geometry_of, open_graph
from tests.export.int8.cases import Inputs, outputs, ultrasound
from tests.fold.oracle import random_model

SIZES = {"c1": (1, 1, 1), "c2": (3, 2, 8), "c3": (3, 1, 2)}  # kernel, stride, groups
WEIGHTS = {"c1": (8, 3, 1, 1), "c2": (8, 1, 3, 3), "c3": (6, 4, 3, 3)}


def three_convolutions() -> OnnxGraph:
    """network_input [1, 3, 6, 6] -> 1 x 1 -> each channel by itself -> two halves, with biases."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Identity", ["frame"], ["network_input"], name="e.network_input")]
    arrays, value = {}, "network_input"
    for name, (kernel, stride, groups) in SIZES.items():
        arrays[f"{name}.weight"] = rng.standard_normal(WEIGHTS[name]).astype(np.float32)
        arrays[f"{name}.bias"] = rng.standard_normal(WEIGHTS[name][0]).astype(np.float32)
        sizes: dict[str, Any] = {
            "kernel_shape": [kernel] * 2,
            "strides": [stride] * 2,
            "pads": [kernel // 2] * 4,
            "group": groups,
        }
        inputs = [value, f"{name}.weight", f"{name}.bias"]
        conv, value = f"{name}/Conv", f"{name}/Gelu"
        nodes.append(helper.make_node("Conv", inputs, [conv], name=conv, **sizes))
        nodes.append(helper.make_node("Gelu", [conv], [value], name=value))
    nodes.append(helper.make_node("Identity", [value], ["image_embedding"], name="e.out"))
    return OnnxGraph(
        name="encoder",
        nodes=nodes,
        arrays=arrays,
        inputs=[helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1, 3, 6, 6])],
        outputs=[helper.make_tensor_value_info("image_embedding", TensorProto.FLOAT, [1, 6, 3, 3])],
        opset=20,
        ir_version=10,
    )


def frames(count: int = 4) -> Inputs:
    rng = np.random.default_rng(1)
    return Inputs(rng.standard_normal((1, 3, 6, 6)).astype(np.float32) for _ in range(count))


def test_multiplications() -> None:
    graph = three_convolutions()
    sizes = {"network_input": 3 * 36, "c1/Gelu": 8 * 36, "c2/Gelu": 8 * 9}
    assert multiplications(graph, quantisable_layers(graph), sizes) == {
        "c1": 3 * 8 * 36,
        "c2": 8 * 9 * 9,
        "c3": 4 * 6 * 9 * 9,
    }


def relative(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)))


def test_sensitivity_is_the_error_of_that_layer() -> None:
    """Against ONNX Runtime, with Q/DQ around that layer alone."""
    graph, inputs = three_convolutions(), frames(1)
    layers = quantisable_layers(graph)
    with EncoderModel(graph) as encoder:
        found = activations(encoder, layers, inputs, 1)
        scales = {layer.name: activation_scale(found[layer.value])[0] for layer in layers}
        errors = sensitivity(encoder, layers, scales, inputs, 1)
    expected = outputs(graph, inputs[0])[0]
    for layer in layers:
        got = outputs(quantised_graph(graph, [layer], scales), inputs[0])[0]
        assert errors[layer.name] == pytest.approx(relative(got, expected), rel=0.02), layer.name
        assert errors[layer.name] > 1e-3


# A TinyViT of 15 layers, in which every kind is

SMALL = {"widths": (8, 16), "depths": (1, 1), "heads": (1, 2), "windows": (5, 5), "img_size": 64}


@pytest.fixture(scope="module")
def folded() -> FoldedModel:
    return samedge.fold(random_model(tiny(MobileSamConfig, **SMALL)))


@pytest.fixture(scope="module")
def bundle(folded: FoldedModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return samedge.export(folded, tmp_path_factory.mktemp("tiny") / "a.samedge").bundle


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> OnnxGraph:
    return OnnxGraph.read(bundle.graph("encoder", "fp32"))


def test_layers_of_a_tiny_vit(graph: OnnxGraph) -> None:
    layers = {layer.name.removeprefix("encoder."): layer for layer in quantisable_layers(graph)}
    alone = {name for name, layer in layers.items() if layer.groups > 1}
    assert alone == {"blocks.0.conv2", "blocks.1.conv2", "blocks.2.local_conv"}
    assert len(layers) == 15
    assert layers["blocks.2.local_conv"].groups == 16
    assert not any("bias" in layer.weight for layer in layers.values())


def test_multiplications_of_a_tiny_vit(folded: FoldedModel, graph: OnnxGraph) -> None:
    """As torch counts them, but for the two products of attention."""
    from torch.utils.flop_counter import FlopCounterMode

    layers = quantisable_layers(graph)
    x = np.zeros((1, 3, 64, 64), np.float32)
    with EncoderModel(graph) as encoder:
        sizes = {
            name: one.size for name, one in activations(encoder, layers, Inputs([x]), 1).items()
        }
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        folded.encoder(torch.from_numpy(x))
    windows, tokens = 16, 25
    attention = 2 * windows * tokens * tokens * 16
    counted = counter.get_total_flops() // 2 - attention
    assert sum(multiplications(graph, layers, sizes).values()) == counted


@pytest.fixture(scope="module")
def made(graph: OnnxGraph, bundle: Bundle) -> Quantised:
    data = choose_frames(ultrasound(4, 48), bundle.family, "folder")
    options = Int8Options(min_dice=0.5, each=False, max_error=1.0, questions=1, probes=1, threads=1)
    return quantise(graph, data, bundle, options=options)


def test_a_tiny_vit_in_int8(made: Quantised, folded: FoldedModel, graph: OnnxGraph) -> None:
    """Every layer is, and ONNX Runtime, which took no part in it, computes about the same."""
    assert made.passed
    assert not any(layer["kept"] for layer in made.record["layers"])
    for layer in quantisable_layers(graph):
        assert made.graph.arrays[layer.weight].dtype == np.int8
        channels = graph.arrays[layer.weight].shape[layer.axis]
        assert made.graph.arrays[f"{layer.weight}.scale"].shape == (channels,)
        if layer.convolution and f"{layer.name}.bias" in graph.arrays:
            assert made.graph.arrays[f"{layer.name}.bias"].dtype == np.float16
    norms = [one["norm"] for one in made.record["smoothing"]]
    assert norms == ["encoder.blocks.2.norm1", "encoder.blocks.2.norm2"]
    feed = encoder_feed(folded.family, geometry_of(folded, 48, 48), ultrasound(1, 48)[0])
    results = []
    for one in (graph, made.graph):
        session = open_graph(one.model())
        names = [value.name for value in session.get_inputs()]
        results.append(session.run(["image_embedding"], {name: feed[name] for name in names})[0])
    assert 1e-4 < relative(results[1], results[0]) < 0.1


def test_openvino_takes_int8_kernels(made: Quantised, tmp_path: Path) -> None:
    """Also for channels by themselves; else Q/DQ would only be rounding: slower and worse."""
    made.graph.save(tmp_path / "a.onnx")
    _, encoder = split_encoder(read_model(tmp_path / "a.onnx"))
    compiled = ov.Core().compile_model(optimise(encoder, "int8"), "CPU")
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {key: _text(value) for key, value in node.get_rt_info().items()}
        if info.get("layerType") in ("Convolution", "FullyConnected"):
            found[node.get_friendly_name()] = info["runtimePrecision"]
    assert set(found.values()) <= {"i8", "u8"}
    for name in ("patch_embed.0", "blocks.0.conv2", "blocks.2.local_conv", "neck.conv"):
        assert any(node.startswith(f"encoder.{name}/") for node in found), name


def _text(value: object) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
