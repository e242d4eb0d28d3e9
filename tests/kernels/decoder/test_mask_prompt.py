"""Keys with and without a mask prompt, against the folded layer in float64, in the interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted

EPS = 1e-6
LIMITS = {"fp32": 1e-5, "fp16": 4e-3}


def _weights(c: int, d: int, width: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(c * d + width)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / shape[0] ** 0.5

    return {
        "lin1": random(4, c),
        "bias1": random(c),
        "weight1": 1 + random(c),
        "shift1": random(c),
        "lin2": random(4 * c, d),
        "bias2": random(d),
        "weight2": 1 + random(d),
        "shift2": random(d),
        "lin3": random(d, width),
        "bias3": random(width),
    }


def keys(
    prompts: int,
    grid: int,
    width: int,
    c: int = 4,
    d: int = 16,
    dtype: str = "fp32",
    has: float = 1.0,
    **changed: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's keys, and the folded layer's from the same weights."""
    from samedge.fold.decoder_layers import MaskPrompt
    from samedge.fold.layers import Linear, Norm
    from samedge.kernels.decoder.mask_prompt import MaskWeights, mask_prompt
    from samedge.kernels.torch_runner import DTYPES

    w = _weights(c, d, width)
    for name in ("lin1", "lin2", "lin3"):
        w[name] = w[name].to(DTYPES[dtype])
    generator = torch.Generator().manual_seed(grid)
    embedding = torch.randn(1, width, grid, grid, generator=generator)
    mask = torch.randn(prompts, 1, 4 * grid, 4 * grid, generator=generator) * 8
    has_mask = torch.ones(prompts)
    has_mask[0] = has
    run = Guarded()
    x = {name: run.given(tensor) for name, tensor in (w | changed).items()}
    given = MaskWeights(
        x["lin1"], x["bias1"], (x["weight1"], x["shift1"]),
        x["lin2"], x["bias2"], (x["weight2"], x["shift2"]), x["lin3"], x["bias3"], EPS,
    )  # fmt: skip
    out = mask_prompt(run, run.given(embedding), run.given(mask), run.given(has_mask), given)
    layer = MaskPrompt(
        Linear(w["lin1"], w["bias1"]), Norm(w["weight1"], w["shift1"], EPS),
        Linear(w["lin2"], w["bias2"]), Norm(w["weight2"], w["shift2"], EPS),
        Linear(w["lin3"], w["bias3"]),
    ).double()  # fmt: skip
    expected = embedding.double().flatten(2).transpose(1, 2)
    return run.result(out), expected + layer(mask.double(), has_mask.double())


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("prompts", "grid", "width", "c", "d"),
    [(1, 8, 32, 4, 16), (3, 5, 24, 4, 16), (2, 9, 96, 3, 12), (1, 5, 256, 8, 32)],
)
def test_keys(prompts: int, grid: int, width: int, c: int, d: int, dtype: str) -> None:
    out, expected = interpreted(keys, prompts, grid, width, c, d, dtype)
    scale = expected.abs().max()
    assert (out.double() - expected).abs().max() / scale < LIMITS[dtype]


def test_without_a_mask() -> None:
    """has_mask is 0 for the first object: the embedding alone, exactly."""
    out, expected = interpreted(keys, 2, 5, 32, has=0.0)
    assert torch.equal(out[0].double(), expected[0])
    torch.testing.assert_close(out[1].double(), expected[1], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(_weights(4, 16, 32)))
def test_every_weight_counts(name: str) -> None:
    zero = {name: torch.zeros_like(_weights(4, 16, 32)[name])}
    out, expected = interpreted(keys, 1, 5, 32, **zero)
    assert (out.double() - expected).abs().max() > 0.03


def plain(count: int, grid: int, width: int, dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys of an embedding, and the same by torch."""
    from samedge.kernels.decoder.mask_prompt import keys_of

    embedding = torch.randn(count, width, grid, grid, generator=torch.Generator().manual_seed(3))
    run = Guarded()
    out = run.result(keys_of(run, run.given(embedding), dtype))
    return out, embedding.flatten(2).transpose(1, 2).to(out.dtype)


@pytest.mark.parametrize(
    ("count", "grid", "width", "dtype"),
    [(1, 8, 32, "fp32"), (3, 7, 40, "fp16"), (1, 17, 96, "fp16")],
)
def test_keys_of_an_embedding(count: int, grid: int, width: int, dtype: str) -> None:
    out, expected = interpreted(plain, count, grid, width, dtype)
    assert torch.equal(out, expected)
