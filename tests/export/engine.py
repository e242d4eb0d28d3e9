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
from samedge.fold import FoldedModel
from samedge.models import tiny_sam_config, tiny_samus_config
from tests.fold.oracle import random_model

MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sam": (tiny_sam_config(), {}),
    "samus": (tiny_samus_config(), {}),
    "samus-colour": (tiny_samus_config(), {"channels": 3}),
    # other grids, windows that fit, no global block, no resize in front of the patches
    "sam-other": (tiny_sam_config(img_size=96, window_size=3, global_blocks=(), depth=2), {}),
    "samus-other": (
        tiny_samus_config(img_size=40, patch_size=8, window_size=9, global_blocks=(1,), depth=2),
        {},
    ),
}
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


def random_frame(height: int, width: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [H, W] or [H, W, 3]."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
