"""The types that a model's numbers are stored in, before it is compiled.

Graphs come typed float32, with weights in 16 bits behind conversions, typed float16 throughout, or
with int8 weights behind DequantizeLinear. The rewrites and the kernels want to see float32, so
`to_float32` makes one form of all of them; what is int8 stays int8, since the quantised kernels are
found by it. `halve_weights` then stores the large weights in the type that will be computed:

OpenVINO would round them itself, but it then keeps the rounded copy beside the one it packs for its
kernels: 240 MB for a SAMUS ViT-B. Handed over as 16-bit constants they stay in the cached engine
file, from where they are read once. Results have the same rounding error, and the file is half as
large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops, ov

MIN_VALUES = 1 << 16  # only matrices and kernels; tables and biases are small and stay as they are
# OpenVINO's own mark for "decompress in the kernel, do not fold into float32".
_MARK = "decompression_0"


def to_float32(model: ov.Model) -> int:
    """Let a model compute in float32 whatever its graph is typed in, in place.

    Float16 constants become float32 ones, conversions to float16 lead to float32, and conversions
    that do nothing any more are gone. Integers, and with them int8 weights, are left alone.

    Returns:
        How many constants were widened.
    """
    count = _widen_constants(model)
    narrowed = [node for node in model.get_ordered_ops() if _is_convert(node, ov.Type.f16)]
    for node in narrowed:
        wide: Any = ops.convert(node.input_value(0), "f32")
        wide.set_friendly_name(node.get_friendly_name())
        _replace(node, wide.output(0))
        wide.output(0).get_tensor().add_names(node.output(0).get_names())
    if count or narrowed:
        model.validate_nodes_and_infer_types()
        _drop_idle_converts(model)
    return count


def _widen_constants(model: ov.Model) -> int:
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.f16:
            constant: Any = ops.constant(node.get_data().astype(np.float32))
            constant.set_friendly_name(node.get_friendly_name())
            _replace(node, constant.output(0))
            count += 1
    return count


def _drop_idle_converts(model: ov.Model) -> None:
    """Take out conversions of float32 to float32, but for those that name an output."""
    for node in model.get_ordered_ops():
        if not _is_convert(node, ov.Type.f32):
            continue
        source: Any = node.input_value(0)
        if source.get_element_type() != ov.Type.f32:
            continue
        for consumer in list(node.output(0).get_target_inputs()):
            if consumer.get_node().get_type_name() != "Result":
                consumer.replace_source_output(source)


def _is_convert(node: Any, kind: ov.Type) -> bool:
    return bool(node.get_type_name() == "Convert" and node.get_element_type() == kind)


def _replace(node: Any, output: Any) -> None:
    for consumer in list(node.output(0).get_target_inputs()):
        consumer.replace_source_output(output)


def halve_weights(model: ov.Model, kind: str = "bf16") -> int:
    """Store `model`'s large float32 constants in 16 bits, in place; returns how many.

    Args:
        model: of which matrices and kernels are stored, not tables and biases.
        kind: "bf16" or "f16". Numbers beyond the range of float16 stay in float32.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32:
            continue
        values = node.get_data()
        if values.ndim < 2 or values.size < MIN_VALUES:
            continue
        if kind == "f16" and np.abs(values).max() > np.finfo(np.float16).max:
            continue
        constant: Any = ov.op.Constant(_stored(values, kind))
        constant.set_friendly_name(node.get_friendly_name())
        decompressed: Any = ops.convert(constant, "f32")
        decompressed.get_rt_info()[_MARK] = ""
        _replace(node, decompressed.output(0))
        count += 1
    return count


def mark_decompression(model: ov.Model) -> int:
    """Mark the weights that are stored in 16 bits as `halve_weights` does, in place, and return how
    many there are: OpenVINO's files lose the mark."""
    count = 0
    for node in model.get_ordered_ops():
        if _is_convert(node, ov.Type.f32):
            source: Any = node.input_value(0)
            stored = source.get_element_type() in (ov.Type.bf16, ov.Type.f16)
            if stored and source.get_node().get_type_name() == "Constant":
                node.get_rt_info()[_MARK] = ""
                count += 1
    return count


def _stored(values: NDArray[np.float32], kind: str) -> ov.Tensor:
    """A tensor that owns its memory, which a constant then shares: nothing here is temporary."""
    if kind == "f16":
        tensor = ov.Tensor(ov.Type.f16, ov.Shape(list(values.shape)))
        tensor.data[...] = values.astype(np.float16)
        return tensor
    tensor = ov.Tensor(ov.Type.bf16, ov.Shape(list(values.shape)))
    tensor.data.view(np.uint16)[...] = to_bfloat16(values)
    return tensor


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16, ties to even. `values` must be finite."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))
    return np.asarray(rounded >> 16, np.uint16)
