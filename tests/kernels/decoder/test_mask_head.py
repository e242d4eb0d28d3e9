"""Low-res logits against the folded mask head in float64, in the interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted

EPS = 1e-6
LIMITS = {"fp32": 1e-5, "fp16": 4e-3}


def _weights(width: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(width)
    c, e = width // 4, width // 8

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / shape[0] ** 0.5

    return {
        "up1": random(width, 4 * c),
        "bias1": random(c).repeat(4),
        "weight": 1 + random(c),
        "shift": random(c),
        "up2": random(c, 4 * e),
        "bias2": random(e).repeat(4),
    }


def logits(
    objects: int, masks: int, grid: int, width: int, dtype: str = "fp32", **changed: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's logits, and the folded head's."""
    from samedge.fold.decoder_layers import MaskHead
    from samedge.fold.layers import Linear, Norm
    from samedge.kernels.decoder.mask_head import UpscalingWeights, mask_head
    from samedge.kernels.torch_runner import DTYPES

    w = _weights(width)
    for name in ("up1", "up2"):
        w[name] = w[name].to(DTYPES[dtype])
    generator = torch.Generator().manual_seed(grid)
    keys = torch.randn(objects, grid * grid, width, generator=generator).to(DTYPES[dtype])
    hyper = torch.randn(objects, masks, width // 8, generator=generator)
    run = Guarded()
    x = {name: run.given(tensor) for name, tensor in (w | changed).items()}
    given = UpscalingWeights(
        x["up1"], x["bias1"], (x["weight"], x["shift"]), EPS, x["up2"], x["bias2"]
    )
    out = run.empty((objects, masks, 4 * grid, 4 * grid), "fp32")
    mask_head(run, run.given(keys), given, run.given(hyper), out)

    # Hypernetworks that give what they are given: one token per mask holds its weights.
    same = [[Linear(torch.eye(width // 8))] for _ in range(masks)]
    head = MaskHead(
        Linear(w["up1"], w["bias1"]), Norm(w["weight"], w["shift"], EPS),
        Linear(w["up2"], w["bias2"]), same, [Linear(torch.eye(width // 8))],
    ).double()  # fmt: skip
    tokens = torch.cat([hyper[:, :1], hyper], 1).double()
    expected, _ = head(tokens, tuple(range(masks)), keys.double())
    return run.result(out), expected


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("objects", "masks", "grid", "width"), [(1, 1, 8, 32), (3, 4, 5, 24), (2, 11, 13, 48)]
)
def test_logits(objects: int, masks: int, grid: int, width: int, dtype: str) -> None:
    out, expected = interpreted(logits, objects, masks, grid, width, dtype)
    assert (out.double() - expected).abs().max() / expected.abs().max() < LIMITS[dtype]


def test_true_width() -> None:
    out, expected = interpreted(logits, 1, 3, 6, 256, "fp16")
    assert (out.double() - expected).abs().max() / expected.abs().max() < LIMITS["fp16"]


@pytest.mark.parametrize("name", sorted(_weights(32)))
def test_every_weight_counts(name: str) -> None:
    zero = {name: torch.zeros_like(_weights(32)[name])}
    out, expected = interpreted(logits, 1, 1, 5, 32, **zero)
    assert (out.double() - expected).abs().max() / expected.abs().max() > 0.02


def test_every_column_counts() -> None:
    """Channels of up1 in another order (a and b exchanged) do not pass."""
    up1 = _weights(32)["up1"].reshape(32, 2, 2, 8).transpose(1, 2).reshape(32, 32)
    out, expected = interpreted(logits, 1, 1, 5, 32, up1=up1)
    assert (out.double() - expected).abs().max() / expected.abs().max() > 0.1
