"""samedge/train/data/shrink.py: Pillow, to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from samedge.families import SAMUS
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import resize_frame
from samedge.train.data.shrink import pil_resize

SIDE = st.integers(1, 150)


@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from([1, 3]))
@example(300, 20, 17, 19, 1)  # the vertical pass comes first
@example(64, 64, 64, 64, 3)
@example(64, 200, 64, 30, 1)
def test_pillow(height: int, width: int, new_height: int, new_width: int, channels: int) -> None:
    rng = np.random.default_rng(height * 301 + width)
    image = rng.choice(np.array([0, 1, 127, 254, 255], np.uint8), (height, width, channels))
    image = image[..., 0] if channels == 1 else image
    small = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
    assert np.array_equal(pil_resize(image, new_height, new_width), np.asarray(small))


@given(st.integers(16, 300), st.integers(16, 300))
def test_the_same_as_at_inference(height: int, width: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width), dtype=np.uint8)
    geometry = frame_geometry(SAMUS, height, width)
    assert np.array_equal(pil_resize(image, 256, 256), resize_frame(image, geometry, SAMUS))
