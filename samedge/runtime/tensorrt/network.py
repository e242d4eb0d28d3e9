"""A bundle's graph as a network of TensorRT: parsed, and changed where a purpose asks for it.

Two purposes do. To tell where an error begins, tensors from inside are given out
(`mark_outputs`). And for Turing (sm_75) TensorRT-RTX lacks two things, which are written as
multiplications and sums there; the library computes those in one kernel, the products never being
stored. It has no float32 matrix products: what must stay float32 does without (`without_products`).
And convolutions of each channel by itself it fills up to blocks of channels: thirty times the
weights of a TinyViT, and as much more work (`without_channel_convolutions`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samedge._wording import option
from samedge.errors import NotSupportedError
from samedge.runtime.tensorrt.library import NvidiaLibrary


def parsed(library: NvidiaLibrary, builder: Any, path: Path, log: Any) -> Any:
    """The strongly typed network of an ONNX file.

    Raises:
        NotSupportedError: it is no ONNX file, or of an earlier version, or the library does not
            know one of its nodes.
    """
    trt = library.module
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    # The path is where the parser looks for weights that lie in a file of their own.
    if not parser.parse(path.read_bytes(), path=os.fspath(path)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        if any("UINT8" in error.desc() for error in errors):
            raise NotSupportedError(
                f"{library.title} takes bytes from the last operation of a graph alone, and "
                f"{path.name} was written by an earlier version of samedge, which put one more "
                "behind it: `samedge export OLD.samedge -o NEW.samedge` writes the bundle again, "
                "with the same weights"
            )
        raise NotSupportedError(
            f"{library.title} {library.version} cannot take {path.name}: "
            f"{'; '.join(map(_parser_error, errors)) or 'it gives no reason'}. Use a newer version "
            f"of it, or {option('backend', 'openvino')}"
        )
    return network


def mark_outputs(library: NvidiaLibrary, network: Any, names: Iterable[str]) -> list[str]:
    """Make tensors from inside outputs of the network as well.

    Args:
        library: of the network.
        network: parsed.
        names: of tensors.

    Returns:
        the names that were made outputs: those of float tensors that the network has and that no
        output was yet.
    """
    trt, wanted = library.module, set(names)
    given = []
    for layer in _layers(network):
        for tensor in map(layer.get_output, range(layer.num_outputs)):
            if (
                tensor.name in wanted
                and tensor.dtype in (trt.DataType.FLOAT, trt.DataType.HALF)
                and not (tensor.is_shape_tensor or tensor.is_network_output)
            ):
                _mark(trt, network, tensor)
                given.append(str(tensor.name))
    return given


def without_products(library: NvidiaLibrary, network: Any) -> int:
    """Replace the network's float32 matrix products by multiplications and a sum:

        out[..., m, n] = sum over k of left[..., m, 1, k] * right[..., 1, n, k]

    Returns:
        how many were replaced.
    """
    trt = library.module
    layers = list(_layers(network))
    replaced: dict[str, Any] = {}
    for layer in layers:
        if layer.type == trt.LayerType.MATRIX_MULTIPLY:
            layer.__class__ = trt.IMatrixMultiplyLayer
            if layer.get_input(0).dtype == trt.DataType.FLOAT and _is_plain(trt, layer):
                replaced[layer.get_output(0).name] = _summed(trt, network, layer)
    _replace(trt, network, layers, replaced)
    return len(replaced)


def without_channel_convolutions(library: NvidiaLibrary, network: Any) -> list[Any]:
    """Replace convolutions of each channel by itself, with constant weights, by multiplications and
    sums over the places of the kernel, in float32:

        out[c, y, x] = bias[c] + sum over i, j of weight[c, i, j] * in[c, s y + i - p, s x + j - p]

    Returns:
        their weights, to be kept until the engine is built; empty where there was none.
    """
    trt = library.module
    layers = list(_layers(network))
    replaced: dict[str, Any] = {}
    weights: list[Any] = []
    for layer in layers:
        if layer.type == trt.LayerType.CONVOLUTION:
            layer.__class__ = trt.IConvolutionLayer
            if layer.num_inputs == 1 and layer.num_groups == layer.num_output_maps > 1:
                replaced[layer.get_output(0).name] = _by_places(trt, network, layer, weights)
    _replace(trt, network, layers, replaced)
    return weights


def _by_places(trt: Any, network: Any, layer: Any, weights: list[Any]) -> Any:
    """What a convolution of each channel by itself gives; its weights are put to `weights`."""
    x, output = layer.get_input(0), layer.get_output(0)
    rows, columns = layer.kernel_size_nd
    top, left = layer.pre_padding
    kernel = np.asarray(layer.kernel, np.float32).reshape(-1, rows, columns)
    half = x.dtype == trt.DataType.HALF
    if half:
        x = network.add_cast(x, trt.DataType.FLOAT).get_output(0)

    def constant(values: Any) -> Any:
        weights.append(np.array(values, np.float32).reshape(1, -1, 1, 1))
        return network.add_constant(trt.Dims(weights[-1].shape), weights[-1]).get_output(0)

    total = constant(layer.bias)
    for i, j in np.ndindex(rows, columns):
        there = network.add_slice(
            x,
            trt.Dims((0, 0, i - top, j - left)),
            trt.Dims(tuple(output.shape)),
            trt.Dims((1, 1, *layer.stride_nd)),
        )
        there.mode = trt.SampleMode.FILL  # zeros where the kernel looks beyond the edge
        product = network.add_elementwise(
            there.get_output(0), constant(kernel[:, i, j]), trt.ElementWiseOperation.PROD
        )
        total = network.add_elementwise(
            total, product.get_output(0), trt.ElementWiseOperation.SUM
        ).get_output(0)
    return network.add_cast(total, trt.DataType.HALF).get_output(0) if half else total


def _replace(trt: Any, network: Any, layers: list[Any], replaced: dict[str, Any]) -> None:
    """Let all take the new tensors in place of the outputs of `layers` that have these names."""
    for layer in _layers(network):  # the new ones as well: one may follow another
        for at in range(layer.num_inputs):
            tensor = layer.get_input(at)  # None where an optional input is not there
            if tensor is not None and tensor.name in replaced:
                layer.set_input(at, replaced[tensor.name])
    for layer in layers:
        for old in map(layer.get_output, range(layer.num_outputs)):
            if old.name in replaced:
                _hand_over(trt, network, old, replaced[old.name])


def _summed(trt: Any, network: Any, layer: Any) -> Any:
    """The product of a layer's two inputs, computed without a matrix product."""
    left, right = layer.get_input(0), layer.get_input(1)
    rank = len(left.shape)
    row, column, one = rank - 2, rank - 1, rank  # axes of a widened matrix
    wide = _widened(trt, network, left, (row, one, column))
    high = _widened(trt, network, right, (one, column, row))
    products = network.add_elementwise(wide, high, trt.ElementWiseOperation.PROD)
    products.name = f"{layer.name}/products"
    total = network.add_reduce(
        products.get_output(0), trt.ReduceOperation.SUM, 1 << one, keep_dims=False
    )
    total.name = f"{layer.name}/sum"
    return total.get_output(0)


def _widened(trt: Any, network: Any, tensor: Any, last: tuple[int, int, int]) -> Any:
    """A matrix with an axis of one element behind it, and then its last three axes reordered."""
    rank = len(tensor.shape)
    shuffle = network.add_shuffle(tensor)
    shuffle.reshape_dims = trt.Dims((*[0] * rank, 1))  # 0: the size that is there
    shuffle.second_transpose = trt.Permutation((*range(rank - 2), *last))
    return shuffle.get_output(0)


def _hand_over(trt: Any, network: Any, old: Any, new: Any) -> None:
    """Give a tensor's name and place to another."""
    name = str(old.name)
    if old.is_network_output:
        network.unmark_output(old)
        _mark(trt, network, new)
    old.name = f"{name}/not used"
    new.name = name


def _mark(trt: Any, network: Any, tensor: Any) -> None:
    """Make a tensor an output, in C order."""
    network.mark_output(tensor)
    tensor.allowed_formats = 1 << int(trt.TensorFormat.LINEAR)


def _is_plain(trt: Any, layer: Any) -> bool:
    """Whether a product is one of matrices as they are, as those of an ONNX MatMul are."""
    return bool(layer.op0 == layer.op1 == trt.MatrixOperation.NONE)


def _layers(network: Any) -> Iterator[Any]:
    return map(network.get_layer, range(network.num_layers))


def _parser_error(error: Any) -> str:
    node = error.node_name() or f"number {error.node()}"
    return f"node '{node}' ({error.node_operator() or '?'}): {error.desc()}"
