"""A small bundle: real in every respect but its graphs, which nothing here opens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.bundle import INTENDED_USE, Bundle, BundleWriter, SelfTest
from samedge.families import SAMUS


@pytest.fixture
def manifest() -> dict[str, Any]:
    """What an exporter hands to `commit`."""
    return {
        "family": SAMUS.to_json(),
        "variant": {"vit": "vit_b", "input_size": 64, "low_res": 32, "grid": 8, "channels": 1},
        "title": "SAMUS, a very small one",
        "graphs": {
            name: {
                "fp32": {
                    "file": f"{name}.fp32.onnx",
                    "inputs": [{"name": "frame", "dtype": "uint8", "shape": ["H", "W", 1]}],
                    "outputs": [{"name": "scores", "dtype": "float32", "shape": ["N", 1]}],
                }
            }
            for name in ("encoder", "decoder")
        },
        "source": {"sha256": ["0f" * 32], "format": "pth"},
        "tools": {"numpy": np.__version__},
        "fold_report": {"max_error": 1.5e-6, "steps": [{"what": "adapters", "count": 12}]},
        "parity": [
            {"backend": "openvino", "precision": "fp32", "dice": np.float32(1), "passed": True}
        ],
        "intended_use": INTENDED_USE,
    }


@pytest.fixture
def selftest() -> SelfTest:
    """One object, two points, a frame whose width is no multiple of 8."""
    rng = np.random.default_rng(5)
    return SelfTest(
        name="noise-0",
        frame=rng.integers(0, 256, (21, 35), dtype=np.uint8),
        points=rng.uniform(0, 20, (1, 2, 2)),
        labels=np.array([[1, 0]]),
        box=None,
        low_res_logits=rng.standard_normal((1, 32, 32), dtype=np.float32),
        masks=rng.integers(0, 2, (1, 21, 35), dtype=np.uint8),
        scores=np.array([0.75], np.float32),
    )


Make = Callable[..., Bundle]


@pytest.fixture
def make(manifest: dict[str, Any], selftest: SelfTest) -> Make:
    """`make(path, overwrite=..., zip=..., weights=...)` writes the bundle."""

    def write(path: Path, weights: bytes = b"weights" * 1000, **options: bool) -> Bundle:
        with BundleWriter(path, **options) as writer:
            writer.add_bytes("encoder.fp32.onnx", b"encoder graph")
            writer.add_bytes("encoder.fp32.onnx.data", weights)
            writer.add_bytes("decoder.fp32.onnx", b"decoder graph")
            writer.add_selftest(selftest)
            return writer.commit(manifest)

    return write


@pytest.fixture
def bundle(make: Make, tmp_path: Path) -> Bundle:
    return make(tmp_path / "small.samedge")
