"""What rewrites of OpenVINO graphs share: reading constants and shapes, putting nodes in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops


def constant(value: Any) -> NDArray[Any] | None:
    """The numbers of a constant, which may be reshaped."""
    node = value.get_node()
    if node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    return node.get_data() if node.get_type_name() == "Constant" else None


def dynamic(*nodes: Any) -> bool:
    """Whether the size of any output is unknown."""
    return any(output.get_partial_shape().is_dynamic for node in nodes for output in node.outputs())


def only_consumer(node: Any, kind: str | None = None) -> Any | None:
    """The node that alone takes `node`'s first output, if there is one (of this kind)."""
    targets = list(node.output(0).get_target_inputs())
    if len(targets) != 1:
        return None
    found = targets[0].get_node()
    return found if kind in (None, found.get_type_name()) else None


def replace(output: Any, node: Any) -> None:
    """Let all that take `output` take the first output of `node`."""
    for target in list(output.get_target_inputs()):
        target.replace_source_output(node.output(0))


def ints(*values: int) -> Any:
    """A constant, int64 [len(values)]."""
    return ops.constant(np.array(values, np.int64))


def place_channels(height: int, width: int) -> NDArray[np.float32]:
    """float32 [height * width, height + width]: row and column of each key, as ones."""
    rows = np.repeat(np.eye(height, dtype=np.float32), width, axis=0)
    return np.concatenate([rows, np.tile(np.eye(width, dtype=np.float32), (height, 1))], axis=1)
