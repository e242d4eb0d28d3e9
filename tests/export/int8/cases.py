"""Small graphs and frames for the tests of INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from samedge.bundle import Bundle
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from tests.export.engine import folded_model

DEMO = Path(__file__).parents[3] / "samedge" / "data" / "samus-demo.samedge"


def encoder_of(name: str, folder: Path) -> OnnxGraph:
    """The encoder graph of one of `tests.export.engine.MODELS`."""
    path = folder / f"{name}.onnx"
    encoder_graph(folded_model(name)).save(path)
    return OnnxGraph.read(path)


def demo_encoder() -> OnnxGraph:
    return OnnxGraph.read(Bundle.open(DEMO).graph("encoder", "fp32"))


def two_linears(seed: int = 0) -> OnnxGraph:
    """network_input [1, 3, 4, 4] -> 1x1 convolution -> LayerNorm -> two linear layers -> sum."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    node = helper.make_node
    scale = 10.0 ** rng.uniform(-1, 1.5, 8)  # some channels stand out
    return OnnxGraph(
        name="encoder",
        nodes=[
            node("Identity", ["frame"], ["network_input"], name="encoder.network_input"),
            node("Conv", ["network_input", "c.weight"], ["c/Conv"], name="c/Conv"),
            node("Transpose", ["c/Conv"], ["t"], name="t", perm=[0, 2, 3, 1]),
            node("LayerNormalization", ["t", "n.weight", "n.bias"], ["n"], name="n", axis=-1),
            node("MatMul", ["n", "a.weight"], ["a/MatMul"], name="a/MatMul"),
            node("MatMul", ["n", "b.weight"], ["b/MatMul"], name="b/MatMul"),
            node("Add", ["a/MatMul", "b/MatMul"], ["image_embedding"], name="sum"),
        ],
        arrays={
            "c.weight": numbers(8, 3, 1, 1),
            "n.weight": (numbers(8) * scale).astype(np.float32),
            "n.bias": numbers(8),
            "a.weight": numbers(8, 6),
            "b.weight": numbers(8, 6),
        },
        inputs=[helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1, 3, 4, 4])],
        outputs=[helper.make_tensor_value_info("image_embedding", TensorProto.FLOAT, [1, 4, 4, 6])],
        opset=20,
        ir_version=10,
    )


def outputs(graph: OnnxGraph, x: NDArray[Any], extra: tuple[str, ...] = ()) -> list[NDArray[Any]]:
    """What ONNX Runtime makes of the graph's only input.

    Node by node: without VNNI its INT8 products, which it fuses Q/DQ into, saturate 16-bit sums.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = graph.model(extra).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: x}))


def tiny_input(seed: int = 0) -> NDArray[np.float32]:
    """For `two_linears`."""
    return np.random.default_rng(seed).standard_normal((1, 3, 4, 4)).astype(np.float32)


class Inputs(list[NDArray[np.float32]]):
    """Stands in for `NetworkInputs`: network inputs that are there already."""


def ultrasound(count: int, side: int = 64) -> list[NDArray[np.uint8]]:
    """Dark frames with speckle and a black margin."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        frame = np.clip(40 * rng.rayleigh(1.0, (side, side)), 0, 255)
        frame[:, : side // 4] = 0
        frames.append(frame.astype(np.uint8))
    return frames
