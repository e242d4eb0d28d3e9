"""Hypernetworks and scores against the folded mask head in float64, in the interpreter."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted

EPS = 1e-5
LIMITS = {"fp32": 1e-5, "fp16": 4e-3}
MASKS = 4
Layers = list[tuple[torch.Tensor, torch.Tensor]]


def _weights(width: int, inner: int, depth: int, wide: int) -> tuple[dict[str, Any], list[Layers]]:
    """Projection and norm; IoU head of `depth` layers `wide` columns wide, and hypernetworks."""
    generator = torch.Generator().manual_seed(width + depth)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / shape[0] ** 0.5

    def mlp(*sizes: int) -> Layers:
        pairs = pairwise(sizes)
        return [(random(a, b), random(b) * b**0.5 / 2) for a, b in pairs]

    heads = [mlp(width, *[wide] * (depth - 1), MASKS)]
    heads += [mlp(width, width, width, width // 8) for _ in range(MASKS)]
    w = {"proj": random(inner, width), "proj_bias": random(width) * 4}
    w |= {"norm": 1 + random(width), "norm_bias": random(width) * 4}
    return w, heads


def final(
    objects: int,
    tokens: int,
    width: int = 32,
    index: tuple[int, ...] | None = None,
    dtype: str = "fp32",
    depth: int = 3,
    wide: int = 32,
    rows: int = 0,
    first_mask: int = 0,
    stacked: dict[str, float] | None = None,
    **changed: Any,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The kernel's hypernetworks' weights and scores with the right ones.

    `stacked` multiplies tensors of the stacked heads, as a control.
    """
    from samedge.fold.decoder_layers import _relu_mlp
    from samedge.fold.layers import Linear, Norm
    from samedge.kernels.decoder.final_tokens import HeadWeights, final_tokens, stacked_heads
    from samedge.kernels.torch_runner import DTYPES

    inner, half = width // 2, DTYPES[dtype]
    w, heads = _weights(width, inner, depth, wide)
    w["proj"] = w["proj"].to(half)
    heads = [[(a.to(half).float(), b) for a, b in layers] for layers in heads]
    names = ("layers", "biases", "last", "last_bias")
    tensors = dict(zip(names, stacked_heads(heads), strict=True))
    for name, factor in (stacked or {}).items():
        tensors[name] *= factor
    for name in ("layers", "last"):
        tensors[name] = tensors[name].to(half)

    generator = torch.Generator().manual_seed(tokens)
    x = torch.full((objects, 16, width), float("nan"))
    x[:, :tokens] = torch.randn(objects, tokens, width, generator=generator)
    y = torch.full((objects, rows or tokens, inner), float("nan"), dtype=half)
    y[:, :tokens] = torch.randn(objects, tokens, inner, generator=generator).to(half)
    run = Guarded()
    g = {name: run.given(tensor) for name, tensor in (w | changed).items()}
    chosen = tuple(range(MASKS)) if index is None else index
    scores = run.empty((objects, len(chosen)), "fp32")
    hyper = final_tokens(
        run, run.given(x), run.given(y), (g["proj"], g["proj_bias"]), (g["norm"], g["norm_bias"]),
        EPS, HeadWeights(*(run.given(tensors[name]) for name in names), width // 8), scores,
        None if index is None else run.given(torch.tensor(index)), first_mask,
    )  # fmt: skip

    seen = y[:, :tokens].double() @ w["proj"].double() + w["proj_bias"]
    out = Norm(w["norm"], w["norm_bias"], EPS).double()(x[:, :tokens].double() + seen)
    mlps = [torch.nn.ModuleList(Linear(a, b) for a, b in layers).double() for layers in heads]
    expected = torch.stack(
        [_relu_mlp(mlps[1 + m], out[:, 1 + first_mask + m]) for m in range(MASKS)], 1
    )
    at = [max(0, min(m, MASKS - 1)) for m in chosen]
    return [
        (run.result(hyper), expected[:, at]),
        (run.result(scores), _relu_mlp(mlps[0], out[:, 0])[:, at]),
    ]


def error(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The largest difference in parts of the largest value; NaN if there is one."""
    return float(
        torch.stack([(a.double() - b).abs().max() / b.abs().max() for a, b in pairs]).max()
    )


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("objects", "tokens", "width", "index", "rows"),
    [(1, 5, 32, None, 5), (3, 7, 24, (2,), 16), (17, 16, 80, (3, 0, 3), 16)],
)
def test_final_tokens(
    objects: int, tokens: int, width: int, index: tuple[int, ...] | None, rows: int, dtype: str
) -> None:
    pairs = interpreted(final, objects, tokens, width, index, dtype, rows=rows)
    assert error(pairs) < LIMITS[dtype]


@pytest.mark.parametrize(("depth", "wide"), [(2, 40), (4, 16), (5, 33), (3, 96)])
def test_other_iou_heads(depth: int, wide: int) -> None:
    assert error(interpreted(final, 1, 5, depth=depth, wide=wide)) < LIMITS["fp32"]


@pytest.mark.parametrize("index", [None, (2, 1)])
def test_masks_of_later_tokens(index: tuple[int, ...] | None) -> None:
    assert error(interpreted(final, 2, 7, index=index, first_mask=1)) < LIMITS["fp32"]


def test_true_width() -> None:
    pairs = interpreted(final, 1, 7, 256, (0,), "fp16", wide=256)
    assert error(pairs) < LIMITS["fp16"]


@pytest.mark.parametrize("name", ["proj", "proj_bias", "norm", "norm_bias"])
def test_every_weight_counts(name: str) -> None:
    zero = {name: torch.zeros_like(_weights(32, 16, 3, 32)[0][name])}
    assert error(interpreted(final, 1, 5, **zero)) > 0.02


@pytest.mark.parametrize("name", ["layers", "biases", "last", "last_bias"])
def test_every_part_of_the_heads_counts(name: str) -> None:
    assert error(interpreted(final, 1, 5, stacked={name: 0.0})) > 0.02


def test_a_mask_that_there_is_not() -> None:
    (hyper, right), (scores, _) = interpreted(final, 2, 5, index=(1, 4, -1))
    assert torch.isnan(hyper[:, 1:]).all()
    assert torch.isnan(scores[:, 1:]).all()
    torch.testing.assert_close(hyper[:, 0].double(), right[:, 0], atol=1e-4, rtol=1e-4)
    assert not torch.isnan(scores[:, 0]).any()
