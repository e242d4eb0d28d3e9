"""Loops and volumes on one page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.drawing.contact_sheet import Cell, contact_sheet, round_up


@given(st.floats(1e-6, 1e9))
def test_axis_ends_are_round_and_high_enough(value: float) -> None:
    top = round_up(value)
    assert value * (1 - 1e-9) <= top <= value * 2.01


@pytest.mark.parametrize("count", [1, 3, 12])
def test_contact_sheets(count: int) -> None:
    cells = [
        Cell(np.full((300, 400, 3), 200, np.uint8), f"frame {i}", "area") for i in range(count)
    ]
    sheet = contact_sheet(cells, "a.dcm", "30 frames", [[1.0, 5.0]] * 7, "mm2", "a notice")
    assert sheet.shape[1] == 1600
    assert (sheet == 200).all(axis=2).sum() > count * 300 * 100


@pytest.mark.parametrize("count", [1, 40])
def test_legends_take_the_rows_they_need(count: int) -> None:
    cells = [Cell(np.full((300, 400, 3), 200, np.uint8), "slice 1")]
    legend = [(f"structure {i}", (250, 1, i)) for i in range(count)]
    plain = contact_sheet(cells, "a.nii.gz")
    sheet = contact_sheet(cells, "a.nii.gz", legend=legend, step="slice")
    assert sheet.shape[0] - plain.shape[0] == 8 + 24 * (1 if count == 1 else 4)
    for _, colour in legend:
        assert (sheet == colour).all(axis=2).any()
