"""IMAGE messages of any kind as 8-bit frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import SourceError
from samedge.openigtlink.image import Image, first_pixel_matrix
from samedge.sources.openigtlink_frames import FrameMaker, spacing_of
from tests.openigtlink.peers import matrix, picture


def image(pixels: np.ndarray) -> Image:
    """An image of `[H, W]`, `[H, W, C]` or `[K, H, W, C]`."""
    pixels = pixels[None, :, :, None] if pixels.ndim == 2 else pixels
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    return Image(pixels, matrix(), (pixels.shape[2], pixels.shape[1], pixels.shape[0]))


def made(pixels: np.ndarray, window: tuple[float, float] | None = None) -> tuple[np.ndarray, str]:
    notes: list[str] = []
    found, _ = FrameMaker("igtl-1", window, notes.append).make(image(pixels))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    return found, " ".join(notes)


def test_eight_bits_stay_as_they_are() -> None:
    found, notes = made(picture())
    np.testing.assert_array_equal(found, picture())
    assert notes == ""


def test_opacity_is_left_out() -> None:
    pixels = np.stack([picture(), picture() // 2, picture() // 3, picture() // 4], axis=2)
    found, notes = made(pixels)
    np.testing.assert_array_equal(found, pixels[..., :3])
    assert "the fourth, as opacity, is left out" in notes


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize(
    ("largest", "white"), [(200, 255), (1000, 1023), (4095, 4095), (32767, 65535)]
)
def test_sixteen_bits_by_the_bits_that_are_used(dtype: type, largest: int, white: int) -> None:
    pixels = np.linspace(0, largest, 48 * 64).reshape(48, 64).astype(dtype)
    found, notes = made(pixels)
    np.testing.assert_array_equal(found, np.round(pixels / (white / 255)))
    assert f"0 to {white} go from black to white" in notes


def test_the_scale_does_not_flicker() -> None:
    notes: list[str] = []
    maker = FrameMaker("igtl-1", None, notes.append)
    bright, dark = np.full((20, 20), 4000, np.uint16), np.full((20, 20), 400, np.uint16)
    for pixels, grey in ((bright, 249), (dark, 25), (bright, 249), (dark, 25)):
        assert maker.make(image(pixels))[0].max() == grey
    assert len(notes) == 1


def test_negative_values_are_black() -> None:
    pixels = np.full((20, 20), -5, np.int16)
    pixels[0, 0] = 255
    found, _ = made(pixels)
    assert (found[0, 0], found[1, 1]) == (255, 0)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32, np.float32, np.float64])
def test_other_types_need_a_window(dtype: type) -> None:
    pixels = np.zeros((20, 20), dtype)
    with pytest.raises(SourceError, match="window=BLACK,WHITE"):
        made(pixels)
    pixels[0] = 100
    found, _ = made(pixels, (-100.0, 100.0))
    assert (found[0, 0], found[1, 0]) == (255, 128)


def test_a_window_for_eight_bits_and_for_nans() -> None:
    found, _ = made(picture(), (50.0, 100.0))
    expected = np.clip(np.round((picture().astype(np.float32) - 50) * 5.1), 0, 255)
    np.testing.assert_array_equal(found, expected)
    pixels = np.array([[np.nan, np.inf, -np.inf, 0.5] * 5] * 20, np.float32)
    found, _ = made(pixels, (0.0, 1.0))
    assert found[0, :4].tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize("components", [2, 5])
def test_components_that_are_no_colour(components: int) -> None:
    with pytest.raises(SourceError, match=f"images of {components} components"):
        made(np.zeros((20, 20, components), np.uint8))


@pytest.mark.parametrize(("slices", "middle"), [(3, 1), (4, 1), (1, 0)])
def test_of_several_slices_the_middle_one(slices: int, middle: int) -> None:
    pixels = np.stack([picture(number=k) for k in range(slices)])[..., None]
    notes: list[str] = []
    volume = image(pixels)
    found, where = FrameMaker("igtl-1", None, notes.append).make(volume)
    assert found[0, 0] == middle
    assert len(notes) == (slices > 1)
    # A pixel of the slice lies where it lies in the volume.
    in_slice = first_pixel_matrix(where, (64, 48, 1)) @ [5, 6, 0, 1]
    in_volume = first_pixel_matrix(volume.matrix, volume.size) @ [5, 6, middle, 1]
    np.testing.assert_allclose(in_slice, in_volume, atol=1e-5)


def test_parts_are_laid_over_what_was_there() -> None:
    maker = FrameMaker("igtl-1", None, lambda _: None)
    first = Image(np.full((1, 10, 32, 1), 7, np.uint8), matrix(), (32, 20, 1), (0, 10, 0))
    found, _ = maker.make(first)
    assert (found[:10] == 0).all()
    assert (found[10:] == 7).all()
    second = Image(np.full((1, 1, 2, 1), 9, np.uint8), matrix(), (32, 20, 1), (30, 19, 0))
    after, _ = maker.make(second)
    assert after[19].tolist() == [7] * 30 + [9] * 2
    assert (found[10:] == 7).all()
    # Another size or type begins anew.
    other = Image(np.full((1, 1, 2, 1), 9, np.uint16), matrix(), (32, 20, 1), (0, 0, 0))
    assert np.count_nonzero(maker.make(other)[0]) == 2


@given(st.floats(0.05, 2.0), st.floats(0.05, 2.0), st.integers(0, 100))
def test_spacing_by_any_orientation(row: float, column: float, seed: int) -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    place = np.eye(4)
    place[:3, :3] = axes * [column, row, 1.0]
    found, why = spacing_of(place, 200, 100)
    assert why == ""
    assert found == pytest.approx((row, column))


@pytest.mark.parametrize(
    ("spacing", "known"),
    [
        ((0.2, 0.2), True),
        ((1.0, 1.0), False),
        ((1.0, 0.9), True),
        ((1e-5, 0.2), False),
        ((5, 5), False),
    ],
)
def test_spacing_that_can_be(spacing: tuple[float, float], known: bool) -> None:
    found, why = spacing_of(matrix(spacing), 480, 480)
    assert (found is not None) == known
    assert bool(why) != known


def test_a_transform_without_a_scale_tells_nothing() -> None:
    assert spacing_of(np.eye(4), 480, 640, np.eye(4))[0] is None
    assert spacing_of(np.eye(4), 480, 640, np.full((4, 4), np.nan))[0] is None
    assert spacing_of(np.eye(4), 480, 640, np.diag([0.1, 0.2, 0.3, 1]))[0] == pytest.approx(
        (0.2, 0.1)
    )
