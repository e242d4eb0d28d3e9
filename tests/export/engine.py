"""Folded models of random weights, and their graphs in ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

import samedge
from samedge.families import Family
from samedge.fold import FoldedModel
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.geometry.network_input import encoder_inputs
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    MsaConfig,
    SamConfig,
    SamedConfig,
    tiny,
    tiny_sam_config,
    tiny_samus_config,
)
from tests.fold.oracle import random_model

LORA = {"adapter_ratio": 0.0, "lora_rank": 2, "lora_layers": ("attn.qkv", "mlp.lin1")}
ODD = {"img_size": 40, "patch_size": 8, "window_size": 9, "global_blocks": (1,), "depth": 2}
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sam": (tiny_sam_config(), {}),
    "medsam": (tiny(MedsamConfig), {}),
    "samed": (tiny(SamedConfig), {}),
    "samed_s": (tiny(SamedConfig, decoder_rank=2), {}),
    "msa": (tiny(MsaConfig), {}),
    "structures": (tiny(MsaConfig, classes=("cup", "disc")), {}),
    "lora": (tiny(MsaConfig, **LORA), {}),
    "volume": (tiny(MsaConfig, slices=4, chunk=2), {}),
    "whole": (tiny(MsaConfig, slices=3), {}),
    "samus": (tiny_samus_config(), {}),
    "autosamus": (tiny(AutosamusConfig), {}),
    "mobile_sam": (tiny(MobileSamConfig), {}),
    "litemedsam": (tiny(LiteMedsamConfig), {}),
    "samus-colour": (tiny_samus_config(), {"channels": 3}),
    "samed-colour": (tiny(SamedConfig), {"channels": 3}),
    "volume-colour": (tiny(MsaConfig, slices=2, chunk=2), {"channels": 3}),
    # other grids, windows that fit, no global block, no resize in front of the patches
    "sam-other": (tiny_sam_config(img_size=96, window_size=3, global_blocks=(), depth=2), {}),
    "samus-other": (tiny_samus_config(**ODD), {}),
    "autosamus-other": (tiny(AutosamusConfig, **ODD, generator_depth=1, feature_ratio=2), {}),
    "whole-other": (
        tiny(MsaConfig, img_size=48, patch_size=16, window_size=2, stored_grid=3, slices=2),
        {},
    ),
}
# Those whose encoder is a vision transformer of equal blocks.
VITS = [name for name, (config, _) in MODELS.items() if isinstance(config, SamConfig)]
FOLDED: dict[str, FoldedModel] = {}


def folded_model(name: str) -> FoldedModel:
    """One of `MODELS`, folded once; not to be changed."""
    if name not in FOLDED:
        config, options = MODELS[name]
        FOLDED[name] = samedge.fold(random_model(config), **options)
    return FOLDED[name]


@dataclass
class Engine:
    """Both graphs of a model in ONNX Runtime, on one thread."""

    folded: FoldedModel
    encoder: onnxruntime.InferenceSession
    decoder: onnxruntime.InferenceSession

    def run(self, graph: str, inputs: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Outputs by name; of `inputs` only what the graph has."""
        session = getattr(self, graph)
        names = [value.name for value in session.get_inputs()]
        results = session.run(None, {name: inputs[name] for name in names})
        return dict(zip((v.name for v in session.get_outputs()), results, strict=True))


def open_graph(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def geometry_of(folded: FoldedModel, height: int, width: int, crop: Any = None) -> FrameGeometry:
    v = folded.variant
    return frame_geometry(folded.family, height, width, crop, v.input_size, v.low_res)


def encoder_feed(
    family: Family, geometry: FrameGeometry, frame: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Inputs of an encoder graph for a frame, or a stack of slices, uint8 or uint16."""
    leading = 1 if family.slices > 1 else 0
    channels = frame.shape[-1] if frame.ndim == 3 + leading else 1
    inputs, pixels = encoder_inputs(family, geometry, channels, 8 * frame.dtype.itemsize)
    pixels[:] = frame.reshape(pixels.shape)
    return inputs


def random_stack(
    family: Family, height: int, width: int, channels: int, seed: int = 0, dtype: Any = np.uint8
) -> NDArray[Any]:
    """A random frame for a family; [slices, H, W] or [slices, H, W, 3] for a family of volumes."""
    shape: tuple[int, ...] = (height, width) if channels == 1 else (height, width, channels)
    if family.slices > 1:
        shape = (family.slices, *shape)
    levels = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, levels, shape, dtype=dtype)


def random_frame(height: int, width: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [H, W] or [H, W, 3]."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
