"""Networks that are changed before they are built: tensors given out, products taken apart."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.errors import DeviceError, NotSupportedError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.graphs.update import update_file
from samedge.export.half.graph import to_half
from samedge.runtime.backend import LoadOptions
from samedge.runtime.choice import named_backend
from samedge.runtime.openvino.tensors import named_outputs
from samedge.runtime.parity.drift import locate
from samedge.runtime.parity.drift_cases import recorded_cases
from samedge.runtime.tensorrt import builder as tensorrt_build
from samedge.runtime.tensorrt.builder import BuildOptions, _configure, build_engine
from samedge.runtime.tensorrt.layer_report import LayerReport
from samedge.runtime.tensorrt.library import NVIDIA_LIBRARIES, make_log
from samedge.runtime.tensorrt.network import (
    mark_outputs,
    parsed,
    without_channel_convolutions,
    without_products,
)
from tests.export.earlier import earlier_bundle
from tests.runtime.quantised import with_graph
from tests.runtime.stand_in.core import Violation
from tests.runtime.stand_in.install import VERSIONS, installed

REAL = importlib.util.find_spec("tensorrt_rtx") is not None
BAD = "encoder.blocks.2.mlp.lin1"


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """One of the libraries, on a machine with one GPU; nothing may be left at the end."""
    with installed(request.param) as module:
        yield module
        module.world.driver.assert_clean()


@pytest.fixture
def turing() -> Iterator[ModuleType]:
    """TensorRT-RTX on a GPU that it has no float32 matrix products for."""
    with installed("tensorrt_rtx 1.7.1.116", capability=(7, 5)) as module:
        module.world.no_float32 = True
        yield module
        module.world.driver.assert_clean()


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture
def half(tmp_path: Path, tiny_bundle: Path) -> Callable[..., Bundle]:
    """The tiny bundle with half precision graphs; the encoder after a change."""

    def make(change: Callable[[OnnxGraph], None]) -> Bundle:
        folder = tmp_path / "half.samedge"
        shutil.copytree(tiny_bundle, folder)
        for name in ("decoder", "encoder"):
            graph = OnnxGraph.read(folder / f"{name}.fp32.onnx")
            if name == "encoder":
                change(graph)
            to_half(graph).save(folder / f"{name}.fp16.onnx")
            bundle = with_graph(folder, f"{name}.fp16.onnx")
        return bundle

    return make


def flip(graph: OnnxGraph) -> None:
    weight = graph.arrays[f"{BAD}.weight"].copy()
    weight[:, ::2] *= -1
    graph.arrays[f"{BAD}.weight"] = weight


# Of the search every library gives the tensors, which other tests here compare for each of them.
@pytest.mark.parametrize("library", VERSIONS[-1:], indirect=True)
def test_a_wrong_weight_is_found(library: ModuleType, half: Any, private_cache: Path) -> None:
    encoder, decoder = locate(half(flip), named_backend(library.__name__), "fp16")
    assert encoder.first is not None
    assert encoder.first.name == f"{BAD}/MatMul"
    assert f"{BAD}/MatMul (MatMul) makes an error of" in encoder.verdict
    assert all(tensor.error <= encoder.level for tensor in encoder.inputs)
    assert decoder.first is None
    assert "agrees with float32" in decoder.verdict
    assert not private_cache.exists()  # engines with more outputs serve no session


def test_a_bundle_of_an_earlier_version_is_to_be_exported_again(
    library: ModuleType, tiny_bundle: Path, tmp_path: Path
) -> None:
    found, old = (
        NVIDIA_LIBRARIES[library.__name__],
        earlier_bundle(tiny_bundle, tmp_path / "old.samedge"),
    )
    words = r"decoder\.fp32\.onnx was written by an earlier version .*samedge export OLD\.samedge"
    with pytest.raises(NotSupportedError, match=words):
        build_engine(found, old, "decoder", "fp32", BuildOptions())
    update_file(old.root / "decoder.fp32.onnx")
    new = with_graph(old.root, "decoder.fp32.onnx")
    assert len(build_engine(found, new, "decoder", "fp32", BuildOptions()).data)


@pytest.mark.parametrize("library", VERSIONS[:1], indirect=True)
def test_verify_locates_what_fails(
    library: ModuleType, half: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, name = half(flip), library.__name__
    given = ["verify", str(opened.root), "--backend", name, "--precision", "fp16", "--locate"]
    assert run(given) == 5
    said = capsys.readouterr()
    assert f"{BAD}/MatMul (MatMul) makes an error" in " ".join(said.out.split())
    assert f"{name} fp16" in said.err


def test_tensors_are_those_of_the_other_engine(library: ModuleType, bundle: Bundle) -> None:
    """Inputs, tensors from inside and outputs; what there is not is left out."""
    case = recorded_cases(bundle, 1)["decoder"][0]
    names = ["image_embedding", "decoder.layers.0.norm2/LayerNormalization", "nothing", "scores"]
    backend: Any = named_backend(library.__name__)
    options = LoadOptions("fp32", cache=False)
    (found,) = backend.named_outputs(bundle, "decoder", options, names, [case.inputs])
    assert set(found) == set(names) - {"nothing"}
    (want,) = named_outputs(bundle, "decoder", "fp32", options, names, [case.inputs], plain=True)
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, want[name], atol=1e-4)


def test_half_tensors_come_as_float32(library: ModuleType, half: Any) -> None:
    opened = half(lambda _graph: None)
    case = recorded_cases(opened, 1)["encoder"][0]
    names = ["network_input", f"{BAD}/MatMul"]
    backend: Any = named_backend(library.__name__)
    options = LoadOptions("fp16", cache=False)
    (found,) = backend.named_outputs(opened, "encoder", options, names, [case.inputs])
    assert set(found) == set(names)
    inner = found[f"{BAD}/MatMul"]
    assert inner.dtype == np.float32
    np.testing.assert_array_equal(inner, inner.astype(np.float16))
    assert np.ptp(inner) > 0


def test_outputs_alone_are_those_of_the_sessions_engine(
    library: ModuleType, bundle: Bundle, private_cache: Path
) -> None:
    samedge.load(bundle, backend=library.__name__, precision="fp32").close()
    builds = library.world.builds
    case = recorded_cases(bundle, 1)["encoder"][0]
    backend: Any = named_backend(library.__name__)
    for names, more in ((["image_embedding"], 0), (["network_input"], 1)):
        backend.named_outputs(bundle, "encoder", LoadOptions("fp32"), names, [case.inputs])
        assert library.world.builds == builds + more


def test_a_failure_leaves_nothing_behind(library: ModuleType, bundle: Bundle) -> None:
    case = recorded_cases(bundle, 1)["encoder"][0]
    backend: Any = named_backend(library.__name__)
    library.world.fail_run = True
    with pytest.raises(DeviceError, match="failed to run"):
        backend.named_outputs(bundle, "encoder", LoadOptions(), ["network_input"], [case.inputs])


def test_only_float_tensors_inside_are_given_out(library: ModuleType, bundle: Bundle) -> None:
    found = NVIDIA_LIBRARIES[library.__name__]
    log = make_log(found)
    network = parsed(found, library.Builder(log), bundle.graph("decoder", "fp32"), log)
    inside = "decoder.layers.0.norm2/LayerNormalization"
    names = [inside, "postprocess/Greater", "scores", "nothing"]
    assert mark_outputs(found, network, names) == [inside]
    assert mark_outputs(found, network, names) == []
    (tensor,) = [
        layer.get_output(0)
        for layer in map(network.get_layer, range(network.num_layers))
        if layer.get_output(0).name == inside
    ]
    with pytest.raises(Violation, match="is an output already"):
        network.mark_output(tensor)


def test_without_float32_products_a_session_computes_the_same(
    turing: ModuleType, cases: Any
) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for name, prompts in (
        ("sam", {"points": [(30, 20)], "multimask": True}),
        ("samed", {}),
        ("samus", {"points": [(30, 20)]}),
    ):
        case = cases(name)
        with samedge.load(case.bundle, "tensorrt_rtx", "fp32") as session:
            assert "are computed as sums of products" in " ".join(session.describe()["notes"])
            got = session.segment(pixels, **prompts)
        want = case.session.segment(pixels, **prompts)
        np.testing.assert_allclose(got.low_res_logits, want.low_res_logits, atol=1e-4)
        assert np.mean(got.masks != want.masks) < 1e-3


def test_what_is_replaced_keeps_its_name(turing: ModuleType, bundle: Bundle) -> None:
    """An error is located there as well."""
    case = recorded_cases(bundle, 1)["encoder"][0]
    backend: Any = named_backend("tensorrt_rtx")
    names, options = [f"{BAD}/MatMul"], LoadOptions("fp32", cache=False)
    (found,) = backend.named_outputs(bundle, "encoder", options, names, [case.inputs])
    (want,) = named_outputs(bundle, "encoder", "fp32", options, names, [case.inputs], plain=True)
    np.testing.assert_allclose(found[names[0]], want[names[0]], atol=1e-4)


def test_a_product_that_is_an_output_stays_one(turing: ModuleType, bundle: Bundle) -> None:
    found, name = NVIDIA_LIBRARIES["tensorrt_rtx"], f"{BAD}/MatMul"
    log = make_log(found)
    network = parsed(found, turing.Builder(log), bundle.graph("encoder", "fp32"), log)
    mark_outputs(found, network, [name])
    assert without_products(found, network) > 10
    ends = [
        (layer.name, layer.get_output(0).name)
        for layer in map(network.get_layer, range(network.num_layers))
        if layer.get_output(0).is_network_output
    ]
    assert (f"{name}/sum", name) in ends
    assert len(ends) == 2  # and the embedding
    assert "MatMul" not in {node.op_type for node in network._finished().graph.node}


def test_a_build_that_fails_for_another_reason_is_not_tried_again(
    turing: ModuleType, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (NVIDIA_LIBRARIES["tensorrt_rtx"], bundle, "decoder", "fp32")
    monkeypatch.setattr(tensorrt_build, "without_products", lambda *_: 0)
    with pytest.raises(DeviceError, match=r"could not build the fp32 decoder: .* FP32 GEMM"):
        build_engine(*options)
    assert turing.world.builds == 2
    turing.world.fail_build = True
    with pytest.raises(DeviceError, match="no tactic"):
        build_engine(*options)
    assert turing.world.builds == 3


def convolutions(path: Path, dtype: type[np.floating[Any]]) -> onnx.ModelProto:
    """Four in a row: all channels, each by itself, each by itself with a stride, two halves."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    rng, nodes, weights, value = np.random.default_rng(0), [], [], "x"
    for name, groups, inputs, stride in (
        ("all", 1, 3, 1),
        ("each", 64, 64, 1),
        ("less", 64, 64, 2),
        ("halves", 2, 64, 1),
    ):
        shape = (64, inputs // groups, 3, 3)
        numbers = {f"{name}.w": rng.standard_normal(shape) / 3, f"{name}.b": rng.random(64)}
        weights += [numpy_helper.from_array(a.astype(dtype), key) for key, a in numbers.items()]
        sizes = {"kernel_shape": [3, 3], "strides": [stride] * 2, "pads": [1] * 4, "group": groups}
        nodes.append(helper.make_node("Conv", [value, *numbers], [name], name=name, **sizes))
        value = name
    ends = [
        helper.make_tensor_value_info("x", kind, [1, 3, 12, 9]),
        helper.make_tensor_value_info(value, kind, [1, 64, 6, 5]),
    ]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return model


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_convolutions_of_each_channel_as_sums(
    turing: ModuleType, dtype: type[np.floating[Any]], tmp_path: Path
) -> None:
    found = NVIDIA_LIBRARIES["tensorrt_rtx"]
    before = convolutions(tmp_path / "a.onnx", dtype)
    log = make_log(found)
    network = parsed(found, turing.Builder(log), tmp_path / "a.onnx", log)
    weights = without_channel_convolutions(found, network)
    assert len(weights) == 2 * (9 + 1)
    after = network._finished()
    left = [node.name for node in after.graph.node if node.op_type == "Conv"]
    assert left == ["all", "halves"]
    x = np.random.default_rng(1).standard_normal((1, 3, 12, 9)).astype(dtype)
    results = []
    for model in (before, after):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        results.append(session.run(None, {"x": x})[0].astype(np.float64))
    scale = np.abs(results[0]).max()
    np.testing.assert_allclose(*results, atol=scale * (1e-6 if dtype == np.float32 else 4e-3))
    del weights
    with pytest.raises(Violation, match="freed before the build"):
        network._finished()


def test_only_turing_has_them_as_sums(
    library: ModuleType, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And there the engine is built with them; the bundle itself has none."""
    asked = []

    def taken(found: Any, _network: Any) -> list[Any]:
        asked.append(found.name)
        return [np.zeros(1, np.float32)]

    monkeypatch.setattr(tensorrt_build, "without_channel_convolutions", taken)
    found = NVIDIA_LIBRARIES[library.__name__]
    assert not build_engine(found, bundle, "encoder", "fp32", capability=86).notes
    assert not asked
    notes = build_engine(found, bundle, "encoder", "fp32", capability=75).notes
    rtx = library.__name__ == "tensorrt_rtx"
    assert asked == ["tensorrt_rtx"] * rtx
    assert ("convolutions of each channel" in " ".join(notes)) == rtx


@pytest.mark.skipif(not REAL, reason="needs TensorRT-RTX")
def test_real_convolutions_for_turing(tmp_path: Path) -> None:
    """As they are, the engine has several times the weights."""
    convolutions(tmp_path / "a.onnx", np.float16)
    library, sizes = NVIDIA_LIBRARIES["tensorrt_rtx"], []
    for change in (False, True):
        log = make_log(library)
        builder = library.module.Builder(log)
        network = parsed(library, builder, tmp_path / "a.onnx", log)
        weights = without_channel_convolutions(library, network) if change else []
        assert bool(weights) == change
        config = builder.create_builder_config()
        _configure(library, config, BuildOptions(compute_capability=75))
        assert builder.build_serialized_network(network, config) is not None
        sizes.append(LayerReport.from_log(log.report).weights)
    assert sizes[0] > 2.5 * sizes[1]


@pytest.mark.skipif(not REAL, reason="needs TensorRT-RTX")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_real_engines_for_turing(half: Any, precision: str) -> None:
    opened, library = half(lambda _graph: None), NVIDIA_LIBRARIES["tensorrt_rtx"]
    for graph in ("encoder", "decoder"):
        built = build_engine(library, opened, graph, precision, BuildOptions(compute_capability=75))
        assert "are computed as sums of products" in built.notes[-1]
        assert built.report is not None
        products = {layer.precision for layer in built.report.layers if layer.kind == "gemm"}
        assert products == ({"float16"} if precision == "fp16" else set())
        # The products are summed as they are made: all of them would be gigabytes.
        assert built.report.activations is not None
        assert built.report.activations < 150e6


@pytest.mark.skipif(not REAL, reason="needs TensorRT-RTX")
def test_real_networks_give_out_tensors(bundle: Bundle) -> None:
    options, name = BuildOptions(compute_capability=86), f"{BAD}/MatMul"
    library = NVIDIA_LIBRARIES["tensorrt_rtx"]
    built = build_engine(library, bundle, "encoder", "fp32", options, also=[name, "nothing"])
    assert built.also == (name,)
