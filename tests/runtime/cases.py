"""Tiny models of every family with a bundle and a session each, and what the eager model gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samedge
from samedge.bench.contenders.eager import network_input
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.geometry.mask_values import decide, decision_distance, mask_values
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    SamConfig,
    SamedConfig,
    SamusConfig,
    tiny,
)
from samedge.runtime.openvino.backend import OPENVINO
from tests.fold.oracle import random_model

LIMIT = 1e-4
SIZE = (90, 120)
CONFIGS: dict[str, ModelConfig] = {
    "sam": tiny(SamConfig),
    "medsam": tiny(MedsamConfig),
    "samed": tiny(SamedConfig),
    "msa": tiny(MsaConfig),
    "structures": tiny(MsaConfig, classes=("cup", "disc")),
    "volume": tiny(MsaConfig, slices=2, chunk=2),
    "whole": tiny(MsaConfig, slices=3),
    "samus": tiny(SamusConfig),
    "autosamus": tiny(AutosamusConfig),
    "mobile_sam": tiny(MobileSamConfig),
    "litemedsam": tiny(LiteMedsamConfig),
}
IMAGES = [name for name, config in CONFIGS.items() if config.family.slices == 1]
STACKS = [name for name, config in CONFIGS.items() if config.family.slices > 1]


def random_pixels(*shape: int, seed: int = 0, dtype: Any = np.uint8) -> Any:
    """Random grey levels, of all that the dtype has."""
    levels = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, levels, shape, dtype=dtype)


def grey(seed: int = 0) -> Any:
    return random_pixels(*SIZE, seed=seed)


def rgb(seed: int = 0) -> Any:
    return random_pixels(*SIZE, 3, seed=seed)


class Case:
    """An eager model, its bundle and a session on it."""

    def __init__(self, model: Any, folder: Path) -> None:
        torch.set_num_threads(1)
        self.model = model
        with pytest.MonkeyPatch.context() as patch:  # the gate is not what is tested here
            patch.setattr(OPENVINO, "precisions", lambda: ("fp32",))
            self.bundle = samedge.export(samedge.fold(model), folder / "tiny.samedge").bundle
        self.family = self.bundle.family
        self.session = samedge.load(self.bundle, "openvino", "fp32", threads=1, cache=False)

    @classmethod
    def of(cls, name: str, folder: Path) -> Case:
        """One of `CONFIGS` with random weights."""
        return cls(random_model(CONFIGS[name]), folder)

    def prompts(self, seed: int = 0) -> dict[str, Any]:
        """One object as the family takes it, in a frame of `SIZE`."""
        x, y = np.random.default_rng(seed).integers((10, 10), (60, 50)).tolist()
        if "point" in self.family.prompts:
            return {"points": [(x, y), (y, x)], "labels": [1, 0]}
        return {"box": [x, y, x + 40, y + 35]} if "box" in self.family.prompts else {}

    def geometry(self, frame: Any, crop: Any = None) -> FrameGeometry:
        variant = self.bundle.manifest.variant
        height, width = frame.shape[1:3] if self.family.slices > 1 else frame.shape[:2]
        sizes = variant.input_size, variant.low_res
        return frame_geometry(self.family, height, width, crop, *sizes)

    def eager(
        self, frame: Any, crop: Any = None, index: int = 0, **prompts: Any
    ) -> tuple[Any, Any]:
        """(low-res logits [N * K, L, L], values [N * K, H, W]) of the eager model, for one frame or
        for slice `index` of a stack."""
        geometry = self.geometry(frame, crop)
        given: dict[str, Any] = {"multimask": prompts.get("multimask", False)}
        if "points" in prompts:
            xy = torch.from_numpy(geometry.to_network(prompts["points"]))
            given["point_coords"] = xy if xy.ndim == 3 else xy[None]
            labels = torch.tensor(prompts["labels"])
            given["point_labels"] = labels if labels.ndim == 2 else labels[None]
        if "box" in prompts:
            corners = geometry.boxes_to_network(np.reshape(prompts["box"], (-1, 4)))
            given["boxes"] = torch.from_numpy(corners.reshape(-1, 4))
        if "mask" in prompts:
            given["masks"] = torch.from_numpy(prompts["mask"])[None, None]
        with torch.inference_mode():
            embedding = self.model.encode(network_input(frame, geometry, self.family))
            low_res, _ = self.model.decode(embedding[index : index + 1], **given)
        values = mask_values(low_res.numpy(), geometry, self.family)
        return low_res.flatten(0, 1).numpy(), values.reshape(-1, *values.shape[2:])

    def compare(
        self, result: Any, frame: Any, crop: Any = None, index: int = 0, **prompts: Any
    ) -> Any:
        """`result`, after comparing it with the eager model's."""
        logits, values = self.eager(frame, crop, index, **prompts)
        np.testing.assert_allclose(result.low_res_logits, logits, atol=LIMIT)
        sure = decision_distance(values, self.family) > LIMIT
        expected = decide(values, self.family)
        assert result.masks.dtype == np.uint8
        np.testing.assert_array_equal(result.masks[sure], expected[sure])
        return result

    def check(self, frame: Any, crop: Any = None, **prompts: Any) -> Any:
        """The session's answer, after comparing it with the eager model's."""
        result = self.session.segment(frame, crop=crop, **prompts)
        return self.compare(result, frame, crop, **prompts)
