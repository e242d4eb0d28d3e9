"""What tests of reference vectors share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from samedge.export import exporting
from samedge.fold import folding
from samedge.fold.probes import geometry_of, network_pixels, selftest_prompts


@pytest.fixture
def fewer_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors are stricter than the proofs that fold and export run by themselves, which would
    double the time."""
    monkeypatch.setattr(folding, "selftest_prompts", lambda *about: selftest_prompts(*about)[:1])
    monkeypatch.setattr(exporting, "gate", lambda _bundle: [])


@pytest.fixture
def no_proofs(fewer_proofs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold looks at no image with both models either, which takes longer than a session's start."""
    monkeypatch.setattr(folding, "_encode_both", _unseen)


def _unseen(_model: Any, folded: Any, frame: Any) -> Any:
    """Embeddings of nothing, of the right shape."""
    variant = folded.variant
    geometry = geometry_of(folded.family, variant.input_size, variant.low_res, frame)
    count = len(network_pixels(frame, folded.family, geometry))
    empty = torch.zeros(count, variant.prompt_dim, variant.grid, variant.grid)
    return folding._Encoded(geometry, empty, empty + folded.no_mask.reshape(1, -1, 1, 1), (1, 1))
