"""A small bundle: real in every respect but its graphs, which nothing here opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.bundle import Bundle, BundleWriter, Manifest, ParityRow, SelfTest, Variant
from samedge.bundle.manifest import GRAPHS, GraphEntry, Source, TensorEntry
from tests.bundle.manifests import small_manifest


@pytest.fixture
def manifest() -> Manifest:
    """What an exporter hands to `commit`."""
    frame = TensorEntry("frame", "uint8", ("H", "W", 1))
    scores = TensorEntry("scores", "float32", ("N", 1))
    return small_manifest(
        variant=Variant("vit_b", 64, 8, 32, 1),
        graphs={
            name: {"fp32": GraphEntry(f"{name}.fp32.onnx", (frame,), (scores,))} for name in GRAPHS
        },
        source=Source(("0f" * 32,), "pth"),
        tools={"numpy": np.__version__},
        fold_report={"max_error": 1.5e-6, "steps": [{"what": "adapters", "count": 12}]},
        parity=(ParityRow(backend="openvino", precision="fp32", dice=np.float32(1), passed=True),),
    )


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
def make(manifest: Manifest, selftest: SelfTest) -> Make:
    """`make(path, overwrite=..., zip=..., weights=..., changes=...)` writes the bundle."""

    def write(path: Path, weights: bytes = b"weights" * 1000, **options: Any) -> Bundle:
        changes = options.pop("changes", {})
        with BundleWriter(path, **options) as writer:
            writer.add_bytes("encoder.fp32.onnx", b"encoder graph")
            writer.add_bytes("encoder.fp32.onnx.data", weights)
            writer.add_bytes("decoder.fp32.onnx", b"decoder graph")
            writer.add_selftest(selftest)
            return writer.commit(replace(manifest, **changes))

    return write


@pytest.fixture
def bundle(make: Make, tmp_path: Path) -> Bundle:
    return make(tmp_path / "small.samedge")
