"""Colour conversion as a matrix, against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from samedge.errors import FrameError
from samedge.families import SAM, SAMUS
from samedge.geometry.network_input import colour_matrix


@pytest.mark.parametrize("red", [0, 1, 77, 128, 254, 255])
def test_grey_is_that_of_opencv(red: int) -> None:
    green, blue = np.meshgrid(np.arange(256), np.arange(256))
    frame = np.stack([np.full_like(green, red), green, blue], axis=-1).astype(np.uint8)
    grey = np.floor(frame.astype(np.float32) @ colour_matrix(SAMUS, 3) + np.float32(0.5))
    np.testing.assert_array_equal(grey[..., 0], cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def test_other_maps() -> None:
    np.testing.assert_array_equal(colour_matrix(SAM, 3), np.eye(3))
    np.testing.assert_array_equal(colour_matrix(SAM, 1), np.ones((1, 3)))
    np.testing.assert_array_equal(colour_matrix(SAMUS, 1), np.ones((1, 1)))


def test_other_channels_are_refused() -> None:
    with pytest.raises(FrameError, match="not 4"):
        colour_matrix(SAM, 4)
