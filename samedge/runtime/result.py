"""What a session answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_MASK = ("masks", "scores", "low_res_logits")


@dataclass(frozen=True, eq=False)
class Timing(Mapping[str, float]):
    """Milliseconds per stage of one answer; also a mapping from the stages' names to them.

    Attributes:
        preprocess: frame -> network input; 0 where nothing was encoded.
        encode: network input -> image embedding; likewise.
        prompt: checking prompts, and prompts -> tokens.
        decode: embedding and tokens -> masks.
        total: from the call to the answer.
    """

    preprocess: float = 0.0
    encode: float = 0.0
    prompt: float = 0.0
    decode: float = 0.0
    total: float = 0.0

    @classmethod
    def summed(cls, parts: Iterable[Mapping[str, float]]) -> Timing:
        """Stage by stage, over several answers."""
        rows = list(parts)
        return cls(**{stage: sum(row.get(stage, 0.0) for row in rows) for stage in STAGES})

    def __getitem__(self, stage: str) -> float:
        if stage not in STAGES:
            raise KeyError(stage)
        value: float = getattr(self, stage)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(STAGES)

    def __len__(self) -> int:
        return len(STAGES)


STAGES = tuple(entry.name for entry in fields(Timing))


@dataclass(frozen=True)
class Result:
    """Masks of one frame. The arrays belong to the caller: no later call changes them.

    Attributes:
        masks: uint8 `[K, H, W]`, 0 or 1, at the frame's own size. K = objects x masks per object.
        scores: float32 `[K]`, predicted IoU.
        low_res_logits: float32 `[K, L, L]`; feed one back as `mask=` where the family takes masks.
        object_index: int64 `[K]`, which of the prompted objects (0-based) a mask belongs to.
        timing_ms: milliseconds per stage: "preprocess", "encode", "prompt", "decode", "total"; a
            `Timing` where a session answered. `predict` does not encode, so its first two are 0.
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


def joined(
    parts: list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]],
    timing: Timing,
    classes: tuple[str, ...],
) -> Result:
    """Decoder outputs of groups of objects as one result, in the objects' order.

    Args:
        parts: per group the object numbers `[n]` and its outputs, each `[n, K, ...]`; `class_map`
            is `[n, H, W]`.
        timing: of the answer.
        classes: of the family.
    """
    order = np.concatenate([objects for objects, _ in parts])
    place = np.argsort(order, kind="stable")
    together: dict[str, NDArray[Any]] = {}
    for name in parts[0][1]:
        stacked = np.concatenate([outputs[name] for _, outputs in parts])[place]
        if name in PER_MASK:
            stacked = stacked.reshape(-1, *stacked.shape[2:])
        together[name] = np.ascontiguousarray(stacked)
    per_object = len(together["scores"]) // len(order)
    object_index = np.repeat(order[place], per_object).astype(np.int64)
    class_index = np.tile(np.arange(per_object), len(order)).astype(np.int64)
    return Result(
        masks=together["masks"],
        scores=together["scores"],
        low_res_logits=together["low_res_logits"],
        object_index=object_index,
        timing_ms=timing,
        class_index=class_index if classes else class_index * 0,
        class_names=classes,
        class_map=together["class_map"][0] if "class_map" in together else None,
    )
