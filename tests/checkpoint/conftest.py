"""Tiny checkpoints of both families, as state dicts; no test changes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samedge import models
from samedge.models.synthetic import synthetic_state_dict

StateDict = dict[str, Tensor]


def synthetic(model: nn.Module, seed: int) -> StateDict:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return {k: torch.from_numpy(v) for k, v in synthetic_state_dict(shapes, seed).items()}


@pytest.fixture(scope="session")
def sam_tensors() -> StateDict:
    # The same ViT as the tiny SAMUS, with the grid that its position table is stored for.
    return synthetic(models.build_sam(models.tiny_sam_config(img_size=256)), 2)


@pytest.fixture(scope="session")
def samus_tensors() -> StateDict:
    return synthetic(models.build_samus(models.tiny_samus_config()), 1)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes an object with torch.save; returns the path."""

    def save(content: Any, name: str = "weights.pth", **options: Any) -> Path:
        path = tmp_path / name
        torch.save(content, path, **options)
        return path

    return save
