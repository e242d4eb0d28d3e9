"""Volumes: prompts of every slice, and the masks of all slices as one stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError, PromptError
from samedge.families import Family
from samedge.runtime.result import Result, Timing, same_values, short_text

# What a slice's prompts may be, and what stands for those that are not given.
ARGUMENTS: dict[str, Any] = {
    "points": None,
    "labels": None,
    "box": None,
    "mask": None,
    "multimask": False,
}


@dataclass(frozen=True, eq=False)
class VolumeResult:
    """Masks of a volume of D slices. The arrays belong to the caller.

    Results are equal if all but their times is, arrays by type and value.

    Attributes:
        scores: float32 `[K, D]`, predicted IoU. K = objects x masks per object.
        low_res_logits: float32 `[K, D, L, L]`.
        object_index, class_index: int64 `[K]`, as in `Result`.
        class_names: as in `Result`.
        class_map: uint8 `[D, H, W]`, where each voxel belongs to one class; else None.
        timing_ms: milliseconds per stage, summed over all slices.
        notes: as in `Result`, of all slices.
    """

    scores: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]
    object_index: NDArray[np.int64]
    class_index: NDArray[np.int64]
    class_names: tuple[str, ...]
    class_map: NDArray[np.uint8] | None
    timing_ms: Mapping[str, float]
    _masks: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()

    @property
    def masks(self) -> NDArray[np.uint8]:
        """uint8 `[K, D, H, W]`, 0 or 1; made from the class map where there is one."""
        if self._masks is not None:
            return self._masks
        assert self.class_map is not None
        return np.asarray(self.class_map == self.class_index[:, None, None, None], np.uint8)

    @property
    def _shape(self) -> tuple[int, ...]:
        """That of `masks`, without making them."""
        voxels = self._masks if self.class_map is None else self.class_map
        return (len(self.scores), *(() if voxels is None else voxels.shape[-3:]))

    def __eq__(self, other: object) -> bool:
        return same_values(self, other) if isinstance(other, VolumeResult) else NotImplemented

    def __hash__(self) -> int:  # by what cannot change: the values of the arrays can
        return hash((self._shape, self.class_names))

    def __repr__(self) -> str:
        return short_text("VolumeResult", self._shape, self.object_index, self.timing_ms)


def without_doubles(result: Result) -> Result:
    """A slice's result without its masks where the class map tells the same in one of K planes."""
    return result if result.class_map is None else replace(result, masks=result.masks[:0])


def stacked(results: Sequence[Result]) -> VolumeResult:
    """The slices' results as one volume's.

    Raises:
        PromptError: the slices have different numbers of objects.
    """
    counts = {len(result.scores) for result in results}
    if len(counts) != 1:
        raise PromptError(
            f"the slices have different numbers of masks ({sorted(counts)}); prompt the same "
            "objects in every slice, or call segment_slices, which keeps the slices apart"
        )
    first = results[0]
    maps = [r.class_map for r in results if r.class_map is not None]
    return VolumeResult(
        scores=np.stack([r.scores for r in results], 1),
        low_res_logits=np.stack([r.low_res_logits for r in results], 1),
        object_index=first.object_index,
        class_index=first.class_index,
        class_names=first.class_names,
        class_map=np.stack(maps) if maps else None,
        timing_ms=Timing.summed(r.timing_ms for r in results),
        _masks=None if maps else np.stack([r.masks for r in results], 1),
        notes=tuple(dict.fromkeys(note for r in results for note in r.notes)),
    )


def check_depth(family: Family, depth: int) -> None:
    """Refuse volumes that the network cannot take apart.

    Raises:
        FrameError: says which numbers of slices fit.
    """
    if family.whole_volume and depth != family.slices:
        raise FrameError(
            f"the volume has {depth} slices; this model relates all slices of a volume and was "
            f"exported for {family.slices}: export the checkpoint again with --slices {depth}"
        )
    fitting = depth // family.slices * family.slices
    if fitting != depth:
        instead = f", for instance the first {fitting}" if fitting else ""
        raise FrameError(
            f"the volume has {depth} slices; this model takes {family.slices} at a time: give a "
            f"multiple of that{instead}"
        )


def checked_prompts(prompts: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """Prompts of `count` slices, each with all arguments of `Session.predict`.

    Raises:
        PromptError: another number of slices, or something else than such arguments.
    """
    expected = f"expected {count}, for each slice a dictionary such as {{'points': [(x, y)]}}"
    if not isinstance(prompts, Sequence) or not all(isinstance(p, Mapping) for p in prompts):
        raise PromptError(f"prompts of type {type(prompts).__name__} came; {expected}")
    if len(prompts) != count:
        raise PromptError(f"prompts for {len(prompts)} slices came; {expected}")
    for index, prompt in enumerate(prompts):
        unknown = ", ".join(repr(name) for name in prompt if name not in ARGUMENTS)
        if unknown:
            raise PromptError(
                f"the prompts of slice {index} have {unknown}; expected some of: "
                f"{', '.join(ARGUMENTS)}"
            )
    return [{**ARGUMENTS, **prompt} for prompt in prompts]


def slice_prompts(
    depth: int, points: Any = None, labels: Any = None, box: Any = None
) -> list[dict[str, Any]]:
    """Prompts of a volume -> those of each slice, as `Session.predict` takes them.

    Args:
        depth: number of slices.
        points: [P, 2], the same in every slice; or one entry per slice, as for `predict`.
        labels: [P], or one entry per slice; goes with the points.
        box: [4], the same in every slice, or one entry per slice.

    Raises:
        PromptError: another number of entries than slices.
    """
    given = {
        "points": _per_slice("points", points, 2, depth),
        "labels": _per_slice("labels", labels, 1, depth),
        "box": _per_slice("box", box, 1, depth),
    }
    return [{name: values[i] for name, values in given.items()} for i in range(depth)]


def _per_slice(name: str, value: Any, shared_ndim: int, depth: int) -> Sequence[Any]:
    """One entry per slice; a value of `shared_ndim` dimensions is meant for all of them."""
    if value is None:
        return [None] * depth
    try:
        ndim = np.asarray(value).ndim
    except (ValueError, TypeError, RuntimeError):  # entries of different lengths: one per slice
        ndim = shared_ndim + 1
    if ndim <= shared_ndim:
        return [value] * depth
    if len(value) != depth:
        raise PromptError(
            f"{name} for {len(value)} slices came with a volume of {depth}; give one entry per "
            f"slice, or a single one of {shared_ndim} dimension(s) for all"
        )
    entries: Sequence[Any] = value
    return entries
