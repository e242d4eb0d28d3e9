"""Both halves of a decoder layer's tokens against the folded layer in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted

EPS = 1e-5
LIMITS = {"fp32": 1e-5, "fp16": 4e-3}
MATRICES = ("qk", "v", "proj", "q", "to_proj", "lin1", "lin2", "from_k", "from_v")


def _weights(width: int, inner: int, hidden: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(width + hidden)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / shape[0] ** 0.5

    w = {
        "qk": random(width, 2 * width),
        "v": random(width, width),
        "proj": random(width, width),
        "q": random(width, inner),
        "to_proj": random(inner, width),
        "lin1": random(width, hidden),
        "lin2": random(hidden, width),
        "from_k": random(width, inner),
        "from_v": random(width, inner),
    }
    w |= {f"{name}_bias": torch.randn(x.shape[1], generator=generator) for name, x in w.items()}
    for name in ("norm1", "norm2", "norm3"):
        w[name] = 1 + torch.randn(width, generator=generator) / 4
        w[f"{name}_bias"] = torch.randn(width, generator=generator) / 2
    return w


def _tokens(objects: int, tokens: int, capacity: int, *widths: int) -> list[torch.Tensor]:
    """Random tokens; rows behind the last one are NaN, and may be anything."""
    generator = torch.Generator().manual_seed(tokens)
    rest = [torch.full((objects, capacity - tokens, width), float("nan")) for width in widths]
    return [torch.cat([torch.randn(objects, tokens, x.shape[2], generator=generator), x], 1)
            for x in rest]  # fmt: skip


def _given(
    run: Any, w: dict[str, torch.Tensor], dtype: str, changed: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """Rounds the matrices of w in place, and hands all of it to the runner."""
    from samedge.kernels.torch_runner import DTYPES

    for name in MATRICES:
        w[name] = w[name].to(DTYPES[dtype])
    return {name: run.given(x) for name, x in (w | changed).items()}


def self_half(
    objects: int,
    tokens: int,
    width: int = 32,
    heads: int = 8,
    mode: str = "scores",
    residual: bool = True,
    dtype: str = "fp32",
    capacity: int = 16,
    said: int = 0,
    **changed: Any,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The kernels' tokens and queries with the right ones; `said` tokens are claimed instead."""
    from samedge.fold.decoder_layers import TokenAttention
    from samedge.fold.layers import Linear, Norm
    from samedge.kernels.decoder.token_self import SelfWeights, token_self

    inner = width // 2
    w, run = _weights(width, inner, 64), Guarded()
    g = _given(run, w, dtype, changed)
    x, code = _tokens(objects, tokens, capacity, width, width)
    given = SelfWeights(
        (g["qk"], g["qk_bias"]), g["v"], (g["proj"], g["proj_bias"]),
        (g["norm1"], g["norm1_bias"]), EPS, (g["q"], g["q_bias"]),
    )  # fmt: skip
    out = token_self(
        run, run.given(x), run.given(code), said or tokens, heads, given,
        code_mode=mode, residual=residual,
    )  # fmt: skip
    attention = TokenAttention(
        Linear(w["qk"], w["qk_bias"]), Linear(w["v"]), Linear(w["proj"], w["proj_bias"]), heads
    ).double()
    norm = Norm(w["norm1"], w["norm1_bias"], EPS).double()
    x, code = x[:, :tokens].double(), code[:, :tokens].double()
    if mode == "tokens":
        x = x + code
    y = attention(x + code if mode == "scores" else x, x)
    x = norm(x + y if residual else y)
    expected = [x, (x + code) @ w["q"].double() + w["q_bias"].double()]
    return [(run.result(a)[:, :tokens], b) for a, b in zip(out, expected, strict=True)]


def update_half(
    objects: int,
    tokens: int,
    width: int = 32,
    hidden: int = 64,
    dtype: str = "fp32",
    capacity: int = 16,
    rows: int = 0,
    biases: bool = True,
    said: int = 0,
    **changed: Any,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The kernels' tokens, keys and values with the right ones; y has `rows` rows per object."""
    from samedge.fold.layers import Norm
    from samedge.kernels.decoder.token_update import UpdateWeights, token_update
    from samedge.kernels.torch_runner import DTYPES

    inner = width // 2
    w, run = _weights(width, inner, hidden), Guarded()
    g = _given(run, w, dtype, changed)
    x, code = _tokens(objects, tokens, capacity, width, width)
    (y,) = _tokens(objects, tokens, rows or tokens, inner)
    y = y.to(DTYPES[dtype])
    given = UpdateWeights(
        (g["to_proj"], g["to_proj_bias"]), (g["norm2"], g["norm2_bias"]),
        (g["norm3"], g["norm3_bias"]), EPS, (g["lin1"], g["lin1_bias"]),
        (g["lin2"], g["lin2_bias"]), (g["from_k"], g["from_k_bias"] if biases else None),
        (g["from_v"], g["from_v_bias"] if biases else None),
    )  # fmt: skip
    out = token_update(run, run.given(x), run.given(y), run.given(code), said or tokens, given)
    d = {name: tensor.double() for name, tensor in w.items()}
    x, code, y = x[:, :tokens].double(), code[:, :tokens].double(), y[:, :tokens].double()
    x = Norm(w["norm2"], w["norm2_bias"], EPS).double()(x + y @ d["to_proj"] + d["to_proj_bias"])
    mlp = torch.relu(x @ d["lin1"] + d["lin1_bias"]) @ d["lin2"] + d["lin2_bias"]
    x = Norm(w["norm3"], w["norm3_bias"], EPS).double()(x + mlp)
    bias_k, bias_v = (d[f"{name}_bias"] * biases for name in ("from_k", "from_v"))
    expected = [x, (x + code) @ d["from_k"] + bias_k, x @ d["from_v"] + bias_v]
    return [(run.result(a)[:, :tokens], b) for a, b in zip(out, expected, strict=True)]


def error(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The largest difference in parts of the largest value; NaN if there is one."""
    return float(
        torch.stack([(a.double() - b).abs().max() / b.abs().max() for a, b in pairs]).max()
    )


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("objects", "tokens", "width", "heads"), [(1, 5, 32, 8), (3, 16, 24, 2), (2, 1, 80, 4)]
)
def test_self_half(objects: int, tokens: int, width: int, heads: int, dtype: str) -> None:
    pairs = interpreted(self_half, objects, tokens, width, heads, dtype=dtype)
    assert error(pairs) < LIMITS[dtype]


@pytest.mark.parametrize("mode", ["none", "scores", "tokens"])
@pytest.mark.parametrize("residual", [False, True])
def test_where_the_code_goes(mode: str, residual: bool) -> None:
    assert error(interpreted(self_half, 2, 6, mode=mode, residual=residual)) < LIMITS["fp32"]


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("objects", "tokens", "width", "hidden", "rows"),
    [(1, 5, 32, 64, 5), (3, 16, 24, 200, 16), (2, 1, 80, 96, 16)],
)
def test_update_half(
    objects: int, tokens: int, width: int, hidden: int, rows: int, dtype: str
) -> None:
    pairs = interpreted(update_half, objects, tokens, width, hidden, dtype, rows=rows)
    assert error(pairs) < LIMITS[dtype]


def test_keys_and_values_without_bias() -> None:
    assert error(interpreted(update_half, 1, 6, biases=False)) < LIMITS["fp32"]


@pytest.mark.parametrize(("tokens", "capacity"), [(7, 16), (21, 32)])
def test_true_widths(tokens: int, capacity: int) -> None:
    pairs = interpreted(self_half, 1, tokens, 256, 8, dtype="fp16", capacity=capacity)
    pairs += interpreted(update_half, 1, tokens, 256, 512, dtype="fp16", capacity=capacity)
    assert error(pairs) < LIMITS["fp16"]


@pytest.mark.parametrize(
    "name",
    ["qk", "qk_bias", "v", "proj", "proj_bias", "norm1", "norm1_bias", "q", "q_bias"],
)
def test_every_weight_of_the_self_half_counts(name: str) -> None:
    zero = {name: torch.zeros_like(_weights(32, 16, 64)[name])}
    assert error(interpreted(self_half, 1, 5, **zero)) > 0.01


@pytest.mark.parametrize(
    "name",
    [
        "to_proj", "to_proj_bias", "norm2", "norm2_bias", "norm3", "norm3_bias", "lin1",
        "lin1_bias", "lin2", "lin2_bias", "from_k", "from_k_bias", "from_v", "from_v_bias",
    ],
)  # fmt: skip
def test_every_weight_of_the_update_half_counts(name: str) -> None:
    zero = {name: torch.zeros_like(_weights(32, 16, 64)[name])}
    assert error(interpreted(update_half, 1, 5, **zero)) > 0.01


@pytest.mark.parametrize("said", [4, 6])
def test_the_number_of_tokens_counts(said: int) -> None:
    """One token too few or too many: an output that nobody wrote, or NaN as a key."""
    assert not error(interpreted(self_half, 1, 5, said=said)) < 1.0
