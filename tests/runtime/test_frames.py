"""What counts as a frame, and what the error says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from samedge.errors import FrameError, NotSupportedError
from samedge.runtime.frames import as_frame, as_slices

IMAGE = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


@pytest.mark.parametrize(
    ("frame", "shape"),
    [
        (IMAGE[:, :, 0], (20, 30, 1)),
        (IMAGE[:, :, :1], (20, 30, 1)),
        (IMAGE, (20, 30, 3)),
        (IMAGE[::-1, ::2], (20, 15, 3)),
        (IMAGE.tolist(), None),
    ],
)
def test_accepted_shapes(frame: Any, shape: tuple[int, ...] | None) -> None:
    if shape is None:
        with pytest.raises(FrameError, match="int64"):
            as_frame(frame)
        return
    array = as_frame(frame)
    assert array.shape == shape
    assert array.dtype == np.uint8
    assert np.shares_memory(array, frame)


def test_read_only_frames_are_accepted() -> None:
    frame = IMAGE.copy()
    frame.setflags(write=False)
    assert as_frame(frame).shape == (20, 30, 3)


def test_objects_with_array_protocol_are_accepted() -> None:
    class Image:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return IMAGE

    assert as_frame(Image()).shape == (20, 30, 3)


def test_dlpack_on_the_cpu_is_accepted() -> None:
    class Tensor:
        def __dlpack__(self, **options: Any) -> Any:
            return IMAGE.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return IMAGE.__dlpack_device__()

    assert np.shares_memory(as_frame(Tensor()), IMAGE)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (IMAGE.astype(np.float32) / 255, "scale it to 0..255"),
        (np.full((20, 30), np.nan), "NaN"),
        (IMAGE.astype(np.float64), r"from 0 to \d+; .*convert it: frame\.round\(\)\.astype"),
        (IMAGE.astype(np.float32) * 16, "window it"),
        (IMAGE.astype(np.float32) / 255 - 0.5, "from -0.5 to .*window it"),
        (IMAGE.astype(np.int64), r"convert it: frame\.astype\(numpy\.uint8\)"),
        (IMAGE.astype(np.uint16) * 200, "window it"),
        (IMAGE > 3, "multiply it by 255"),
        (np.zeros((20, 30, 4), np.uint8), "drop the alpha channel"),
        (np.zeros((20, 30, 2), np.uint8), "2 channels"),
        (np.zeros((3, 20, 30), np.uint8), "move the channels last"),
        (np.zeros((5, 20, 30, 3), np.uint8), "one frame at a time"),
        (np.zeros((0, 30), np.uint8), "empty"),
        (np.zeros(30, np.uint8), r"shape \[30\]"),
        ("image.png", "samedge segment"),
        (None, "NoneType"),
        (np.array([["a"]]), "convert it to uint8"),
    ],
)
def test_refused_frames_say_what_to_do(frame: Any, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        as_frame(frame)


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(FrameError, match="cannot be read as an array"):
        as_frame([[1, 2], [3]])


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1)])
def test_16_bits_where_they_are_taken(shape: tuple[int, ...]) -> None:
    frame = np.arange(600, dtype=np.uint16).reshape(shape)
    array = as_frame(frame, deep=True)
    assert array.dtype == np.uint16
    assert array.shape == (20, 30, 1)
    assert np.shares_memory(array, frame)
    swapped = frame.astype(">u2")
    with pytest.raises(FrameError, match="came as >u2"):
        as_frame(swapped, deep=True)


@pytest.mark.parametrize(
    ("slices", "shape"),
    [
        (np.stack([IMAGE] * 4), (4, 20, 30, 3)),
        (np.stack([IMAGE] * 4)[..., 0], (4, 20, 30, 1)),
        (np.stack([IMAGE] * 4)[::-2, ..., :1], (2, 20, 30, 1)),
        (np.zeros((2, 20, 30), np.uint16), (2, 20, 30, 1)),
    ],
)
def test_accepted_slices(slices: Any, shape: tuple[int, ...]) -> None:
    array = as_slices(slices, None, deep=True)
    assert array.shape == shape
    assert np.shares_memory(array, slices)
    assert as_slices(slices, shape[0], deep=True).shape == shape
    with pytest.raises(FrameError, match=f"{shape[0]} slices came; expected 9"):
        as_slices(slices, 9, deep=True)


class _Cuda:
    __cuda_array_interface__ = ((20, 30), "|u1")


class _Rocm:
    def __dlpack_device__(self) -> tuple[int, int]:
        return 10, 0


@pytest.mark.parametrize("frame", [_Cuda(), _Rocm()])
def test_gpu_frames_name_the_way_over(frame: Any) -> None:
    with pytest.raises(NotSupportedError, match="asnumpy"):
        as_frame(frame)


@pytest.mark.parametrize("mode", ["RGB", "P", "YCbCr", "HSV", "CMYK", "RGBX"])
def test_colours_of_pil_images(mode: str) -> None:
    """The stored numbers are no RGB in most of these modes."""
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, :10], picture[:, 10:20], picture[:, 20:] = (200, 30, 20), (10, 90, 10), (250, 250, 9)
    array = as_frame(Image.fromarray(picture).convert(mode))
    assert array.shape == (20, 30, 3)
    assert np.abs(array.astype(int) - picture).max() <= (50 if mode == "P" else 4)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_of_pil_images(mode: str) -> None:
    picture = np.zeros((20, 30), np.uint8)
    picture[5:] = 255
    array = as_frame(Image.fromarray(picture).convert(mode))
    np.testing.assert_array_equal(array[..., 0], picture)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa", "LAB"])
def test_pil_images_that_are_refused(mode: str) -> None:
    with pytest.raises(FrameError, match=f"mode {mode}"):
        as_frame(Image.new(mode, (30, 20)))


def test_pil_palettes_with_a_transparent_colour_are_refused() -> None:
    image = Image.new("P", (30, 20))
    image.info["transparency"] = 0
    with pytest.raises(FrameError, match="transparency"):
        as_frame(image)


def test_masked_arrays() -> None:
    """Their mask would be lost without a word."""
    masked = np.ma.masked_greater(IMAGE, 250)
    with pytest.raises(FrameError, match=r"masked values.*frame\.filled\(0\)"):
        as_frame(masked)
    with pytest.raises(FrameError, match="masked values"):
        as_slices(masked[None], None)
    np.testing.assert_array_equal(as_frame(np.ma.asarray(IMAGE)), IMAGE)
