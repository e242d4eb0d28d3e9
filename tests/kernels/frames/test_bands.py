"""Bands of matrices in the interpreter, and what is lost with coefficients that are left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samedge.families import MEDSAM, SAMED, SAMUS, Family
from samedge.geometry.frame_geometry import frame_geometry
from tests.kernels.interpreted import Guarded, interpreted


def bands_of(matrix: torch.Tensor, least: float) -> torch.Tensor:
    """First and behind-last nonzero column."""
    from samedge.kernels.frames.bands import bands

    run = Guarded()
    return run.result(bands(run, run.given(matrix), least))


@pytest.mark.parametrize("size", [1, 30, 1500])
def test_bands(size: int) -> None:
    matrix = torch.zeros(2, 5, size)
    matrix[0, 1, 0], matrix[1, 2, -1], matrix[0, 3, size // 2] = 1, -2, 1e-6
    matrix[1, 4, size // 3], matrix[0, 4, 2 * size // 3] = 3, 4
    expected = [[0, 0], [0, 1], [size - 1, size], [0, 0], [size // 3, 2 * size // 3 + 1]]
    assert interpreted(bands_of, matrix, 1e-5).tolist() == expected
    expected[3] = [size // 2, size // 2 + 1]
    assert interpreted(bands_of, matrix, 0.0).tolist() == expected
    assert interpreted(bands_of, matrix[0], 0.0)[2].tolist() == [0, 0]


def threshold(family: Family) -> float:
    """Of the family's coefficients."""
    from samedge.kernels.frames.bands import negligible

    return negligible(family)


@pytest.mark.parametrize("height", [16, 480, 1080, 3000])
@pytest.mark.parametrize(
    ("family", "bound"),
    [(MEDSAM, 2.0**-34), (SAMED, 2.0**-21), (SAMUS, 0.0)],
    ids=["cubic", "zoom", "pil"],
)
def test_what_is_left_out_adds_up_to_nothing(family: Family, bound: float, height: int) -> None:
    matrix = np.abs(frame_geometry(family, height, 32).rows.astype(np.float64))
    used = (matrix > interpreted(threshold, family)).any(axis=0)
    first = used.argmax(1)[:, None]
    last = height - used[:, ::-1].argmax(1)[:, None]
    column = np.arange(height)
    outside = (column < first) | (column >= last)
    assert (matrix * outside).sum(axis=2).max() <= bound
    if family is not SAMUS and height > 100:
        assert outside.mean() > (matrix == 0).all(axis=0).mean()
