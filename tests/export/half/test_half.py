"""Bundles with 16-bit weights: half the size, computed in float32; what that changes is known."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import samedge
from samedge import tolerances
from samedge.cli import run
from samedge.errors import ModelError, ParityError
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.fold import FoldedModel
from samedge.fold.half import round_to_half
from samedge.geometry.network_input import network_input
from samedge.machine.needs import HALF_FROM
from samedge.models import tiny_samus_config
from samedge.runtime.parity.verify import verify
from tests.export.engine import (
    Engine,
    encoder_feed,
    folded_model,
    geometry_of,
    open_graph,
    random_stack,
)
from tests.fold.oracle import random_model


@pytest.fixture
def folded() -> Callable[[str], FoldedModel]:
    return lambda name: deepcopy(folded_model(name))


@pytest.mark.parametrize("name", ["sam", "medsam", "samed", "structures", "volume", "samus",
                                  "autosamus", "mobile_sam"])  # fmt: skip
def test_rounded_models_are_the_new_reference(name: str, folded: Any) -> None:
    model = folded(name)
    exact = {test.name: test.low_res_logits for test in model.selftests}
    round_to_half(model)
    for key, x in model.state_dict().items():
        assert x.dtype == torch.float32
        if x.numel() >= HALF_FROM:
            assert torch.equal(x, x.half().float()), key
    error = max(float(np.abs(t.low_res_logits - exact[t.name]).max()) for t in model.selftests)
    assert 0 < error == model.report.rounding_error < 0.03
    assert "16-bit weights" in str(model.report)
    assert "16-bit weights" not in str(folded(name).report)
    before = deepcopy(model.state_dict())
    round_to_half(model)
    assert model.report.rounding_error == 0
    assert all(torch.equal(x, before[key]) for key, x in model.state_dict().items())


@pytest.mark.parametrize("name", ["samus", "samed", "volume"])
def test_graphs_compute_the_rounded_model(name: str, folded: Any) -> None:
    model = folded(name)
    round_to_half(model)
    graphs = [encoder_graph(model).model(), decoder_graph(model).model()]
    stored = [w for graph in graphs for w in graph.graph.initializer]
    assert any(w.data_type == onnx.TensorProto.FLOAT16 for w in stored)
    casts = [n for graph in graphs for n in graph.graph.node if n.op_type == "Cast"]
    assert len({n.input[0] for n in casts}) == len(casts)  # a weight used twice is widened once
    engine = Engine(model, *map(open_graph, graphs))
    frame = random_stack(model.family, 50, 60, 1)
    geometry = geometry_of(model, 50, 60)
    got = engine.run("encoder", encoder_feed(model.family, geometry, frame))["image_embedding"]
    pixels = torch.from_numpy(network_input(frame, geometry, model.family))
    np.testing.assert_allclose(got, model.encode(pixels).numpy(), atol=1e-4, rtol=0)


def test_bundle_of_half_the_size(tmp_path: Path) -> None:
    """In OpenVINO, too, in every precision; the weights there are the rounded ones."""
    model = samedge.fold(random_model(tiny_samus_config(embed_dim=64, prompt_dim=64)))
    full = samedge.export(deepcopy(model), tmp_path / "full.samedge").bundle
    half = samedge.export(model, tmp_path / "half.samedge", half_weights=True).bundle
    for graph in ("encoder", "decoder"):
        sizes = [b.manifest.files[f"{graph}.fp32.onnx"].bytes for b in (full, half)]
        assert sizes[1] < 0.7 * sizes[0]
    assert full.manifest.fold_report["rounding_error"] is None
    assert 0 < half.manifest.fold_report["rounding_error"] < 0.03
    rows = verify(half, backend="openvino", cache=False)
    assert {row.precision for row in rows} >= {"fp32"}
    assert all(row.passed for row in rows)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(random_model(tiny_samus_config()).state_dict(), tmp_path / "a.pth")
    line = ["export", str(tmp_path / "a.pth"), "-o", str(tmp_path / "a.samedge"), "--half-weights"]
    assert run(line) == 0
    assert "16-bit weights" in capsys.readouterr().out


def test_weights_that_are_too_large(folded: Any) -> None:
    model = folded("samus")
    with torch.no_grad():
        model.encoder.blocks[0].mlp.lin1.weight[0, 0] = 7e4
    with pytest.raises(ModelError, match=r"lin1\.weight has values up to 7e\+04; .* 32-bit"):
        round_to_half(model)


def test_a_model_that_changes_too_much(folded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, and left as it was."""
    limit = tolerances.Limit(embedding=1e-9, logits=1e-9, flipped=0)
    monkeypatch.setitem(tolerances.LIMITS, "fp16", limit)
    model, before = folded("samus"), folded("samus")
    with pytest.raises(ParityError, match="16-bit weights change this model's logits"):
        round_to_half(model)
    assert model.report.rounding_error is None
    assert not model.half_weights
    for key, x in model.state_dict().items():
        assert torch.equal(x, before.state_dict()[key])
