"""Values to grey levels: windows, stretching, NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samedge.errors import SourceError
from samedge.sources.intensity import Intensity, choose_range, parse_window

FINITE = st.floats(-1e6, 1e6)


@given(FINITE, st.floats(1e-3, 1e6))
def test_windows_come_back(low: float, width: float) -> None:
    assert parse_window(f" {low!r}, {low + width!r}") == (low, low + width)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "nan,1", "0,inf", "5,5", "9,1"])
def test_no_windows(text: str) -> None:
    with pytest.raises(SourceError, match="a window is LOW,HIGH"):
        parse_window(text)


@given(st.text(max_size=20))
def test_any_text_is_a_window_or_a_source_error(text: str) -> None:
    try:
        low, high = parse_window(text)
    except SourceError:
        return
    assert low < high


@pytest.mark.parametrize(("deep", "white"), [(False, 255), (True, 65535)])
def test_a_ct_window_is_linear_and_clipped(deep: bool, white: int) -> None:
    values = np.array([[-1024, -125, 75, 275, 3000]], np.int16)
    levels = Intensity((-125, 275), deep).stretch(values, (-125, 275))
    assert levels.dtype == (np.uint16 if deep else np.uint8)
    assert levels.tolist() == [[0, 0, round(white / 2), white, white]]


@given(arrays(np.float64, 20, elements=FINITE), st.booleans())
def test_stretching_keeps_the_order(values: np.ndarray, deep: bool) -> None:
    intensity = Intensity(deep=deep)
    levels = intensity.stretch(values, (float(values.min()), float(values.max())))
    assert (np.diff(levels[np.argsort(values)].astype(int)) >= 0).all()
    assert levels.min() == 0
    assert levels.max() == (intensity.white if values.max() > values.min() else 0)


def test_what_becomes_black_and_white() -> None:
    heard: list[str] = []
    slices = [np.array([[0.0, 0.25]]), np.array([[0.5, 0.5]])]
    assert choose_range(Intensity(), slices, True, "a.npz", heard.append) == (0, 1)
    assert choose_range(Intensity((2, 3)), slices, True, "a.npz", heard.append) == (2, 3)
    assert heard == []
    slices[1] *= 4
    assert choose_range(Intensity(), slices, True, "a.npz", heard.append) == (0, 2)
    integers = [np.array([[0, 1]], np.int16)]
    assert choose_range(Intensity(), integers, False, "a.npz", heard.append) == (0, 1)
    assert "own range 0..2" in heard[0]
    assert len(heard) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_is_named_with_its_slice(bad: float) -> None:
    slices = [np.zeros((2, 2)), np.array([[0, bad], [bad, 0]])]
    with pytest.raises(SourceError, match=r"a\.npz holds 2 NaN or infinite values in slice 1"):
        choose_range(Intensity(), slices, True, "a.npz", lambda _: None)


def test_a_range_that_no_float_holds() -> None:
    slices = [np.array([[-1.7e308, 1.7e308]])]
    with pytest.raises(SourceError, match="--window LOW,HIGH"):
        choose_range(Intensity(), slices, True, "a.npz", lambda _: None)
