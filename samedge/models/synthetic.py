"""Deterministic weights from a formula, for reference vectors and for demos without a download.

Any tensor follows from its name, its shape and a seed, so that two sides can build the very same
checkpoint from a list of names and shapes. The masks of such a model mean nothing; but every part
of it that is active contributes to them. numpy only; numpy has frozen the stream of RandomState.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_TABLES = frozenset(
    (
        "mask_tokens",
        "iou_token",
        "point_embeddings",
        "not_a_point_embed",
        "no_mask_embed",
        "object_token",
    )
)


def _scale_and_shift(key: str, shape: Sequence[int]) -> tuple[float, float]:
    """(scale, shift) of the normal numbers of one tensor: the first rule that fits."""
    parts = key.split(".")
    last = parts[-1]
    if "rel_pos" in last or last in ("rel_h", "rel_w"):
        return 0.2, 0.0
    if key.endswith("pos_embed"):
        return 0.5, 0.0
    if key.endswith("positional_encoding_gaussian_matrix"):
        return 1.0, 0.0
    if _TABLES.intersection(parts):
        return 0.5, 0.0
    if last == "attention_biases":
        return 0.5, 0.0
    if last == "running_var":
        return 0.1, 1.0
    if len(shape) < 2:  # the scale of a LayerNorm, or a bias
        return (0.1, 1.0) if key.endswith(".weight") else (0.05, 0.0)
    if "output_upscaling" in key:  # kernel == stride: a pixel sees shape[0] inputs
        return 1.0 / math.sqrt(shape[0]), 0.0
    return 1.0 / math.sqrt(math.prod(shape[1:])), 0.0


def synthetic_tensor(key: str, shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """The float32 tensor called `key`, of shape `shape`, under `seed`."""
    shape = tuple(int(s) for s in shape)
    random = np.random.RandomState(zlib.crc32(f"{seed}:{key}".encode()))
    values = random.standard_normal(math.prod(shape)).astype(np.float32).reshape(shape)
    scale, shift = _scale_and_shift(key, shape)
    values *= np.float32(scale)
    if shift:
        values += np.float32(shift)
    return values


def synthetic_state_dict(
    shapes: Mapping[str, Sequence[int]], seed: int
) -> dict[str, NDArray[np.float32]]:
    """All tensors of a checkpoint; `shapes` maps tensor names to shapes."""
    return {key: synthetic_tensor(key, shape, seed) for key, shape in shapes.items()}
