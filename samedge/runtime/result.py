"""What a session answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_MASK = ("masks", "scores", "low_res_logits")
STAGES = ("preprocess", "encode", "prompt", "decode", "total")


@dataclass(frozen=True)
class Result:
    """Masks of one frame. The arrays belong to the caller: no later call changes them.

    Attributes:
        masks: uint8 `[K, H, W]`, 0 or 1, at the frame's own size. K = objects x masks per object.
        scores: float32 `[K]`, predicted IoU.
        low_res_logits: float32 `[K, L, L]`; feed one back as `mask=` where the family takes masks.
        object_index: int64 `[K]`, which of the prompted objects (0-based) a mask belongs to.
        timing_ms: milliseconds per stage: "preprocess", "encode", "prompt", "decode", "total".
            `predict` does not encode, so its first two are 0.
        class_index: int64 `[K]`, place in `class_names` of what a mask shows; 0 for families
            without classes.
        class_names: names of the family's classes or structures; empty without.
        class_map: uint8 `[H, W]`, class of every pixel, where each belongs to one class (0 is the
            background); else None.
    """

    masks: NDArray[np.uint8]
    scores: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]
    object_index: NDArray[np.int64]
    timing_ms: Mapping[str, float]
    class_index: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_names: tuple[str, ...] = ()
    class_map: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if not len(self.class_index):
            object.__setattr__(self, "class_index", np.zeros_like(self.object_index))

    def best(self, index: int = 0) -> int:
        """Position in `masks` of the highest-scoring mask of object `index`.

        Raises:
            IndexError: there is no such object.
        """
        places = np.flatnonzero(self.object_index == index)
        if not len(places):
            raise IndexError(f"object {index} is not in this result")
        return int(places[np.argmax(self.scores[places])])

    def __repr__(self) -> str:
        shape = "x".join(str(n) for n in self.masks.shape)
        total = self.timing_ms.get("total", 0.0)
        return (
            f"Result(masks={shape}, objects={len(set(self.object_index.tolist()))}, {total:.1f} ms)"
        )


def join(parts: list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]]) -> dict[str, NDArray[Any]]:
    """Decoder outputs of groups of objects, put back into the objects' order.

    Args:
        parts: per group the object numbers `[n]` and its outputs, each `[n, K, ...]`; `class_map`
            is `[n, H, W]`.

    Returns:
        The outputs as `[N * K, ...]` (`class_map`: `[N, H, W]`), `object_index` and `class_index`
        `[N * K]`, in object order. The latter is a mask's place among those of its object.
    """
    order = np.concatenate([objects for objects, _ in parts])
    place = np.argsort(order, kind="stable")
    joined: dict[str, NDArray[Any]] = {}
    for name in parts[0][1]:
        stacked = np.concatenate([outputs[name] for _, outputs in parts])[place]
        if name in PER_MASK:
            stacked = stacked.reshape(-1, *stacked.shape[2:])
        joined[name] = np.ascontiguousarray(stacked)
    per_object = len(joined["scores"]) // len(order)
    joined["object_index"] = np.repeat(order[place], per_object).astype(np.int64)
    joined["class_index"] = np.tile(np.arange(per_object), len(order)).astype(np.int64)
    return joined
