"""A very small SAMUS checkpoint, and the bundle that the command line makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.cli import run


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """samus.pth with about 0.1 M values; read-only."""
    import torch

    from samedge.models import build_samus, tiny_samus_config
    from samedge.models.synthetic import synthetic_state_dict

    shapes = {k: tuple(v.shape) for k, v in build_samus(tiny_samus_config()).state_dict().items()}
    tensors = {k: torch.from_numpy(v) for k, v in synthetic_state_dict(shapes, seed=1).items()}
    path = tmp_path_factory.mktemp("checkpoint") / "samus.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="session")
def exported(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `tiny_checkpoint`, made by `samedge export`; read-only."""
    path = tmp_path_factory.mktemp("bundle") / "samus.samedge"
    assert run(["export", str(tiny_checkpoint), "-o", str(path), "--quiet"]) == 0
    return path


@pytest.fixture(scope="session")
def half_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with half-precision graphs."""
    path = tmp_path_factory.mktemp("half") / "half.samedge"
    arguments = ["export", str(tiny_bundle), "-o", str(path), "--precision", "fp32,fp16"]
    assert run([*arguments, "--quiet"]) == 0
    return path
