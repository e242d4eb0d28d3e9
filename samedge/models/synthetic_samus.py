"""SAMUS with weights from the formula: for a demo without a download."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict

import torch

from samedge.models.build import SAMUS_BUILDER, build_samus
from samedge.models.config import SamusConfig
from samedge.models.presets import samus_config
from samedge.models.samus import Samus
from samedge.models.synthetic import synthetic_state_dict, synthetic_tensor

SEED = 1
_SMALL = 4096  # values


class SyntheticSamus:
    """The model, and a digest that tells whether its weights are still the same.

    Args:
        config: sizes; None: SAMUS ViT-B.
        seed: of the formula.
    """

    def __init__(self, config: SamusConfig | None = None, seed: int = SEED) -> None:
        self._seed = seed
        self._config = config or samus_config("vit_b")
        self._shapes = SAMUS_BUILDER.shapes(asdict(self._config))

    def digest(self) -> str:
        """SHA-256 over all names and shapes and the values of the small tensors.

        Every rule of the formula has small tensors or scales them by their shape, so this changes
        with the formula, and takes no time; all 100 million values would take seconds.
        """
        digest = hashlib.sha256(f"seed {self._seed}".encode())
        for name, shape in self._shapes.items():
            digest.update(f"{name} {shape}".encode())
            if math.prod(shape) <= _SMALL:
                digest.update(synthetic_tensor(name, shape, self._seed).tobytes())
        return digest.hexdigest()

    def build(self) -> Samus:
        """The torch model, in eval mode."""
        arrays = synthetic_state_dict(self._shapes, self._seed)
        return build_samus(self._config, {k: torch.from_numpy(v) for k, v in arrays.items()})
