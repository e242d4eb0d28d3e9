"""Attention a few matrices at a time is the same attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samedge.kernels import chunks
from samedge.kernels.chunks import few_at_a_time
from samedge.models import PromptableModel, SamConfig, tiny_sam_config, tiny_samus_config
from tests.fold.oracle import halves, random_model

ONE = (8 * 8) ** 2  # scores of one head in a tiny model's global blocks


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 100))
def test_every_matrix_once_and_in_order(count: int, scores: int, room: int) -> None:
    seen: list[int] = []

    def attend(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x + y

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "SCORES", room)
        x = torch.arange(count * 3.0).reshape(count, 3)
        assert torch.equal(few_at_a_time(attend, scores, x, 2 * x), 3 * x)
    assert sum(seen) == count
    assert max(seen) * scores <= max(room, scores)


def random_pixels(model: PromptableModel) -> torch.Tensor:
    side = model.config.img_size
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("config", [tiny_sam_config(), tiny_samus_config()])
@pytest.mark.parametrize("folded", [False, True])
def test_encoders(config: SamConfig, folded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(config)
    x = random_pixels(model)
    encode: Any = halves(model)[0] if folded else model.encode
    x = x[:, : model.family.channels] if folded else x
    with torch.inference_mode():
        whole = encode(x)
        monkeypatch.setattr(chunks, "SCORES", ONE)
        torch.testing.assert_close(encode(x), whole, atol=1e-5, rtol=1e-5)


def test_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(tiny_sam_config())

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model.encode(random_pixels(model)).square().mean().backward()
        return [p.grad.clone() for p in model.image_encoder.parameters()]

    whole = gradients()
    monkeypatch.setattr(chunks, "SCORES", ONE)
    for ours, expected in zip(gradients(), whole, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
