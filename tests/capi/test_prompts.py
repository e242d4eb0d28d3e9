"""Prompts in C++ against Python's: the same tokens, and the same are refused."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samedge.capi import structs as s
from samedge.capi.session import PromptArrays
from samedge.errors import PromptError
from samedge.families import FAMILIES, SAM, SAMED, SAMUS, Family
from samedge.geometry.frame_geometry import Crop, FrameGeometry, geometry_of_crop
from samedge.runtime.prompt_groups import PromptGroup, assemble
from tests.capi.inside import Inside

LOW_RES = 8
HEIGHT, WIDTH = 60, 90
CROPS: list[Crop] = [(0, 0, WIDTH, HEIGHT), (10, 5, 80, 50)]
NAN, INF = float("nan"), float("inf")


def struct_of(**prompts: Any) -> s.Prompts:
    """A samedge_prompts that keeps its arrays."""
    arrays = PromptArrays(**prompts)
    arrays.struct.kept = arrays
    return arrays.struct


class Both:
    """A family's prompts in Python and in C++."""

    def __init__(self, library: ctypes.CDLL, family: Family, crop: Crop) -> None:
        self.family = family
        self.geometry: FrameGeometry = geometry_of_crop(family, HEIGHT, WIDTH, crop, 64, LOW_RES)
        self.inside = Inside(library, family)
        self.inside.geometry(HEIGHT, WIDTH, crop, 64, LOW_RES)

    def check(self, **prompts: Any) -> list[PromptGroup] | None:
        """The groups, or None where both refuse."""
        struct = struct_of(**prompts)
        try:
            expected = assemble(self.family, self.geometry, **prompts)
        except PromptError:
            expected = None
        if expected is None:
            with pytest.raises(PromptError):
                self.inside.groups(struct, LOW_RES)
            return None
        found = self.inside.groups(struct, LOW_RES)
        assert len(found) == len(expected)
        for group, python in zip(found, expected, strict=True):
            np.testing.assert_array_equal(group["objects"], python.objects)
            np.testing.assert_array_equal(group["coords"], python.coords)
            np.testing.assert_array_equal(group["labels"], python.labels)
            assert (group["masks"] is None) == (python.masks is None)
            if python.masks is not None:
                np.testing.assert_array_equal(group["masks"], python.masks)
        return expected

    def refuse(self, struct: s.Prompts, words: str) -> None:
        with pytest.raises(PromptError, match=words):
            self.inside.groups(struct, LOW_RES)


@pytest.fixture(scope="module")
def both(internals: ctypes.CDLL) -> dict[tuple[str, int], Both]:
    return {
        (name, index): Both(internals, family, crop)
        for name, family in FAMILIES.items()
        for index, crop in enumerate(CROPS)
    }


@pytest.fixture(scope="module")
def sam(internals: ctypes.CDLL) -> Both:
    return Both(internals, SAM, CROPS[0])


def a_coordinate(random: np.random.Generator, bad: float, low: int, high: int) -> float:
    """Mostly inside; with probability `bad` on the border, outside, or no number."""
    if random.random() >= bad:
        return float(random.uniform(low, np.nextafter(high, low)))
    odd = [low, high, np.nextafter(low, -1), np.nextafter(high, low), -1e300, 1e300, NAN, INF, -0.0]
    return float(random.choice(odd))


def some_prompts(both: Both, seed: int, bad: float) -> dict[str, Any]:
    """Random prompts, as Python takes them."""
    random = np.random.default_rng(seed)
    x0, y0, x1, y1 = both.geometry.crop
    count = int(random.integers(1, 7))
    takes = both.family.prompts
    wanted = {name: random.random() < (0.6 if name in takes else bad) for name in SAM.prompts}

    def xy() -> list[float]:
        return [a_coordinate(random, bad, x0, x1), a_coordinate(random, bad, y0, y1)]

    made: dict[str, Any] = {}
    if wanted["point"]:
        least = int(not wanted["box"] and random.random() > bad)
        lengths = random.integers(least, 5, count)
        lengths[random.integers(count)] = 2  # without any, Python and C mean different things
        made["points"] = [np.array([xy() for _ in range(n)]).reshape(-1, 2) for n in lengths]
        if random.random() < 0.7:
            most = 3 if random.random() < bad else 2
            made["labels"] = [random.integers(0, most, n) for n in lengths]
    if wanted["box"]:
        corners = np.array([xy() + xy() for _ in range(count)]).reshape(-1, 2, 2)
        ordered = corners if random.random() < bad else np.sort(corners, axis=1)
        made["box"] = ordered.reshape(-1, 4)
    if wanted["mask"]:
        masks = count if random.random() < 0.5 else 1
        made["mask"] = random.normal(0, 5, (masks, LOW_RES, LOW_RES)).astype(np.float32)
        if random.random() < bad:
            odd = [NAN, INF, 1.1e4, 1e4, -1e4, -1.1e4]
            made["mask"][-1, 3, 4] = random.choice(odd)
    return made


@settings(max_examples=1000)
@given(
    st.sampled_from(sorted(FAMILIES)), st.sampled_from([0, 1]), st.integers(0, 2**31), st.booleans()
)
def test_random_prompts(
    both: dict[tuple[str, int], Both], name: str, crop: int, seed: int, good: bool
) -> None:
    one = both[name, crop]
    one.check(**some_prompts(one, seed, 0.0 if good else 0.04))


@pytest.mark.parametrize("length", [1, 1024, 1025])
def test_points_of_one_object(sam: Both, length: int) -> None:
    assert (sam.check(points=np.full((length, 2), 7.25)) is None) == (length > 1024)


@pytest.mark.parametrize("objects", [1024, 1025])
def test_objects(sam: Both, objects: int) -> None:
    assert (sam.check(points=np.full((objects, 1, 2), 7.25)) is None) == (objects > 1024)
    assert (sam.check(box=np.tile([1.0, 2, 3, 4], (objects, 1))) is None) == (objects > 1024)


@pytest.mark.parametrize("each", [512, 513])
def test_points_of_a_frame(sam: Both, each: int) -> None:
    assert (sam.check(points=np.full((8, each, 2), 7.25)) is None) == (each > 512)


def test_no_memory_of_the_prompts_before(sam: Both) -> None:
    """Groups are used again, with less or more in them."""
    random = np.random.default_rng(0)
    for seed in range(50):
        assert sam.check(**some_prompts(sam, seed, 0.0) or {"points": [[5.0, 6.0]]})
        points = [random.uniform(1, 59, (n, 2)) for n in random.integers(1, 30, 1 + seed)]
        assert sam.check(points=points)


def test_equally_many_points(sam: Both) -> None:
    """Without points_per_object they are shared out."""
    points = np.arange(12.0).reshape(6, 2)
    struct = struct_of(points=points)
    struct.points_per_object = None
    struct.objects = 3
    (group,) = sam.inside.groups(struct, LOW_RES)
    (expected,) = assemble(SAM, sam.geometry, points.reshape(3, 2, 2))
    np.testing.assert_array_equal(group["coords"], expected.coords)
    struct.objects = 4
    sam.refuse(struct, "6 points came for 4 objects")
    struct.objects = 0
    assert sam.inside.groups(struct, LOW_RES)[0]["coords"].shape == (1, 7, 2)


def test_a_count_of_zero_is_no_points(sam: Both) -> None:
    """A pointer that came with it, of an empty list, does not matter."""
    struct = struct_of(points=[[1.0, 2.0]], labels=[1], box=[3, 4, 5, 6])
    struct.point_count = 0
    (group,) = sam.inside.groups(struct, LOW_RES)
    (expected,) = assemble(SAM, sam.geometry, box=[3, 4, 5, 6])
    np.testing.assert_array_equal(group["coords"], expected.coords)
    struct.boxes = None
    sam.refuse(struct, "no prompt was given; .* takes: points, box, mask")


# What is changed in prompts of two objects with two points, a box and a mask each.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"objects": -1}, "objects is -1"),
    ({"objects": -(2**31)}, "objects is -2147483648"),
    ({"objects": 2**31 - 1}, "objects is 2147483647"),
    ({"point_count": -1}, "point_count is -1"),
    ({"point_count": 2**31 - 1}, "2147483647 points; at most 4096"),
    ({"point_count": 3}, "adds up to 4, but point_count is 3"),
    ({"points": None}, "points is NULL, but point_count is 4"),
    ({"points": None, "point_count": 0}, "labels came without points"),
    ({"points": None, "point_count": 0, "labels": None}, "points_per_object came without"),
    ({"points_per_object": [2**31 - 1, 2**31 - 1]}, "object 0 has 2147483647 points"),
    ({"points_per_object": [5, -1]}, "object 1 has -1 points"),
    ({"points_per_object": [4, 0], "boxes": None}, "object 1 has no point"),
    ({"labels": [1, 0, 2, 1]}, "label 2 came"),
    ({"labels": [1, 0, -1, 1]}, "label -1 came"),
    ({"mask_count": -1}, "mask_count is -1"),
    ({"mask_count": 2**31 - 1}, "disagree .* mask_count 2147483647"),
    ({"mask_count": 3}, "disagree"),
    ({"mask_count": 0}, "mask_count 0"),
    ({"masks": None}, "masks is NULL"),
]
_ARRAYS = {"points_per_object": np.int32, "labels": np.int32}


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused(sam: Both, change: dict[str, Any], words: str) -> None:
    struct = struct_of(
        points=np.full((2, 2, 2), 20.5),
        labels=[[1, 0], [1, 1]],
        box=[[1, 2, 30, 40], [5, 6, 50, 41]],
        mask=np.zeros((2, LOW_RES, LOW_RES)),
    )
    assert len(sam.inside.groups(struct, LOW_RES)) == 1
    kept = []
    for name, value in change.items():
        if name in _ARRAYS and value is not None:
            kept.append(np.array(value, _ARRAYS[name]))
            value = ctypes.cast(kept[-1].ctypes.data, ctypes.POINTER(ctypes.c_int32))
        setattr(struct, name, value)
    sam.refuse(struct, words)


def test_one_mask_does_not_tell_objects_apart(sam: Both) -> None:
    struct = struct_of(mask=np.zeros((1, LOW_RES, LOW_RES)))
    struct.objects = 2
    sam.refuse(struct, "disagree")


def test_models_without_prompts(internals: ctypes.CDLL) -> None:
    samed = Both(internals, SAMED, CROPS[0])
    (group,) = samed.inside.groups(s.Prompts(), LOW_RES)
    assert group["objects"].tolist() == [0]
    assert group["coords"].shape == (1, 0, 2)
    samed.refuse(s.Prompts(objects=2), "finds its objects by itself")
    samed.refuse(struct_of(points=[[1.0, 2.0]]), "not trained with a points prompt")


# Words of messages that say the same in both languages.
SAID: list[tuple[dict[str, Any], str]] = [
    ({"points": [(90, 5)]}, r"the point \(90, 5\) is outside the frame: x goes from 0 to below 90"),
    ({"points": [(5, -0.5)]}, r"y from 0 to below 60; coordinates are"),
    ({"points": [(5, NAN)]}, "NaN or infinite"),
    (
        {"box": [1, 2, 91, 30]},
        r"the box corner \(91, 30\) is outside the frame: x goes from 0 to",
    ),
    ({"box": [8, 2, 8, 30]}, r"the box 8, 2, 8, 30 is empty or turned round; expected x0 < x1"),
    ({"points": [(5, 5)], "labels": [3]}, r"a label is 1 \(inside the object\) or 0 \(outside\)"),
]


@pytest.mark.parametrize(("prompts", "words"), SAID, ids=lambda value: str(value)[:40])
def test_messages(sam: Both, prompts: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        assemble(SAM, sam.geometry, **prompts)
    sam.refuse(struct_of(**prompts), words)


@settings(max_examples=200)
@given(st.floats(0, 90, exclude_max=True), st.floats(0, 60, exclude_max=True))
@example(np.nextafter(90, 0), np.nextafter(60, 0))
def test_coordinates_in_every_last_bit(internals: ctypes.CDLL, x: float, y: float) -> None:
    samus = Both(internals, SAMUS, CROPS[0])
    assert samus.check(points=[(x, y)])
