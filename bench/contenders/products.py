"""How many operations the matrix products of an encoder have, as OpenVINO is given it.

Norms, softmax, GELU and copies are left out: they are what stands between an encoder and its peak.
Padding that is multiplied counts, for that is what is run.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from samedge.bundle import Bundle
from samedge.errors import NotSupportedError

FLOAT, INT8 = "float", "int8"
_AROUND_WEIGHTS = ("Convert", "Multiply", "Subtract", "Reshape", "Transpose")


def plain_products(path: Path) -> dict[str, float]:
    """GFLOP of an ONNX file as it stands: {"float", "int8"}; a fused multiply-add counts as two.

    Raises:
        NotSupportedError: a product has no fixed shape.
    """
    from samedge.runtime.openvino.compile import core

    return products(core().read_model(path))


def bundle_products(bundle: Bundle, precision: str) -> dict[str, float]:
    """The same of a bundle's encoder, with the rewrites that its session makes.

    Raises:
        NotSupportedError: a product has no fixed shape.
    """
    from samedge.runtime.openvino.backend import GRAPHS
    from samedge.runtime.openvino.compile import read_model, split_encoder
    from samedge.runtime.openvino.rewrites.dense import optimise
    from samedge.runtime.precision import graph_key

    file = graph_key(bundle.manifest, "openvino", "encoder", precision, GRAPHS)
    with bundle.opened_graph("encoder", file) as path:
        model = read_model(path)
    return products(optimise(split_encoder(model)[1], precision))


def products(model: Any) -> dict[str, float]:
    """GFLOP of the products in an ov.Model: {"float", "int8"}.

    Raises:
        NotSupportedError: one has no fixed shape.
    """
    found = {FLOAT: 0.0, INT8: 0.0}
    for node in model.get_ordered_ops():
        inner = _inner(node)
        if inner:
            kind = INT8 if _is_int8(node.input_value(1)) else FLOAT
            found[kind] += 2e-9 * inner * prod(_shape(node.output(0)))
    return found


def _inner(node: Any) -> int:
    """Products that each number of a node's result is the sum of; 0 if it is no product."""
    kind = node.get_type_name()
    if kind == "MatMul":
        return _shape(node.input_value(0))[-2 if node.get_attributes()["transpose_a"] else -1]
    if kind == "Einsum":
        return _einsum_inner(node)
    if kind == "Convolution":
        return prod(_shape(node.input_value(1))[1:])
    return prod(_shape(node.input_value(1))[2:]) if kind == "GroupConvolution" else 0


def _einsum_inner(node: Any) -> int:
    """Sizes of the letters that an einsum of two factors sums over."""
    taken, given = node.get_attributes()["equation"].replace(" ", "").split("->")
    sizes: dict[str, int] = {}
    for letters, value in zip(taken.split(","), node.input_values(), strict=True):
        sizes |= dict(zip(letters, _shape(value), strict=True))
    return prod(size for letter, size in sizes.items() if letter not in given)


def _shape(value: Any) -> tuple[int, ...]:
    shape = value.get_partial_shape()
    if shape.is_dynamic:
        raise NotSupportedError(
            f"the product '{value.get_node().get_friendly_name()}' has the shape {shape}; its "
            "operations can only be counted in a network of fixed shapes"
        )
    return tuple(int(n) for n in shape.get_shape())


def _is_int8(value: Any) -> bool:
    """Whether weights are whole numbers of 8 bits with scales."""
    node = value.get_node()
    while node.get_type_name() in _AROUND_WEIGHTS:
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in (
        "i8",
        "u8",
    )
