"""A bundle's float32 graphs in the shape that suits TensorRT; the same numbers."""

from __future__ import annotations

from onnx import helper

from samedge.export.graphs.builder import Graph
from samedge.export.graphs.model import OnnxGraph
from samedge.export.graphs.preprocess import PATH
from samedge.export.graphs.tensorrt_attention import fuse_attention

_COLOUR = f"{PATH}.colour/MatMul"


def shape_for_gpu(graph: OnnxGraph) -> dict[str, int]:
    """Rewrite an encoder graph in place.

    Returns:
        What was done, and how often.
    """
    return {"fused_attention": len(fuse_attention(graph)), "colour_as_sum": sum_colours(graph)}


def sum_colours(graph: OnnxGraph) -> int:
    """The product of a frame's pixels with the colour matrix, [H, W, C] x [C, K], as a sum over C.

    As a matrix product the whole frame stands in memory twice as float32, at 4096 x 4096 RGB
    400 MB. Multiplying and adding up is one kernel that reads bytes. The sums are exact in float32
    (integers of 22 bits over a power of two), so their order is no matter.

    Returns:
        1, or 0 where there is no such product.
    """
    node = next((node for node in graph.nodes if node.name == _COLOUR), None)
    if node is None:
        return 0
    new, path = Graph("colour"), f"{PATH}.colour"
    x = new.op("Unsqueeze", [node.input[0], new.const([-1], "last_axis")], path)
    x = new.mul(x, node.input[1], path)
    total = helper.make_node(
        "ReduceSum", [x, new.const([-2], "second_last_axis")], list(node.output),
        name=f"{path}/ReduceSum", keepdims=0,
    )  # fmt: skip
    at = graph.nodes.index(node)
    graph.nodes[at : at + 1] = [*new.nodes, total]
    graph.arrays.update(new.arrays)
    return 1
