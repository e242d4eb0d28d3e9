"""Tiny checkpoints of all families, as state dicts and as files; no test changes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samedge import models, open_checkpoint
from samedge.errors import CheckpointError
from tests.checkpoint.tiny_files import Files, Refused, StateDict, every_family, whole


@pytest.fixture(scope="session")
def sam_tensors() -> StateDict:
    # The same ViT as the tiny SAMUS, with the grid that its position table is stored for.
    return whole(models.tiny_sam_config(img_size=256), 2)


@pytest.fixture(scope="session")
def samus_tensors() -> StateDict:
    return whole(models.tiny_samus_config(), 1)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes an object with torch.save; returns the path."""

    def save(content: Any, name: str = "weights.pth", **options: Any) -> Path:
        path = tmp_path / name
        torch.save(content, path, **options)
        return path

    return save


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """One file of every kind: sam.pth, samed.pth (the LoRA file), ..."""
    folder = tmp_path_factory.mktemp("files")
    paths = {}
    for name, tensors in every_family().items():
        paths[name] = folder / f"{name}.pth"
        torch.save(tensors[-1], paths[name])
    return paths


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Opens what must not open; the message, which has to fit all patterns in their order."""

    def refuse(*contents: Any, says: tuple[str, ...], error: Any = None, **options: Any) -> str:
        paths = []
        for index, content in enumerate(contents):
            if isinstance(content, Path):
                paths.append(content)
            else:
                paths.append(tmp_path / f"{'abc'[index]}.pth")
                torch.save(content, paths[-1])
        with pytest.raises(error or CheckpointError) as caught:
            open_checkpoint(*paths, **options)
        message = str(caught.value)
        assert re.search(".*".join(says), message, re.DOTALL), message
        assert not [p for p in paths if str(p.parent) in message]
        return message

    return refuse
