"""An int8 encoder in OpenVINO: quantised kernels run, and everything around them stays exact."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge._openvino import ov
from samedge.bundle import Bundle
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import encoder_inputs
from samedge.runtime import load, verify
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.compile import _Models, compile_graph, core, rest_of
from samedge.runtime.parity.drift_cases import recorded_cases
from samedge.tolerances import LIMITS
from tests.bundle.manifests import parity_row
from tests.runtime.quantised import with_int8

pytestmark = pytest.mark.skipif(
    "int8" not in OPENVINO.precisions(), reason="this CPU has no int8 kernels"
)


def first_inputs(bundle: Bundle) -> dict[str, Any]:
    """What the encoder takes for the first self-test's frame."""
    family, variant = bundle.family, bundle.manifest.variant
    frame = bundle.selftest()[0].frame
    height, width = frame.shape[:2]
    geometry = frame_geometry(family, height, width, None, variant.input_size, variant.low_res)
    channels = 3 if frame.ndim == 3 else 1
    known, pixels = encoder_inputs(family, geometry, channels)
    pixels[...] = frame.reshape(pixels.shape)
    return known


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """The tiny bundle with an int8 encoder."""
    target = tmp_path_factory.mktemp("int8") / "tiny.samedge"
    shutil.copytree(tiny_bundle, target)
    _, count = with_int8(target, first_inputs(Bundle.open(target)))
    assert count > 10
    return target


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    return Bundle.open(folder)


def test_quantised_kernels_are_used(bundle: Bundle) -> None:
    """The rewrites must leave Q/DQ in a form that OpenVINO turns into int8 products."""
    options = LoadOptions("int8", threads=1, cache=False, profile=True)
    engine = OPENVINO.open_graph(bundle, "encoder", options)
    engine.run(first_inputs(bundle), {"image_embedding": engine.buffer("image_embedding")})
    kernels = [(kind, kernel) for part, _, kind, kernel, _ in engine.profile()]
    engine.close()
    products = [kernel for kind, kernel in kernels if kind in _PRODUCTS]
    assert sum("i8" in kernel.lower() for kernel in products) >= len(products) / 2
    assert any(kind == "Convolution" and "i8" in kernel.lower() for kind, kernel in kernels)


_PRODUCTS = ("FullyConnected", "FullyConnectedQuantizedLegacy", "Convolution")


without_saturation = pytest.mark.skipif(
    bool(OPENVINO.doubtful()), reason="no VNNI: sums of INT8 products saturate"
)


def test_a_session_says_where_sums_saturate(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OPENVINO, "doubtful", lambda: {"int8": "it rains"})
    with load(bundle, precision="int8", threads=1) as session:
        assert any("it rains: run `samedge verify" in note for note in session.describe()["notes"])
    with load(bundle, precision="fp32", threads=1) as session:
        assert not any("it rains" in note for note in session.describe()["notes"])


@without_saturation
def test_int8_computes_what_its_graph_says(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime executes the Q/DQ graph node by node; float32 is much farther away."""
    refused = replace(bundle.manifest, parity=(parity_row("openvino", "bf16", False),))
    monkeypatch.setattr(bundle, "manifest", refused)  # the rest in float32, too
    onnxruntime = pytest.importorskip("onnxruntime")
    inputs = first_inputs(bundle)
    path = str(bundle.graph("encoder", "int8"))
    options = onnxruntime.SessionOptions()
    # Its fused INT8 products add in 16 bits where the processor has no VNNI, and saturate.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    engine = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {i.name: np.asarray(inputs[i.name]) for i in engine.get_inputs()}
    (expected,) = engine.run(["image_embedding"], given)
    errors = {}
    for precision in ("int8", "fp32"):
        with load(bundle, precision=precision, threads=1) as session:
            session.set_frame(bundle.selftest()[0].frame)
            difference = session.embedding() - expected
        errors[precision] = float(np.sqrt((difference**2).mean() / (expected**2).mean()))
    assert errors["int8"] < 0.5 * errors["fp32"], errors
    assert errors["fp32"] > 1e-2, errors


@without_saturation
def test_int8_has_a_row_with_a_dice_limit(bundle: Bundle) -> None:
    (row,) = verify(bundle, precision="int8", threads=1)
    assert (row.precision, row.dice_limit) == ("int8", LIMITS["int8"].dice)
    # Plainly quantised and with random weights it need not pass, but it is near.
    assert row.margin > 0.5
    assert row.rms_ratio > 1e-3  # float32 would give 1e-6: something was quantised


def test_auto_verifies_what_the_bundle_has_graphs_for(bundle: Bundle) -> None:
    assert [row.precision for row in verify(bundle, threads=1)] == list(OPENVINO.precisions())


def test_preprocessing_and_decoder_are_those_of_float32(bundle: Bundle) -> None:
    inputs, asked = first_inputs(bundle), recorded_cases(bundle, 1)["decoder"][0].inputs
    network, answers = [], []
    for precision in ("fp32", "int8"):
        options = LoadOptions(precision, cache=False)
        parts, _ = compile_graph(bundle, "encoder", precision, options)
        model = parts["preprocess"].model
        assert model is not None
        given = {port.any_name: inputs[port.any_name] for port in model.inputs}
        network.append(model(given)[0].copy())
        decoder = OPENVINO.open_graph(bundle, "decoder", options)
        count, sides = (
            len(asked["point_coords"]),
            (len(asked["mask_rows"]), len(asked["mask_cols"])),
        )
        logits = np.zeros((count, 1, *_low_res(bundle)), np.float32)
        masks = np.zeros((count, 1, *sides), np.uint8)
        outputs = {"masks": masks, "scores": np.zeros((count, 1), np.float32)}
        decoder.run(asked, {**outputs, "low_res_logits": logits})
        decoder.close()
        answers.append(logits)
    np.testing.assert_array_equal(*network)
    np.testing.assert_array_equal(*answers)
    assert answers[0].any()


def _low_res(bundle: Bundle) -> tuple[int, int]:
    side = bundle.manifest.variant.low_res
    return side, side


def test_no_widened_copy_of_int8_weights(bundle: Bundle) -> None:
    """A session of int8 must not keep float weights beside the quantised ones."""
    encoder = _Models(bundle, "encoder", "int8", "int8", "bf16", "CPU").take("encoder")
    stored = [n for n in encoder.get_ordered_ops() if n.get_type_name() == "Constant"]
    narrow = sum(n.get_data().nbytes for n in stored if n.get_element_type() == ov.Type.i8)
    wide = [n for n in stored if n.get_element_type() == ov.Type.f32]
    products = {
        id(n) for n in wide for target in n.output(0).get_target_inputs()
        if target.get_node().get_type_name() in ("MatMul", "Convolution")
    }  # fmt: skip
    heavy = {n.get_friendly_name() for n in wide if id(n) in products and n.get_data().size > 4096}
    assert narrow > 0
    assert heavy <= {"encoder.patch_embed.resize"}  # a product by a constant on the left


def test_the_rest_is_bf16_only_where_native_and_not_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = ["FP32", "BF16", "INT8"]
    monkeypatch.setattr(ov.Core, "get_property", lambda *_: native)
    assert rest_of(bundle, "int8") == "bf16"
    assert rest_of(bundle, "fp16") == "fp16"
    refused = replace(bundle.manifest, parity=(parity_row("openvino", "bf16", False),))
    monkeypatch.setattr(bundle, "manifest", refused)
    assert rest_of(bundle, "int8") == "fp32"
    monkeypatch.setattr(bundle, "manifest", replace(refused, parity=()))
    native.remove("BF16")
    assert rest_of(bundle, "int8") == "fp32"


def test_a_second_start_comes_from_the_cache(bundle: Bundle, private_cache: Path) -> None:
    results = []
    for cached in (False, True):
        engine = OPENVINO.open_graph(bundle, "encoder", LoadOptions("int8"))
        assert engine.cached is cached
        engine.close()
        with load(bundle, precision="int8", threads=1) as session:
            test = bundle.selftest()[0]
            results.append(session.segment(test.frame, points=test.points, labels=test.labels))
    np.testing.assert_array_equal(results[0].low_res_logits, results[1].low_res_logits)


def test_precisions_of_one_bundle_do_not_share_engines(bundle: Bundle) -> None:
    test = bundle.selftest()[0]
    embeddings = []
    for precision in ("fp32", "int8"):
        with load(bundle, precision=precision, threads=1) as session:
            session.set_frame(test.frame)
            embeddings.append(session.embedding())
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3


def test_throughput_shares_one_engine_and_gives_the_same(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions at once, each with an inference request of its own."""
    test = bundle.selftest()[0]
    given = {"points": test.points, "labels": test.labels}
    with load(bundle, precision="fp32", threads=1) as alone:
        expected = alone.segment(test.frame, **given)
    options: dict[str, Any] = {"precision": "fp32", "threads": 2, "hint": "throughput"}
    with load(bundle, **options) as one, load(bundle, **options) as two:
        with monkeypatch.context() as patch:  # whoever makes it again fails
            patch.setattr(ov.Core, "compile_model", None)
            patch.setattr(ov.Core, "import_model", None)
            shared = compile_graph(bundle, "encoder", "fp32", LoadOptions(**options))[0]["encoder"]
        assert shared.model is not None
        assert "THROUGHPUT" in str(shared.model.get_property("PERFORMANCE_HINT"))
        del shared
        one.set_frame(255 - test.frame)
        result = two.segment(test.frame, **given)
    np.testing.assert_allclose(result.low_res_logits, expected.low_res_logits, atol=1e-5)
    assert core() is core()
