"""The eager PyTorch model to compare with: the original network, float32, same threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Manifest
from samedge.errors import CheckpointError, MissingDependencyError
from samedge.families import Family
from samedge.geometry.frame_geometry import FrameGeometry

if TYPE_CHECKING:
    import torch

SEED = 1


def require_torch() -> Any:
    """The torch module.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", "export", "comparing with eager PyTorch") from error
    return torch


def eager_model(checkpoint: Any, manifest: Manifest) -> torch.nn.Module:
    """The eager model behind a bundle.

    Args:
        checkpoint: path, or several, that `samedge.open_checkpoint` takes.
        manifest: the bundle's; says what the tensors may leave open.

    Raises:
        CheckpointError: unreadable, or not the checkpoint that the bundle was made from.
        MissingDependencyError: torch is not installed.
    """
    require_torch()
    from samedge.checkpoint import open_checkpoint

    several = isinstance(checkpoint, Sequence) and not isinstance(checkpoint, str)
    paths = [Path(path) for path in (checkpoint if several else [checkpoint])]
    family, size = manifest.family, manifest.variant.input_size
    said: dict[str, Any] = {"family": family.name}
    if family.slices > 1:
        said |= {"slices": family.slices, "chunk": 0 if family.whole_volume else family.slices}
    opened = open_checkpoint(*paths, **said)
    expected = list(manifest.source.sha256)
    if list(opened.sha256) != expected:
        raise CheckpointError(
            f"{', '.join(path.name for path in paths)} is not what this bundle was made "
            "from (its sha256 differs), so a ratio would compare two models; give the checkpoint "
            "that was exported"
        )
    if opened.family.input_size != size:
        opened = open_checkpoint(*paths, **said, input_size=size)
    return opened.build()


def synthetic_samus(vit: str = "vit_b", seed: int = SEED) -> torch.nn.Module:
    """SAMUS of size `vit` ("vit_b", "vit_l", "vit_h", or "tiny" for a quick look at the tool).

    Its weights come from the formula of the reference vectors.

    Raises:
        ModelError: there is no such size.
    """
    require_torch()
    from samedge.models.presets import samus_config, tiny_samus_config
    from samedge.models.synthetic_samus import SyntheticSamus

    config = tiny_samus_config() if vit == "tiny" else samus_config(vit)
    return SyntheticSamus(config, seed).build()


def network_input(frame: NDArray[np.uint8], geometry: FrameGeometry, family: Family) -> Any:
    """The tensor that the eager encoder takes, torch float32 [1 or slices, C, S, S]."""
    require_torch()
    from samedge.fold.probes import eager_input, network_pixels

    return eager_input(network_pixels(frame, family, geometry), family)
