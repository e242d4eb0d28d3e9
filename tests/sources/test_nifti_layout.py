"""Slices of NIfTI arrays, and the way back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from samedge.sources.nifti_layout import NiftiLayout


@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=3),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_there_and_back(lengths: list[int], trailing: int, axis: int) -> None:
    """Whatever the shape: `array` undoes `slices`."""
    shape = tuple(lengths) + (1,) * (trailing if len(lengths) == 3 else 0)
    layout = NiftiLayout(None, shape, axis)
    array = np.arange(int(np.prod(shape))).reshape(shape)
    slices = layout.slices(array)
    assert slices.shape == layout.frames
    np.testing.assert_array_equal(layout.array(np.ascontiguousarray(slices)), array)


def test_one_slice_over_time_and_back() -> None:
    layout = NiftiLayout(None, (4, 3, 1, 5), 2)
    array = np.arange(60).reshape(layout.shape)
    np.testing.assert_array_equal(layout.slices(array), array[:, :, 0].transpose(2, 1, 0))
    np.testing.assert_array_equal(layout.array(layout.slices(array)), array)
