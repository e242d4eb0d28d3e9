"""The OpenVINO backend: the cut, the io it reports, and graphs that are not ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from samedge._openvino import ov
from samedge.bundle.manifest import FileEntry
from samedge.errors import BundleError, DeviceError
from samedge.families import SAMUS
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import encoder_inputs, resize_frame
from samedge.runtime import load
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.compile import compile_graph, core, split_encoder


def inputs_for(frame: Any) -> dict[str, Any]:
    """What the grey toy's encoder takes."""
    geometry = frame_geometry(SAMUS, *frame.shape, None, 32, 16)
    known, pixels = encoder_inputs(SAMUS, geometry, 1)
    pixels[...] = frame[:, :, None]
    return {name: known[name] for name in ("frame", "colour", "rows", "cols", "rows_first")}


def rehash(bundle: Any, path: Path) -> None:
    entry = FileEntry(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    bundle.tell(files={**bundle.manifest.files, path.name: entry})


def test_split_halves_compute_what_the_whole_does(samus_toy: Any, frame: Any) -> None:
    path = samus_toy.graph("encoder", "fp32")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    inputs = inputs_for(frame)
    whole = core().compile_model(core().read_model(path), "CPU", options)(inputs)[0]
    first, second = split_encoder(core().read_model(path))
    assert [p.get_any_name() for p in second.inputs] == ["network_input"]
    assert {p.get_any_name() for p in first.inputs} == set(inputs)
    network = core().compile_model(first, "CPU", options)(inputs)[0]
    halves = core().compile_model(second, "CPU", options)({"network_input": network})[0]
    np.testing.assert_array_equal(whole, halves)


def test_io_is_that_of_the_whole_graph(sam_toy: Any) -> None:
    engine = OPENVINO.open_graph(sam_toy, "encoder", LoadOptions(cache=False))
    names = {spec.name: spec for spec in engine.io.inputs}
    assert set(names) >= {"frame", "colour", "rows", "cols", "valid_rows", "valid_cols"}
    assert names["frame"].dtype == "uint8"
    assert names["rows"].shape == (2, 32, "dim2")
    assert engine.io.output("image_embedding").shape == (1, 8, 4, 4)
    assert engine.io.has_input("rows")
    assert not engine.io.has_input("mask_input")
    engine.close()
    engine.close()
    with pytest.raises(DeviceError, match="closed"):
        engine.run({}, {})


def test_a_graph_without_the_cut_is_refused(toy_factory: Any, conftest: ModuleType) -> None:
    bundle = toy_factory(SAMUS)
    path = bundle.path / "encoder.fp32.onnx"
    conftest.write_encoder(path, mean=False, cut="something_else")
    rehash(bundle, path)
    with pytest.raises(BundleError, match="network_input"):
        load(bundle, threads=1)


def test_a_graph_openvino_cannot_read_is_refused(toy_factory: Any) -> None:
    bundle = toy_factory(SAMUS)
    path = bundle.path / "encoder.fp32.onnx"
    path.write_bytes(b"not an onnx file")
    rehash(bundle, path)
    with pytest.raises(BundleError, match="cannot read encoder"):
        load(bundle, threads=1)


def test_an_output_of_another_shape_is_an_error(samus_toy: Any, frame: Any) -> None:
    engine = OPENVINO.open_graph(samus_toy, "encoder", LoadOptions(cache=False))
    engine.run(inputs_for(frame), {"image_embedding": engine.buffer("image_embedding")})
    with pytest.raises(DeviceError):
        engine.run(inputs_for(frame), {"image_embedding": np.zeros((1, 8, 4, 5), np.float32)})
    engine.close()


def test_sessions_of_one_bundle_share_weights(samus_toy: Any) -> None:
    options = LoadOptions(cache=False)
    one, two = (compile_graph(samus_toy, "encoder", "fp32", options)[0] for _ in range(2))
    assert one["encoder"] is two["encoder"]


def test_bf16_keeps_preprocessing_exact(samus_toy: Any, frame: Any) -> None:
    if "bf16" not in OPENVINO.precisions():
        pytest.skip("this CPU has no native bf16")
    parts, _ = compile_graph(samus_toy, "encoder", "fp32", LoadOptions("bf16", cache=False))
    model = parts["preprocess"].model
    assert model is not None
    network = model(inputs_for(frame))[0]
    geometry = frame_geometry(SAMUS, *frame.shape, None, 32, 16)
    np.testing.assert_array_equal(network[0, 0], resize_frame(frame, geometry, SAMUS))


def test_profile_counts_layers(samus_toy: Any, frame: Any) -> None:
    options = LoadOptions(cache=False, profile=True)
    engine = OPENVINO.open_graph(samus_toy, "encoder", options)
    inputs = inputs_for(frame)
    engine.run(inputs, {"image_embedding": np.zeros((1, 8, 4, 4), np.float32)})
    rows = engine.profile()
    assert {row[0] for row in rows} == {"preprocess", "encoder"}
    assert all(row[4] >= 0 for row in rows)
    engine.close()


def test_unreadable_device_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no plugin")

    monkeypatch.setattr(ov.Core, "get_property", broken)
    reason = OPENVINO.unavailable()
    assert reason is not None
    assert "no plugin" in reason
