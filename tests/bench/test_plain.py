"""The plain export computes what the eager encoder does, by either exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from samedge.bench.contenders.eager import synthetic_samus
from samedge.bench.contenders.plain import OUTPUT, export_plain
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import NotSupportedError


def test_plain_export_matches_eager(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model: Any = synthetic_samus("tiny")
    size = model.config.img_size
    x = torch.rand(1, 1, size, size)
    path = export_plain(model.image_encoder, x, tmp_path / "plain.onnx")
    graph = onnx.load(path).graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 1, size, size]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (embedding,) = session.run([OUTPUT], {NETWORK_INPUT: x.numpy()})
    with torch.inference_mode():
        expected = model.encode(x).numpy()
    np.testing.assert_allclose(embedding, expected, atol=2e-5)


def test_both_reasons_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, dynamo: bool, **__: Any) -> None:
        raise RuntimeError(f"exporter {dynamo} is broken")

    monkeypatch.setattr(torch.onnx, "export", broken)
    with pytest.raises(NotSupportedError, match="exporter True is broken") as caught:
        export_plain(torch.nn.Identity(), torch.zeros(1), tmp_path / "plain.onnx")
    assert "exporter False is broken" in str(caught.value)
    assert not (tmp_path / "plain.onnx").exists()
