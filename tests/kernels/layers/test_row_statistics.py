"""Row statistics against torch in float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted


def statistics(
    rows: int, width: int, dtype: str, eps: float = 1e-6, centred: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's answer, and the right one."""
    from samedge.kernels.layers.row_statistics import row_statistics
    from samedge.kernels.torch_runner import DTYPES

    generator = torch.Generator().manual_seed(rows * width)
    x = (torch.randn(rows, width, generator=generator) * 3 + 1).to(DTYPES[dtype])
    run = Guarded()
    out = run.result(row_statistics(run, run.given(x), eps, centred))
    exact = x.double()
    mean = torch.zeros(rows, dtype=torch.float64) if centred else exact.mean(1)
    variance = (exact - mean[:, None]).square().mean(1)
    return out, torch.stack([mean, (variance + eps).rsqrt()], 1)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 7), (65, 768), (130, 100)])
@pytest.mark.parametrize("centred", [False, True])
def test_mean_and_deviation(rows: int, width: int, dtype: str, centred: bool) -> None:
    out, expected = interpreted(statistics, rows, width, dtype, centred=centred)
    torch.testing.assert_close(out.double(), expected, atol=2e-6, rtol=2e-6)
