"""The number in the pixels, behind everything that pixels go through."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge.drawing.counter_strip import LARGEST, draw_counter, read_counter, strip_height
from samedge.errors import FrameError
from samedge.simulate import simulate_image

NUMBERS = st.integers(0, LARGEST)


def picture(height: int = 240, width: int = 320, colour: bool = False) -> NDArray[np.uint8]:
    shape = (height, width, 3) if colour else (height, width)
    return np.random.default_rng(height + width).integers(0, 256, shape, np.uint8)


@given(NUMBERS, st.integers(64, 500), st.integers(96, 700), st.booleans())
def test_any_number_in_any_frame(number: int, height: int, width: int, colour: bool) -> None:
    pixels = picture(height, width, colour)
    before = pixels.copy()
    draw_counter(pixels, number)
    assert read_counter(pixels) == number
    above = height - strip_height(height)
    assert np.array_equal(pixels[:above], before[:above])


def test_it_starts_again_after_the_largest() -> None:
    pixels = picture()
    draw_counter(pixels, LARGEST + 1)
    assert read_counter(pixels) == 0


@given(NUMBERS, st.integers(20, 95))
def test_through_jpeg(number: int, quality: int) -> None:
    pixels = picture(480, 640)
    draw_counter(pixels, number)
    _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert read_counter(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)) == number


@given(NUMBERS, st.integers(120, 1200), st.integers(160, 1600), st.sampled_from([0, 1, 3]))
def test_through_scaling(number: int, height: int, width: int, way: int) -> None:
    """Nearest, linear, area: up and down, also without keeping the ratio."""
    pixels = picture(480, 640)
    draw_counter(pixels, number)
    scaled = cv2.resize(pixels, (width, height), interpolation=way)
    assert read_counter(np.asarray(scaled, np.uint8)) == number


@given(NUMBERS, st.floats(0.5, 1.0), st.integers(0, 40))
def test_through_a_tint_and_a_narrow_range(number: int, share: float, offset: int) -> None:
    """As masks lie over pixels, and as video has 16 for black."""
    pixels = picture(480, 640, colour=True)
    draw_counter(pixels, number)
    tinted = np.clip(pixels * share + offset, 0, 255).astype(np.uint8)
    tinted[..., 1] //= 2
    assert read_counter(tinted) == number


def test_through_h264(tmp_path: object) -> None:
    av = pytest.importorskip("av")
    path = f"{tmp_path}/x.mp4"
    numbers = [0, 1, 2, 70000, 99, LARGEST, 12345, 7]
    scene = np.repeat(simulate_image(1, (240, 320)).image[..., None], 3, 2)
    with av.open(path, "w") as container:
        stream = container.add_stream("h264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in numbers:
            pixels = scene.copy()
            draw_counter(pixels, number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        found = [read_counter(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert found == numbers


@given(NUMBERS, st.integers(2, 23), st.integers(1, 4))
def test_a_misread_is_none(number: int, first: int, count: int) -> None:
    """One wrong block, or up to four in a row."""
    pixels = np.zeros((480, 640), np.uint8)
    draw_counter(pixels, number)
    strip = pixels[480 - strip_height(480) :]
    for block in range(first, min(first + count, 24)):
        x0, x1 = round(block * 640 / 24), round((block + 1) * 640 / 24)
        strip[:, x0:x1] = 255 - strip[:, x0:x1]
    assert read_counter(pixels) is None


@given(st.integers(16, 300), st.integers(24, 300), st.integers(0, 9))
def test_what_has_no_strip_is_none(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width), np.uint8)
    for pixels in (np.zeros_like(noise), np.full_like(noise, 255), noise // 2):
        assert read_counter(pixels) is None


def test_half_a_block_in_each_colour_is_none() -> None:
    """A frame that is torn between two numbers."""
    one, other = (np.zeros((480, 640), np.uint8) for _ in range(2))
    draw_counter(one, 0b0101)
    draw_counter(other, 0b1010)
    torn = np.concatenate([one[:472], other[472:]])
    assert read_counter(torn) is None


def test_two_frames_in_one_are_none() -> None:
    """As cameras and scalers of frame rates blend them."""
    one, other = (np.zeros((480, 640), np.uint8) for _ in range(2))
    draw_counter(one, 0b0101)
    draw_counter(other, 0b1010)
    blended = (0.6 * one + 0.4 * other).astype(np.uint8)
    assert read_counter(blended) is None


@pytest.mark.parametrize(("height", "width"), [(63, 640), (480, 95)])
def test_small_frames_are_refused(height: int, width: int) -> None:
    with pytest.raises(FrameError, match=f"{width} x {height} px is too small"):
        draw_counter(np.zeros((height, width), np.uint8), 1)
    with pytest.raises(FrameError, match="0 or more"):
        draw_counter(picture(), -1)
