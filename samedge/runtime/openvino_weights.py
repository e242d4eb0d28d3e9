"""bfloat16 weights for a network that computes in bfloat16.

OpenVINO would round them itself, but it then keeps the rounded copy beside the one it packs for its
kernels: 240 MB for a SAMUS ViT-B. Handed over as bfloat16 constants they stay in the cached engine
file, from where they are read once. Results have the same rounding error, and the file is half as
large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as ops
from numpy.typing import NDArray

MIN_VALUES = 1 << 16  # only matrices and kernels; tables and biases are small and stay as they are
# OpenVINO's own mark for "decompress in the kernel, do not fold into float32".
_MARK = "decompression_0"


def widen_weights(model: ov.Model) -> int:
    """Turn constants that are stored as float16 into float32 ones, in place; returns how many.

    A bundle may keep its weights in 16 bits, each with a conversion behind it. The rewrites and the
    kernels want to see the numbers themselves.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convert" or node.get_element_type() != ov.Type.f32:
            continue
        stored: Any = node.input_value(0).get_node()
        if stored.get_type_name() != "Constant" or stored.get_element_type() != ov.Type.f16:
            continue
        constant: Any = ops.constant(stored.get_data().astype(np.float32))
        constant.set_friendly_name(stored.get_friendly_name())
        for consumer in list(node.output(0).get_target_inputs()):
            consumer.replace_source_output(constant.output(0))
        count += 1
    return count


def halve_weights(model: ov.Model) -> int:
    """Store `model`'s large float32 constants as bfloat16, in place; returns how many."""
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32:
            continue
        values = node.get_data()
        if values.ndim < 2 or values.size < MIN_VALUES:
            continue
        # The tensor owns its memory, which the constant then shares: nothing here is temporary.
        tensor = ov.Tensor(ov.Type.bf16, ov.Shape(list(values.shape)))
        tensor.data.view(np.uint16)[...] = to_bfloat16(values)
        constant: Any = ov.op.Constant(tensor)
        constant.set_friendly_name(node.get_friendly_name())
        decompressed = ops.convert(constant, "f32")
        decompressed.get_rt_info()[_MARK] = ""
        for consumer in list(node.output(0).get_target_inputs()):
            consumer.replace_source_output(decompressed.output(0))
        count += 1
    return count


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of the nearest bfloat16, ties to even. `values` must be finite."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))
    return np.asarray(rounded >> 16, np.uint16)
