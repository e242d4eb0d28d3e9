"""The constant enlargement against its matrix in float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch

from samedge.geometry.filters import bilinear_matrix
from tests.kernels.interpreted import Guarded, interpreted


def enlarged(
    side: int, out: int, planes: tuple[int, int], dtype: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's answer, and the right one."""
    from samedge.kernels.layers.resize import resize, taps
    from samedge.kernels.torch_runner import DTYPES

    generator = torch.Generator().manual_seed(side + out)
    pixels = torch.rand(*planes, side, side, generator=generator).to(DTYPES[dtype])
    matrix = torch.from_numpy(bilinear_matrix(out, side)).float()
    first, weights = taps(matrix)
    run = Guarded()
    got = resize(run, run.given(pixels), run.given(first), run.given(weights))
    return run.result(got), matrix.double() @ pixels.double() @ matrix.double().t()


@pytest.mark.parametrize(("dtype", "limit"), [("fp32", 1e-6), ("fp16", 5e-4)])
@pytest.mark.parametrize(
    ("side", "out", "planes"),
    [(1, 3, (1, 1)), (16, 17, (1, 3)), (31, 33, (2, 1)), (64, 66, (2, 3)), (40, 29, (1, 1))],
)
def test_against_the_matrix(
    side: int, out: int, planes: tuple[int, int], dtype: str, limit: float
) -> None:
    got, expected = interpreted(enlarged, side, out, planes, dtype)
    torch.testing.assert_close(got.double(), expected, atol=limit, rtol=limit)


def tables(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix that the tables stand for; a third column beyond the last."""
    from samedge.kernels.layers.resize import taps

    first, weights = taps(matrix)
    dense = torch.zeros(len(matrix), matrix.shape[1] + 1)
    row = torch.arange(len(matrix))
    for i in range(2):
        dense[row, first.long() + i] += weights[:, i]
    return dense


def test_tables_are_the_matrix() -> None:
    matrix = torch.from_numpy(bilinear_matrix(264, 256)).float()
    matrix[7] = 0
    dense = interpreted(tables, matrix)
    assert torch.equal(dense[:, :-1], matrix)
    assert not dense[:, -1].any()


@pytest.mark.parametrize("row", [(1.0, 0.0, 2.0, 0.0), (0.0, 1.0, 1.0, 1.0)])
def test_more_than_two_neighbours_are_refused(row: tuple[float, ...]) -> None:
    from samedge.errors import DeviceError

    with pytest.raises(DeviceError, match="more than 2"):
        interpreted(tables, torch.tensor([row, (1.0, 0, 0, 0)]))
