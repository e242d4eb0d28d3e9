"""The image's look at the tokens, against the folded layer's operations in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted

EPS = 1e-5
LIMITS = {"fp32": 1e-5, "fp16": 4e-3}


def _inputs(
    objects: int, shared: int, grid: int, tokens: int, width: int, inner: int, capacity: int
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(objects + grid)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    junk = torch.full((objects, capacity - tokens, inner), 3e4)
    junk[:, 1:] = float("nan")  # rows that no token has may hold anything
    return {
        "image": random(shared, grid * grid, 3 * inner),
        "k": torch.cat([random(objects, tokens, inner), junk], 1),
        "v": torch.cat([random(objects, tokens, inner), junk], 1),
        "keys": random(shared, grid * grid, width),
        "proj": random(inner, width) / inner**0.5,
        "bias": random(width),
        "weight": 1 + random(width) / 4,
        "shift": random(width),
    }


def update(
    objects: int,
    shared: int,
    grid: int,
    tokens: int,
    heads: int = 8,
    width: int = 32,
    inner: int = 16,
    dtype: str = "fp32",
    capacity: int = 16,
    said: int = 0,
    **changed: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's keys, and those of float64; `said` tokens are claimed instead."""
    from samedge.kernels import reference as ops
    from samedge.kernels.decoder.image_update import image_update
    from samedge.kernels.torch_runner import DTYPES

    x = _inputs(objects, shared, grid, tokens, width, inner, capacity)
    for name in ("image", "k", "v", "keys", "proj"):
        x[name] = x[name].to(DTYPES[dtype])
    run = Guarded()
    given = {name: run.given(tensor) for name, tensor in (x | changed).items()}
    out = image_update(
        run,
        given["image"].columns(2 * inner, 3 * inner),
        given["k"],
        given["v"],
        given["keys"],
        said or tokens,
        heads,
        (given["proj"], given["bias"]),
        (given["weight"], given["shift"]),
        EPS,
    )
    y = {name: tensor.double() for name, tensor in x.items()}
    q, k, v = y["image"][..., 2 * inner :], y["k"][:, :tokens], y["v"][:, :tokens]
    seen = torch.cat([ops.attention(q[n % shared][None], k[n][None], v[n][None], heads)
                      for n in range(objects)])  # fmt: skip
    expected = ops.layer_norm(
        y["keys"] + ops.linear(seen, y["proj"], y["bias"]), y["weight"], y["shift"], EPS
    )
    return run.result(out), expected


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("objects", "shared", "grid", "tokens", "heads", "width", "inner"),
    [
        (1, 1, 8, 6, 8, 32, 16),
        (3, 1, 5, 15, 2, 24, 24),
        (2, 2, 9, 3, 3, 48, 36),
        (2, 2, 5, 1, 3, 48, 36),
    ],
)
def test_update(
    objects: int,
    shared: int,
    grid: int,
    tokens: int,
    heads: int,
    width: int,
    inner: int,
    dtype: str,
) -> None:
    out, expected = interpreted(update, objects, shared, grid, tokens, heads, width, inner, dtype)
    assert (out.double() - expected).abs().max() / expected.abs().max() < LIMITS[dtype]


@pytest.mark.parametrize(("tokens", "capacity"), [(7, 16), (21, 32)])
def test_true_widths(tokens: int, capacity: int) -> None:
    out, expected = interpreted(update, 1, 1, 6, tokens, 8, 256, 128, "fp16", capacity)
    assert (out.double() - expected).abs().max() / expected.abs().max() < LIMITS["fp16"]


@pytest.mark.parametrize("name", ["image", "keys", "proj", "bias", "weight", "shift"])
def test_every_input_counts(name: str) -> None:
    zero = {name: torch.zeros_like(_inputs(1, 1, 5, 6, 32, 16, 16)[name])}
    out, expected = interpreted(update, 1, 1, 5, 6, **zero)
    assert (out.double() - expected).abs().max() > 0.1


def test_one_token_too_few() -> None:
    out, expected = interpreted(update, 1, 1, 5, 6, said=5)
    assert (out.double() - expected).abs().max() > 0.1


def test_one_token_too_many() -> None:
    out, expected = interpreted(update, 1, 1, 5, 6, said=7)
    assert (out.double() - expected).abs().max() > 0.1
