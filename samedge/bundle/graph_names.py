"""Names in a bundle's graphs that engines go by; docs/bundle.md has the whole scheme."""

from __future__ import annotations

import re

# Parts pre-processing, which is exact in float32 and takes frames of any size, from the network.
NETWORK_INPUT = "network_input"

_OPERATION = re.compile(r".*/([A-Za-z0-9]+?)(?:_\d+)?(?::\d+)?")


def operation_of(value: str) -> str | None:
    """The ONNX operator that makes a value, which its name says: "MatMul" of
    `encoder.blocks.0.attn.qkv/MatMul`. None for names of another kind: inputs, outputs, weights.
    """
    found = _OPERATION.fullmatch(value)
    return found.group(1) if found else None
