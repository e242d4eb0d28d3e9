"""A model that is folded without values has the sizes of one that is folded with them."""

from __future__ import annotations

import pytest
import torch

import samedge
from samedge.fold.sizes import folded_sizes, unfolded_sizes
from samedge.models import ModelConfig
from tests.fold.oracle import random_model
from tests.fold.test_exact import TINY


@pytest.mark.parametrize("name", list(TINY))
def test_the_same_sizes(name: str) -> None:
    config = TINY[name]
    assert isinstance(config, ModelConfig)
    real = samedge.fold(random_model(config), compare=False)
    sizes = folded_sizes(unfolded_sizes(config))
    assert sizes.variant == real.variant
    assert sizes.family == real.family
    found, expected = (
        {key: value.shape for key, value in model.state_dict().items()} for model in (sizes, real)
    )
    assert found == expected
    assert sizes.decoder.masks == real.decoder.masks


def test_no_memory_is_taken() -> None:
    sizes = folded_sizes(unfolded_sizes(next(iter(TINY.values()))))
    large = [p for p in sizes.parameters() if p.numel() > 1]
    assert all(p.untyped_storage().nbytes() == 4 for p in large if p.stride(-1) == 0)
    assert all(float(p.abs().sum()) == 0 for p in large if p.stride(-1) == 0)
    assert not any(p.is_meta for p in sizes.parameters())


def test_constants_are_right() -> None:
    """The enlargement of SAMUS depends on no weight."""
    config = next(c for c in TINY.values() if getattr(c, "resized", c.img_size) != c.img_size)
    sizes = folded_sizes(unfolded_sizes(config)).encoder.patch_embed.resize
    assert sizes is not None
    torch.testing.assert_close(sizes.sum(1), torch.ones(len(sizes)))
