"""What a frame is against the one before: new, frozen, repeated, another scene or size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge.cli.demo import example_loop
from samedge.simulate import simulate_beat, simulate_image
from samedge.simulate.cine import Beat
from samedge.sources.frame import Frame, Origin, Pixels
from samedge.sources.opening import open_source
from samedge.stream.live.likeness import Change, Likeness
from samedge.stream.live.settings import LiveSettings

SCENE_CHANGE = LiveSettings().scene_change
SIZE = (120, 160)


def frame(pixels: Pixels, stamp_s: float | None = None, origin: Origin | None = None) -> Frame:
    return Frame(pixels, 0, None, "s", "f", stamp_s=stamp_s, origin=origin)


def change(one: Pixels, other: Pixels, area: tuple[int, int, int, int] | None = None) -> Change:
    likeness = Likeness(0, SCENE_CHANGE)
    assert likeness.compare(frame(one), area) is Change.FIRST
    return likeness.compare(frame(other), area)


def noise(seed: int, shape: tuple[int, ...] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def beats() -> dict[str, Beat]:
    return {
        kind: simulate_beat(3, (240, 320), kind, rate=12, plain=True)
        for kind in ("apical", "short-axis", "vessel")
    }


def origin(ticks: int) -> Origin:
    return Origin(ticks, np.eye(4, dtype=np.float32))


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ((None, None), (None, None), Change.SAME_PIXELS),
        ((1.0, None), (2.0, None), Change.SAME_PIXELS),
        ((2.0, None), (1.0, None), Change.SAME_PIXELS),
        ((1.0, None), (1.0, None), Change.SAME_BUFFER),
        ((None, 7), (None, 7), Change.SAME_BUFFER),
        ((1.0, 7), (1.0, 8), Change.SAME_PIXELS),
    ],
)
def test_frozen_by_the_operator_or_repeated_by_the_source(
    before: tuple[float | None, int | None], now: tuple[float | None, int | None], expected: Change
) -> None:
    likeness = Likeness(0, SCENE_CHANGE)
    pixels = noise(0)
    for stamp_s, ticks in (before, now):
        told = None if ticks is None else origin(ticks)
        result = likeness.compare(frame(pixels.copy(), stamp_s, told), None)
    assert result is expected


def test_a_clock_beside_the_image_does_not_hide_a_freeze() -> None:
    one = noise(0)
    other = one.copy()
    cv2.putText(other, "12:01", (100, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255)
    assert change(one, other, (0, 30, 160, 120)) is Change.SAME_PIXELS
    assert change(one, other) is Change.NEW
    likeness = Likeness(0, SCENE_CHANGE)
    likeness.compare(frame(one, 1.0), (0, 30, 160, 120))
    # The clock goes on, so the source is alive, whatever its stamp says.
    assert likeness.compare(frame(other, 1.0), (0, 30, 160, 120)) is Change.SAME_PIXELS


@given(st.integers(0, 3), st.integers(0, 5), st.sampled_from([np.uint8, np.uint16]))
def test_pixels_within_the_tolerance_are_the_same(
    tolerance: int, difference: int, dtype: type[np.uint8] | type[np.uint16]
) -> None:
    one = noise(1).astype(dtype) // 2
    other = one.copy()
    other[77, 31] += difference
    likeness = Likeness(tolerance, SCENE_CHANGE)
    likeness.compare(frame(one), None)
    same = likeness.compare(frame(other), None) is Change.SAME_PIXELS
    assert same == (difference <= tolerance)


def test_a_slow_fade_within_the_tolerance_is_seen_in_the_end() -> None:
    likeness = Likeness(2, SCENE_CHANGE)
    found = [likeness.compare(frame(noise(1) // 2 + np.uint8(k)), None) for k in range(7)]
    same, new = Change.SAME_PIXELS, Change.NEW
    assert found == [Change.FIRST, same, same, new, same, same, new]


@pytest.mark.parametrize(
    "other",
    [noise(0, (121, 160)), noise(0, (120, 161)), noise(0, (*SIZE, 3)), noise(0).astype(np.uint16)],
)
def test_another_size(other: Pixels) -> None:
    assert change(noise(0), other) is Change.SIZE


def test_a_source_that_fills_one_buffer_again_and_again_is_not_frozen() -> None:
    likeness = Likeness(0, SCENE_CHANGE)
    buffer = noise(0)
    likeness.compare(frame(buffer), None)
    buffer[...] = noise(1)
    assert likeness.compare(frame(buffer), None) is not Change.SAME_PIXELS


def test_what_beats_is_no_other_scene(beats: dict[str, Beat]) -> None:
    for beat in beats.values():
        likeness = Likeness(0, SCENE_CHANGE)
        found = [likeness.compare(frame(p), None) for p in (*beat.cine.images, beat.cine.images[0])]
        assert set(found[1:]) == {Change.NEW}


def test_the_real_loop_is_one_scene() -> None:
    likeness = Likeness(0, SCENE_CHANGE)
    with open_source(example_loop()) as source:
        found = [likeness.compare(f, f.region) for f in source]
    # Some of its frames are there twice.
    assert set(found[1:]) == {Change.NEW, Change.SAME_PIXELS}


def test_gain_and_a_moving_probe_are_no_other_scene(beats: dict[str, Beat]) -> None:
    for beat in beats.values():
        picture = beat.cine.images[0]
        brighter = np.clip(picture * 1.2 + 6, 0, 255).astype(np.uint8)
        assert change(picture, brighter) is Change.NEW
        moved = np.where(beat.cine.sector, np.roll(picture, 8, axis=1), picture)
        assert change(picture, moved) is Change.NEW


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_another_view_is_another_scene(beats: dict[str, Beat], colour: bool, deep: bool) -> None:
    pictures = [beat.cine.images[0] for beat in beats.values()]
    pictures.append(simulate_image(5, (240, 320), "cyst").image)

    def as_sent(picture: NDArray[np.uint8]) -> Pixels:
        sent = picture.astype(np.uint16) * 257 if deep else picture
        return np.repeat(sent[..., None], 3, 2) if colour else sent

    for one in pictures:
        for other in pictures:
            expected = Change.SAME_PIXELS if one is other else Change.SCENE
            assert change(as_sent(one), as_sent(other)) is expected


def test_tissue_without_the_object_and_the_loss_of_the_picture(beats: dict[str, Beat]) -> None:
    dark = np.clip(np.random.default_rng(0).normal(6, 6, (240, 320)), 0, 255).astype(np.uint8)
    for beat in beats.values():
        assert change(beat.cine.images[0], beat.plain[0]) is Change.SCENE
        assert change(beat.cine.images[0], dark) is Change.SCENE
        assert change(beat.cine.images[0], np.zeros_like(dark)) is Change.SCENE


def test_0_never_says_so(beats: dict[str, Beat]) -> None:
    one, other = (beats[kind].cine.images[0] for kind in ("apical", "vessel"))
    likeness = Likeness(0, 0.0)
    likeness.compare(frame(one), None)
    assert likeness.compare(frame(other), None) is Change.NEW


def test_an_area_that_was_found_meanwhile_is_no_other_scene(beats: dict[str, Beat]) -> None:
    images = beats["short-axis"].cine.images
    likeness = Likeness(0, SCENE_CHANGE)
    areas = [None, None, (60, 20, 260, 220), (60, 20, 260, 220), None]
    found = [likeness.compare(frame(p), a) for p, a in zip(images, areas, strict=False)]
    assert set(found[1:]) == {Change.NEW}


@given(st.integers(16, 70), st.integers(16, 70), st.data())
def test_any_size_and_area(height: int, width: int, data: st.DataObject) -> None:
    x0 = data.draw(st.integers(0, width - 1))
    y0 = data.draw(st.integers(0, height - 1))
    area = (
        x0,
        y0,
        data.draw(st.integers(x0 + 1, width)),
        data.draw(st.integers(y0 + 1, height)),
    )
    one, other = noise(0, (height, width)), noise(1, (height, width))
    assert change(one, one.copy(), area) is Change.SAME_PIXELS
    inside = np.array_equal(
        one[area[1] : area[3], x0 : area[2]], other[area[1] : area[3], x0 : area[2]]
    )
    assert (change(one, other, area) is Change.SAME_PIXELS) == inside
