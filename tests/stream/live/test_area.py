"""Where the ultrasound image lies among menus, words and logos."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge.cli.demo import example_loop
from samedge.simulate import simulate_beat
from samedge.simulate.cine import SimulatedCine
from samedge.sources.frame import Box, Frame, Pixels
from samedge.sources.opening import open_source
from samedge.stream.live.area import UltrasoundArea

KINDS = ("apical", "short-axis", "vessel", "bladder")


def frame(pixels: Pixels, region: Box | None = None) -> Frame:
    return Frame(pixels, 0, None, "s", "f", region=region)


@pytest.fixture(scope="module")
def cines() -> dict[str, SimulatedCine]:
    return {kind: simulate_beat(1, (240, 320), kind, rate=8).cine for kind in KINDS}


def on_a_screen(
    cine: SimulatedCine, size: tuple[int, int], place: tuple[int, int], seed: int, noise: float
) -> list[NDArray[np.uint8]]:
    """A loop in a larger frame with a panel, words, a logo, depth marks and a clock that runs."""
    rng = np.random.default_rng(seed)
    base = np.zeros(size, np.uint8)
    height, width = cine.images.shape[1:]
    x, y = place
    base[:, : max(x - 6, 0)] = rng.integers(0, 60)
    for _ in range(20):
        at = (int(rng.integers(0, size[1] - 40)), int(rng.integers(12, size[0])))
        cv2.putText(base, "MI 0.9", at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 200, 1, cv2.LINE_AA)
    cv2.circle(base, (size[1] - 25, 25), 18, 220, -1)
    base[y : y + height, x : x + width] = 0
    frames = []
    for number in range(24):
        picture = base.copy()
        picture[y : y + height, x : x + width] = cine.images[number % len(cine.images)]
        clock = f"12:00:{number:02d}"
        cv2.putText(picture, clock, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1, cv2.LINE_AA)
        if noise:
            picture = np.clip(picture + rng.normal(0, noise, size), 0, 255).astype(np.uint8)
        frames.append(picture)
    return frames


def looked(area: UltrasoundArea, frames: list[NDArray[np.uint8]]) -> None:
    for pixels in frames:
        area.look(frame(pixels))


@settings(max_examples=12)
@given(
    kind=st.sampled_from(KINDS),
    height=st.integers(280, 480),
    width=st.integers(360, 640),
    noise=st.sampled_from([0.0, 3.0]),
    data=st.data(),
)
def test_nothing_of_the_image_is_taken_away(
    cines: dict[str, SimulatedCine],
    kind: str,
    height: int,
    width: int,
    noise: float,
    data: st.DataObject,
) -> None:
    """Wherever it lies, whatever is around it."""
    cine = cines[kind]
    place = data.draw(st.integers(0, width - 320)), data.draw(st.integers(0, height - 240))
    area = UltrasoundArea(True)
    frames = on_a_screen(cine, (height, width), place, data.draw(st.integers(0, 9)), noise)
    looked(area, frames)
    x, y = place
    sector, organ = (np.zeros((height, width), bool) for _ in range(2))
    sector[y : y + 240, x : x + 320] = cine.sector
    organ[y : y + 240, x : x + 320] = cine.labels.any(axis=0)
    x0, y0, x1, y1 = area.crop or (0, 0, width, height)
    seen = np.zeros_like(sector)
    seen[y0:y1, x0:x1] = True
    # Corners in which nothing echoes cannot be seen.
    missing = float(np.mean(~seen[sector]))
    assert missing < 0.01
    shown = area.for_network(np.full_like(frames[-1], 255)) != 0
    hidden = int(np.count_nonzero(organ & ~shown))
    assert hidden == 0
    assert float(shown[sector].mean()) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_found_and_the_rest_is_hidden(cines: dict[str, SimulatedCine], kind: str) -> None:
    cine = cines[kind]
    frames = on_a_screen(cine, (480, 640), (250, 180), 1, 0.0)
    area = UltrasoundArea(True)
    looked(area, frames)
    assert area.crop is not None
    x0, y0, x1, y1 = area.crop
    assert (x1 - x0) * (y1 - y0) < 2.5 * 240 * 320
    shown = area.for_network(frames[-1])
    assert not shown[:100].any()
    assert not shown[:, :150].any()
    assert shown is not frames[-1]
    assert frames[-1][:100].any(), "the frame itself stays as it was"


def test_a_side_in_the_shadow_belongs_to_it() -> None:
    """Beams open evenly to both sides."""
    rows, columns = np.mgrid[:480, :640]
    across = (columns - 320) / np.maximum(rows - 60, 1)
    sector = (np.abs(across) < 0.8) & (np.hypot(columns - 320, rows - 60) < 300)
    lit = sector & (across > -0.45)
    rng = np.random.default_rng(0)
    area = UltrasoundArea(True)
    for _ in range(20):
        area.look(frame(np.where(lit, rng.integers(0, 200, lit.shape), 0).astype(np.uint8)))
    assert area.crop is not None
    x0, _, x1, _ = area.crop
    inside = np.flatnonzero(sector.any(axis=0))
    assert x0 <= inside.min()
    assert x1 > inside.max()


def test_words_are_left_where_they_are_not_to_be_hidden(cines: dict[str, SimulatedCine]) -> None:
    frames = on_a_screen(cines["vessel"], (480, 640), (250, 180), 1, 0.0)
    area = UltrasoundArea(False)
    looked(area, frames)
    assert area.crop is not None
    assert area.for_network(frames[-1]) is frames[-1]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("colour", [False, True])
def test_colours_and_16_bits(cines: dict[str, SimulatedCine], colour: bool, deep: bool) -> None:
    area = UltrasoundArea(True)
    plain = UltrasoundArea(True)
    pictures = on_a_screen(cines["short-axis"], (480, 640), (200, 100), 2, 0.0)
    for pixels in pictures:
        sent: Pixels = pixels.astype(np.uint16) * np.uint16(257) if deep else pixels
        sent = np.repeat(sent[..., None], 3, 2) if colour else sent
        area.look(frame(sent))
        plain.look(frame(pixels))
    assert area.crop == plain.crop is not None
    shown, expected = area.for_network(sent), plain.for_network(pictures[-1])
    assert shown.dtype == sent.dtype
    assert shown.shape == sent.shape
    assert np.array_equal(
        shown[..., 0] if colour else shown, expected * np.uint16(257 if deep else 1)
    )


def test_a_frame_that_says_where_its_image_is_is_believed() -> None:
    area = UltrasoundArea(True)
    area.look(frame(np.zeros((100, 100), np.uint8), (10, 10, 80, 90)))
    assert area.crop == (10, 10, 80, 90)
    area.look(frame(np.zeros((100, 100), np.uint8), (20, 10, 80, 90)))
    assert area.crop == (20, 10, 80, 90)
    area.look(frame(np.zeros((100, 120), np.uint8)))
    assert area.crop is None


@pytest.mark.parametrize("with_region", [True, False])
def test_the_real_loop(with_region: bool) -> None:
    """Its words and menus go, its sector stays."""
    area = UltrasoundArea(True)
    with open_source(example_loop()) as source:
        frames = [f if with_region else replace(f, region=None) for f in source]
    for one in frames:
        area.look(one)
    shown = area.for_network(frames[0].pixels)
    for words in ((slice(0, 28), slice(0, 30)), (slice(226, 240), slice(40, 280))):
        assert frames[0].pixels[words].max() > 90
        assert not shown[words].any()
    heart = slice(35, 195), slice(100, 240)
    assert np.array_equal(shown[heart], frames[0].pixels[heart])
    assert area.crop == (frames[0].region if with_region else None)


def test_without_any_difference_the_whole_frame_is_seen() -> None:
    still = np.random.default_rng(0).integers(0, 255, (200, 300), np.uint8)
    area = UltrasoundArea(True)
    looked(area, [still] * 100)
    assert area.crop is None
    assert area.for_network(still) is still


def test_what_is_no_ultrasound_image_is_not_cropped() -> None:
    """Small things that move all over the frame; it says so once."""
    rng = np.random.default_rng(0)
    area = UltrasoundArea(True)
    notes = set()
    for _ in range(70):
        picture = np.zeros((200, 300), np.uint8)
        for _ in range(6):
            x, y = int(rng.integers(0, 290)), int(rng.integers(0, 190))
            picture[y : y + 6, x : x + 6] = 255
        area.look(frame(picture))
        notes.add(area.note)
        if area.crop is not None:
            break
    x0, y0, x1, y1 = area.crop or (0, 0, 300, 200)
    assert (x1 - x0) * (y1 - y0) >= 0.7 * 200 * 300


def test_a_clock_alone_is_no_image() -> None:
    area = UltrasoundArea(True)
    for number in range(70):
        picture = np.zeros((240, 320), np.uint8)
        words = f"12:00:{number:02d}"
        cv2.putText(picture, words, (100, 100), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255)
        area.look(frame(picture))
    assert area.crop is None
    assert "the whole frame" in area.note
    assert "crop=" in area.note


def test_another_size_or_a_reset_begins_anew(cines: dict[str, SimulatedCine]) -> None:
    frames = on_a_screen(cines["vessel"], (480, 640), (250, 180), 1, 0.0)
    area = UltrasoundArea(True)
    looked(area, frames)
    first = area.crop
    other = np.zeros((481, 640), np.uint8)
    assert area.for_network(other) is other
    area.look(frame(other))
    assert area.crop is None
    looked(area, frames)
    assert area.crop == first
    area.reset()
    assert area.crop is None
    assert area.for_network(frames[0]) is frames[0]
