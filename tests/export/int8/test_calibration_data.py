"""Which frames are taken for calibration, and what is said about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import FrameError
from samedge.export.int8.calibration_data import LIMIT, choose_frames, look
from samedge.families import SAMUS
from tests.export.int8.cases import ultrasound

STACKS = replace(SAMUS, slices=4)


@given(st.integers(1, 400), st.integers(1, 20))
def test_evenly_spread(count: int, limit: int) -> None:
    frames = (np.full((4, 4), i % 256, np.uint8) + np.uint8(0) for i in range(count))
    data = choose_frames(frames, SAMUS, "folder", limit)
    assert data.offered == count
    assert len(data.frames) == min(count, limit)
    places = [int(frame[0, 0]) for frame in data.frames]
    assert places[0] == 0
    if count <= 256:
        assert places == sorted(set(places))
        gaps = np.diff([*places, count])
        assert gaps.max() <= 4 * max(1, count // limit)


def test_no_frame() -> None:
    with pytest.raises(FrameError, match=r"set \(video\) holds no frame; expected some ultrasound"):
        choose_frames([], SAMUS, "video")


@pytest.mark.parametrize(
    "bad",
    [np.full((8, 8), np.nan), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8), np.float32), "a.png",
     np.zeros((0, 8), np.uint8)],
)  # fmt: skip
def test_what_is_no_frame_is_named(bad: object) -> None:
    with pytest.raises(FrameError, match="calibration frame 2: the frame came"):
        choose_frames([*ultrasound(2), bad], SAMUS)


def test_the_hash_tells_data_apart() -> None:
    frames = ultrasound(3)
    first = choose_frames(frames, SAMUS).sha256()
    assert choose_frames(frames, SAMUS).sha256() == first
    assert choose_frames(frames[::-1], SAMUS).sha256() != first
    frames[1] = frames[1].copy()
    frames[1][0, 0] += 1
    assert choose_frames(frames, SAMUS).sha256() != first


def test_frames_are_copies() -> None:
    """A video's decoder uses its buffers again."""
    buffer = np.zeros((8, 8), np.uint8)

    def decoder() -> object:
        for value in (10, 20):
            buffer[:] = value
            yield buffer

    assert [int(f[0, 0]) for f in choose_frames(decoder(), SAMUS).frames] == [10, 20]


def test_ultrasound_is_not_warned_about() -> None:
    assert not choose_frames(ultrasound(16), SAMUS).warnings


def photograph() -> np.ndarray:
    y, x = np.mgrid[0:96, 0:96]
    return np.stack([120 + y, 200 - x // 2, 60 + (x + y) // 2], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (photograph(), "coloured"),
        (np.full((64, 64), 7, np.uint8), "nearly empty"),
        (np.tile(np.linspace(20, 110, 256), (256, 1)).astype(np.uint8), "without speckle"),
        (np.random.default_rng(0).integers(100, 256, (64, 64), dtype=np.uint8), "bright"),
    ],
)
def test_other_images_are_warned_about(frame: np.ndarray, words: str) -> None:
    (warning,) = choose_frames([frame] * 10, SAMUS).warnings
    assert warning.startswith("the calibration frames do not look like ultrasound")
    assert words in warning


def test_few_frames_and_selftests_are_warned_about() -> None:
    assert "only 3 calibration frames" in choose_frames(ultrasound(3), SAMUS).warnings[0]
    (warning,) = choose_frames([photograph()], SAMUS, "self-test").warnings
    assert "self-test frames; real frames" in warning
    assert LIMIT >= 16


def test_look_does_not_depend_on_the_pixel_size() -> None:
    small = ultrasound(1, 256)[0]
    large = np.kron(small, np.ones((3, 3), np.uint8))
    one, other = look(small), look(large)
    assert one.mean == pytest.approx(other.mean)
    assert one.edges == pytest.approx(other.edges)
    assert one.black == pytest.approx(other.black)


def test_frames_become_stacks() -> None:
    frames = ultrasound(9, 32)
    data = choose_frames(frames, STACKS)
    assert [stack.shape for stack in data.frames] == [(4, 32, 32)] * 2  # the ninth is left over
    np.testing.assert_array_equal(data.frames[1], np.stack(frames[4:8]))
    volume = np.stack(frames[:4])
    np.testing.assert_array_equal(choose_frames([volume], STACKS).frames[0], volume)


def test_frames_of_another_size_begin_a_new_stack() -> None:
    frames = [*ultrasound(3, 32), *ultrasound(4, 40)]
    assert [stack.shape for stack in choose_frames(frames, STACKS).frames] == [(4, 40, 40)]
