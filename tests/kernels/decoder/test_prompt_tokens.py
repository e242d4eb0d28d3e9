"""The decoder's tokens against the folded prompt encoder in float64, in the interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted

TOKENS = 5  # IoU token and four mask tokens


def _weights(width: int, scale: float, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "tokens": random(1, TOKENS, width),
        "phase_weight": random(2, width // 2) * scale,
        "phase_bias": random(width // 2),
        "label_table": random(5, width),
    }


def tokens(
    objects: int, points: int, width: int, scale: float = 0.02, capacity: int = 16, **changed: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's tokens, and those of the folded prompt encoder with the fp32 phases."""
    from samedge.fold.decoder_layers import PromptEncoder
    from samedge.fold.layers import Linear
    from samedge.kernels.decoder.prompt_tokens import prompt_tokens

    w = _weights(width, scale, objects + points)
    generator = torch.Generator().manual_seed(points)
    coords = torch.rand(objects, points, 2, generator=generator) * 1024
    labels = torch.randint(-1, 4, (objects, points), generator=generator, dtype=torch.int32)
    labels[0, 0] = -1
    labels[-1, -1] = 2
    run = Guarded()
    given = {name: run.given(x) for name, x in (w | changed).items()}
    out = run.result(
        prompt_tokens(run, run.given(coords), run.given(labels), capacity=capacity, **given)
    )
    prompt = PromptEncoder(Linear(w["phase_weight"], w["phase_bias"]), w["label_table"]).double()
    a, b = w["phase_weight"]
    phases = coords[..., :1] * a + coords[..., 1:] * b + w["phase_bias"]
    prompt.phase.forward = lambda _: phases.double()  # type: ignore[method-assign]
    found = prompt(coords, labels)
    code = torch.cat([w["tokens"].double().expand(objects, -1, -1), found], 1)
    rest = torch.zeros(objects, capacity - code.shape[1], width, dtype=torch.float64)
    return out, torch.cat([code, rest], 1)


@pytest.mark.parametrize(("objects", "points", "width"), [(1, 1, 32), (3, 2, 24), (2, 11, 256)])
def test_tokens(objects: int, points: int, width: int) -> None:
    out, expected = interpreted(tokens, objects, points, width)
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=1e-6)


def test_more_rows() -> None:
    out, expected = interpreted(tokens, 2, 20, 32, capacity=32)
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=1e-6)


def test_large_phases() -> None:
    """Up to 1e4, where the hardware's sine has lost four digits."""
    out, expected = interpreted(tokens, 3, 11, 256, scale=2.0)
    torch.testing.assert_close(out.double(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["tokens", "phase_weight", "phase_bias", "label_table"])
def test_every_weight_counts(name: str) -> None:
    zero = {name: torch.zeros_like(_weights(32, 0.02, 3)[name])}
    out, expected = interpreted(tokens, 1, 2, 32, **zero)
    assert (out.double() - expected).abs().max() > 0.1


@pytest.mark.parametrize(
    ("points", "capacity", "said"),
    [(12, 16, "17 tokens came, expected 1 to 16"), (2, 24, "power of two"), (2, 8, "at least 16")],
)
def test_a_capacity_that_does_not_fit(points: int, capacity: int, said: str) -> None:
    from samedge.errors import DeviceError

    with pytest.raises(DeviceError, match=said):
        interpreted(tokens, 1, points, 32, capacity=capacity)


def found(objects: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Learned tokens with two found ones behind them."""
    from samedge.kernels.decoder.prompt_tokens import found_tokens

    w = _weights(width, 1.0, 1)
    more = torch.randn(objects, 2, width, generator=torch.Generator().manual_seed(2))
    run = Guarded()
    out = run.result(found_tokens(run, run.given(more), run.given(w["tokens"]), 16))
    code = torch.cat([w["tokens"].expand(objects, -1, -1), more], 1)
    return out, torch.cat([code, torch.zeros(objects, 16 - TOKENS - 2, width)], 1)


@pytest.mark.parametrize("objects", [1, 3])
def test_found_tokens(objects: int) -> None:
    out, expected = interpreted(found, objects, 40)
    assert torch.equal(out, expected)
