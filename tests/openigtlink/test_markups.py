"""Marks in mm as clicks in px."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.openigtlink.image import centre_matrix
from samedge.openigtlink.markups import Markups, Place
from samedge.openigtlink.messages import Point, Points

SIZE = (64, 48)


def tilted(seed: int = 0, spacing: tuple[float, float] = (0.3, 0.2)) -> np.ndarray:
    """First pixel's matrix of an image that lies anywhere, at any angle."""
    chance = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    found = np.eye(4)
    found[:3, :3] = axes * [spacing[0], spacing[1], 1.0]
    found[:3, 3] = chance.uniform(-100, 100, 3)
    return found


def at(first: np.ndarray, x: float, y: float, away_mm: float = 0.0) -> tuple[float, float, float]:
    normal = np.cross(first[:3, 0], first[:3, 1])
    place = (first @ [x, y, 0, 1])[:3] + normal / np.linalg.norm(normal) * away_mm
    return tuple(place.tolist())


def one(*marks: tuple[str, tuple[float, float, float]], group: str = "") -> Points:
    return Points(tuple(Point(name, position, group) for name, position in marks))


@given(st.integers(0, 1000), st.floats(0, 63), st.floats(0, 47), st.sampled_from(["RAS", "LPS"]))
def test_where_a_mark_lies(seed: int, x: float, y: float, axes: str) -> None:
    first = tilted(seed)
    position = at(first, x, y)
    if axes == "LPS":
        position = (-position[0], -position[1], position[2])
    markups = Markups()
    markups.take("F", one(("F-1", position)))
    marks = markups.on(Place(centre_matrix(first, (*SIZE, 1)), SIZE, axes))
    ((found,),) = marks.points
    assert found[:2] == pytest.approx((x, y), abs=1e-3)
    assert found[2] is True
    assert marks.names == ("F",)


def test_the_thickness_of_the_slice_plays_no_part() -> None:
    first = tilted()
    flat = first.copy()
    flat[:3, 2] = 0
    points = np.array([at(first, 5, 6)])
    for matrix in (first, flat):
        place = Place(centre_matrix(matrix, (*SIZE, 1)), SIZE)
        assert np.asarray(place.pixels(points))[0, :2] == pytest.approx((5, 6), abs=1e-3)


def test_through_the_transform() -> None:
    first, to_reference = tilted(1), tilted(2, (1.0, 1.0))
    markups = Markups()
    markups.take("F", one(("a", tuple((to_reference @ [*at(first, 7, 8), 1])[:3].tolist()))))
    centre = centre_matrix(first, (*SIZE, 1))
    assert markups.on(Place(centre, SIZE)).left_out == 1
    ((found,),) = markups.on(Place(centre, SIZE, transform=to_reference)).points
    assert found[:2] == pytest.approx((7, 8), abs=1e-3)


def test_marks_that_are_no_clicks() -> None:
    first = np.eye(4)
    markups = Markups()
    markups.take(
        "F",
        one(
            ("in", at(first, 63.4, 0)),
            ("beside", at(first, 63.6, 0)),
            ("above", at(first, 3, -0.6)),
            ("near", at(first, 3, 4, 4.9)),
            ("far", at(first, 3, 4, -5.1)),
            ("nowhere", (float("nan"), 0.0, 0.0)),
            ("endless", (float("inf"), 0.0, 0.0)),
        ),
    )
    marks = markups.on(Place(centre_matrix(first, (*SIZE, 1)), SIZE))
    assert [mark[:2] for mark in marks.points[0]] == [(pytest.approx(63.4), 0.0), (3.0, 4.0)]
    assert marks.left_out == 5


@pytest.mark.parametrize("steps", [np.nan, 0.0, np.inf])
def test_images_that_lie_nowhere(steps: float) -> None:
    matrix = np.eye(4, dtype=np.float32)
    matrix[0, 0] = steps
    markups = Markups()
    markups.take("F", one(("F-1", (0.0, 0.0, 0.0))))
    marks = markups.on(Place(matrix, SIZE))
    assert (marks.points, marks.left_out) == ((), 1)
    singular = Place(np.eye(4), SIZE, transform=np.zeros((4, 4)))
    assert markups.on(singular).left_out == 1


def test_lists_groups_and_outsides() -> None:
    first = np.eye(4)
    place = Place(centre_matrix(first, (*SIZE, 1)), SIZE)
    markups = Markups()
    markups.take("Vessel", one(("F-1", at(first, 1, 2)), ("-2", at(first, 3, 4)), group="GROUP_0"))
    mixed = (
        Point("p", at(first, 5, 5), "left"),
        Point("q", at(first, 6, 6), "right"),
        Point("Outside 1", at(first, 7, 7), "left"),
    )
    markups.take("Walls", Points(mixed))
    markups.take("Lonely", one(("background", at(first, 9, 9))))
    marks = markups.on(place)
    assert marks.points == (
        ((1.0, 2.0, True), (3.0, 4.0, False)),
        ((5.0, 5.0, True), (7.0, 7.0, False)),
        ((6.0, 6.0, True),),
    )
    assert marks.names == ("Vessel", "left", "right")
    assert marks.left_out == 1
    markups.take("Walls", Points(()))
    markups.take("Vessel", one(("F-1", at(first, 8, 8))))
    assert markups.on(place).points == (((8.0, 8.0, True),),)


def test_lists_are_bounded() -> None:
    markups = Markups()
    for number in range(1000):
        markups.take(f"F{number}", one(("a", (0.0, 0.0, 0.0))))
    marks = markups.on(Place(centre_matrix(np.eye(4), (*SIZE, 1)), SIZE))
    assert len(marks.points) == 64
    assert marks.names[-1] == "F999"
