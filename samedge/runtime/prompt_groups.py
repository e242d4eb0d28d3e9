"""Points, boxes and masks as a user gives them -> the decoder's tokens, checked.

Objects whose prompts differ in length run in groups of equal length: padding the shorter ones
would add tokens, and every token changes the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samedge.errors import PromptError
from samedge.families import Family
from samedge.files.limits import FRAME_OBJECTS, FRAME_POINTS, OBJECT_POINTS
from samedge.geometry.frame_geometry import FrameGeometry
from samedge.geometry.prompt_tokens import BACKGROUND, FOREGROUND, prompt_tokens

Floats = NDArray[np.float64]
# Of a mask prompt. Those of networks are below 100; beyond half precision's 65504 sums overflow.
LARGEST_LOGIT = 1e4
# One array for all objects (or slices), or one entry for each.
Nested = ArrayLike | Sequence[ArrayLike]


@dataclass(frozen=True)
class PromptGroup:
    """Objects with equally many tokens.

    Attributes:
        objects: int64 [n], their places in the caller's order.
        coords: float32 [n, P, 2], (x, y) in network px; points, padding, box corners.
        labels: int32 [n, P]; -1 padding, 0 and 1 points, 2 and 3 box corners.
        masks: float32 [1 or n, 1, L, L] low-res logits, or None.
    """

    objects: NDArray[np.int64]
    coords: NDArray[np.float32]
    labels: NDArray[np.int32]
    masks: NDArray[np.float32] | None


def assemble(
    family: Family,
    geometry: FrameGeometry,
    points: Nested | None = None,
    labels: Nested | None = None,
    box: Nested | None = None,
    mask: ArrayLike | None = None,
) -> list[PromptGroup]:
    """Check the prompts of one call and turn them into groups of tokens.

    Args:
        family: says which prompts it takes and when it pads.
        geometry: of the current frame.
        points: [P, 2] one object, [N, P, 2] or a list of [P_i, 2] several; (x, y) in frame px.
        labels: same nesting without the 2; 1 inside the object, 0 outside. Default: all 1.
        box: [4] or [N, 4], (x0, y0, x1, y1) in frame px.
        mask: [L, L] (for all objects) or [N, L, L], low-res logits of an earlier result.

    Raises:
        PromptError: says what came, what was expected and what to do.
    """
    _check_family(family, points=points, box=box, mask=mask, labels=labels)
    if not family.prompts:
        one, none = np.zeros(1, np.int64), np.zeros((1, 0), np.int32)
        return [PromptGroup(one, np.zeros((1, 0, 2), np.float32), none, None)]
    point_list = _points(points, geometry)
    label_list = _labels(labels, point_list)
    boxes = _boxes(box, geometry)
    masks = _masks(mask, geometry.low_res)
    count = _count(point_list, boxes, masks)
    if point_list is None:
        point_list, label_list = [np.zeros((0, 2))] * count, [np.zeros(0, np.int32)] * count
    elif boxes is None and any(not len(p) for p in point_list):
        raise PromptError("an object has no point; give each object at least one (x, y)")
    assert label_list is not None
    FRAME_OBJECTS.check(count, "the prompt", PromptError)
    FRAME_POINTS.check(sum(map(len, point_list)), "the prompt", PromptError)
    OBJECT_POINTS.check(max(map(len, point_list)), "the prompt", PromptError)
    lengths = [len(object_points) for object_points in point_list]
    groups = []
    for length in sorted(set(lengths)):
        objects = np.flatnonzero(np.array(lengths) == length)
        coords, tokens = prompt_tokens(
            family,
            geometry,
            np.stack([point_list[i] for i in objects]),
            np.stack([label_list[i] for i in objects]),
            None if boxes is None else boxes[objects],
        )
        own = masks if masks is None or len(masks) == 1 else masks[objects]
        groups.append(PromptGroup(objects, coords, tokens, own))
    return groups


def _check_family(family: Family, **given: Any) -> None:
    takes = ", ".join(f"{name}s" if name == "point" else name for name in family.prompts)
    takes = takes or "none, and finds its objects by itself"
    if given["points"] is None and given["labels"] is not None:
        raise PromptError("labels came without points; give points=[(x, y), ...] with them")
    for name in ("points", "box", "mask"):
        if given[name] is not None and name.removesuffix("s") not in family.prompts:
            raise PromptError(
                f"{family.title} was not trained with a {name} prompt; it takes: {takes}"
            )
    if family.prompts and all(given[name] is None for name in ("points", "box", "mask")):
        raise PromptError(f"no prompt was given; {family.title} takes: {takes}")


def _points(points: Any, geometry: FrameGeometry) -> list[Floats] | None:
    """One float64 [P, 2] per object; None if there are no point prompts."""
    if points is None:
        return None
    expected = (
        "points are [P, 2] for one object, [N, P, 2] or a list of [P, 2] for several; "
        "one point is [(x, y)]"
    )
    array = _numbers(points, "points", expected, ragged=True)
    if array is None:
        objects = [_as_pairs(_numbers(part, "points", expected), expected) for part in points]
    elif array.size == 0:
        raise PromptError(f"points is empty (shape {list(array.shape)}); {expected}")
    elif array.ndim == 3:
        objects = [_as_pairs(part, expected) for part in array]
    else:
        objects = [_as_pairs(array, expected)]
    for xy in objects:
        _check_inside(xy, geometry, "point")
    return objects


def _as_pairs(array: Floats | None, expected: str) -> Floats:
    if array is not None and array.shape == (0,):
        return array.reshape(0, 2)
    if array is None or array.ndim != 2 or array.shape[1] != 2:
        shape = "ragged" if array is None else list(array.shape)
        raise PromptError(f"points of shape {shape} came; {expected}")
    return array


def _labels(labels: Any, points: list[Floats] | None) -> list[NDArray[np.int32]] | None:
    """One int32 [P] per object, matching the points."""
    if points is None:
        return None
    if labels is None:
        return [np.full(len(xy), FOREGROUND, np.int32) for xy in points]
    expected = f"labels nest like the points: {[len(xy) for xy in points]} per object, each 0 or 1"
    array = _numbers(labels, "labels", expected, ragged=True)
    if array is None:
        parts = [_numbers(part, "labels", expected) for part in labels]
    elif array.ndim == 2:
        parts = list(array)
    else:
        parts = [array]
    if len(parts) != len(points):
        raise PromptError(f"labels for {len(parts)} objects came with {len(points)}; {expected}")
    result = []
    for part, xy in zip(parts, points, strict=True):
        if part is None or part.shape != (len(xy),):
            shape = "ragged" if part is None else list(part.shape)
            raise PromptError(f"labels of shape {shape} came with {len(xy)} points; {expected}")
        if not np.isin(part, (BACKGROUND, FOREGROUND)).all():
            raise PromptError(
                f"labels {part.tolist()} came; a label is 1 (inside the object) or 0 (outside)"
            )
        result.append(part.astype(np.int32))
    return result


def _boxes(box: Any, geometry: FrameGeometry) -> Floats | None:
    """float64 [N, 4]."""
    if box is None:
        return None
    expected = "a box is [4] or [N, 4]: x0, y0, x1, y1 in frame px"
    array = _numbers(box, "box", expected)
    if array is None or array.size == 0 or array.ndim not in (1, 2) or array.shape[-1] != 4:
        raise PromptError(f"a box of shape {np.shape(box)} came; {expected}")
    boxes = array.reshape(-1, 4)
    _check_inside(boxes.reshape(-1, 2), geometry, "box corner")
    for x0, y0, x1, y1 in boxes:
        if x0 >= x1 or y0 >= y1:
            raise PromptError(
                f"the box {x0:g}, {y0:g}, {x1:g}, {y1:g} is empty or turned round; "
                "expected x0 < x1 and y0 < y1"
            )
    return boxes


def _masks(mask: Any, low_res: int) -> NDArray[np.float32] | None:
    """float32 [M, 1, L, L]."""
    if mask is None:
        return None
    expected = (
        f"a mask prompt is [{low_res}, {low_res}] or [N, {low_res}, {low_res}]: "
        "result.low_res_logits of an earlier call, not result.masks"
    )
    array = _numbers(mask, "mask", expected)
    if array is None or array.ndim not in (2, 3) or array.shape[-2:] != (low_res, low_res):
        raise PromptError(f"a mask of shape {np.shape(mask)} came; {expected}")
    if array.size == 0:
        raise PromptError(f"the mask prompt is empty; {expected}")
    if (largest := float(np.abs(array).max())) > LARGEST_LOGIT:
        raise PromptError(
            f"the mask prompt has values up to {largest:.3g}; logits lie within "
            f"{LARGEST_LOGIT:g}: {expected}"
        )
    return np.ascontiguousarray(array.reshape(-1, 1, low_res, low_res), np.float32)


def _count(
    points: list[Floats] | None,
    boxes: Floats | None,
    masks: NDArray[np.float32] | None,
) -> int:
    """Number of objects; all kinds of prompts have to agree on it."""
    sizes = {}
    if points is not None:
        sizes["points"] = len(points)
    if boxes is not None:
        sizes["box"] = len(boxes)
    if masks is not None and (len(masks) > 1 or not sizes):
        sizes["mask"] = len(masks)  # a single mask serves all objects
    if len(set(sizes.values())) != 1:
        came = ", ".join(f"{name} for {size}" for name, size in sizes.items())
        raise PromptError(
            f"the prompts disagree on the number of objects: {came}; give every object one of each"
        )
    return next(iter(sizes.values()))


def _check_inside(xy: Floats, geometry: FrameGeometry, what: str) -> None:
    """Points lie on pixels of the frame (and crop); box corners may also lie on its far edge."""
    x0, y0, x1, y1 = geometry.crop
    low, high = np.array([x0, y0]), np.array([x1, y1])
    corner = what == "box corner"
    outside = (xy < low) | ((xy > high) if corner else (xy >= high))
    if outside.any():
        x, y = xy[outside.any(axis=1)][0]
        whole = (x0, y0, x1, y1) == (0, 0, geometry.width, geometry.height)
        area = "frame" if whole else "crop"
        to = "to" if corner else "to below"
        raise PromptError(
            f"the {what} ({x:g}, {y:g}) is outside the {area}: x goes from {x0} {to} {x1}, y from "
            f"{y0} {to} {y1}; coordinates are (x, y) in frame px"
        )


def _numbers(value: Any, name: str, expected: str, ragged: bool = False) -> Floats | None:
    """`value` as finite float64; None if its parts differ in length and that is allowed."""
    try:
        raw = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        if ragged and isinstance(value, (list, tuple)):
            return None
        raise PromptError(f"{name} cannot be read as numbers: {error}; {expected}") from error
    if raw.dtype.kind not in "iufb":
        raise PromptError(f"{name} holds {raw.dtype} values; {expected}")
    array = raw.astype(np.float64)
    if not np.isfinite(array).all():
        raise PromptError(f"{name} holds NaN or infinite values; {expected}")
    return array
