"""The pre-processing graph in ONNX Runtime and OpenVINO against the arithmetic in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge._openvino import ov
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.preprocess import needs_valid, preprocess
from samedge.families import LITEMEDSAM, MEDSAM, MSA, MSA_3D, SAM, SAMED, SAMUS, Family
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import encoder_inputs, network_input
from tests.export.engine import open_graph
from tests.geometry.frames import crops, image, patterns

SIZE = 64
FAMILIES = {f.name: f for f in (SAM, MEDSAM, SAMED, MSA, MSA_3D, SAMUS, LITEMEDSAM)}
# Volumes of families that have none: every rule with slices and without.
FAMILIES |= {f"{f.name}-volume": replace(f, slices=4) for f in (SAM, MEDSAM, SAMED, LITEMEDSAM)}
FAMILIES |= {"grey-medsam": replace(MEDSAM, channels=1), "msa_3d-image": replace(MSA_3D, slices=1)}
# Grey levels as they are, in which a last bit cannot hide.
FAMILIES |= {"area": replace(LITEMEDSAM, normalisation="fixed", channels=1, mean=(0.0,))}
FAMILIES |= {"stretched-area": replace(FAMILIES["area"], resize="stretch")}

Run = Callable[[dict[str, NDArray[Any]]], NDArray[np.float32]]


def graph(family: Family, size: int = SIZE) -> onnx.ModelProto:
    g = GraphBuilder("encoder")
    x = preprocess(g, family, size)
    g.output(x, "pixels", "float32", (family.slices, family.channels, size, size))
    return g.model()


@cache
def onnxruntime_run(name: str) -> Run:
    session = open_graph(graph(FAMILIES[name]))
    names = [value.name for value in session.get_inputs()]
    return lambda inputs: session.run(None, {n: inputs[n] for n in names})[0]


@cache
def openvino_run(name: str) -> Run:
    core = ov.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = core.read_model(graph(FAMILIES[name]).SerializeToString())
    compiled = core.compile_model(model, "CPU", options)
    names = [port.any_name for port in compiled.inputs]
    return lambda inputs: compiled([inputs[n] for n in names])[0].copy()


def frame_of(family: Family, pattern: str, shape: tuple[int, int, int], seed: int) -> Any:
    if family.slices == 1:
        return image(pattern, *shape, seed)
    return np.stack([image(pattern, *shape, seed + i) for i in range(family.slices)])


def both(
    run: Run, family: Family, frame: Any, crop: Any, channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the engine gives, and the oracle."""
    height, width = frame.shape[1:3] if family.slices > 1 else frame.shape[:2]
    geometry = frame_geometry(family, height, width, crop, SIZE)
    inputs, view = encoder_inputs(family, geometry, channels, 8 * frame.dtype.itemsize)
    view[...] = frame.reshape(view.shape)
    return run(inputs), network_input(frame, geometry, family)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25)
@given(
    st.data(), st.integers(16, 200), st.integers(16, 200), st.sampled_from([1, 3]), patterns,
    st.integers(0, 99),
)  # fmt: skip
def test_onnxruntime_equals_numpy(name, data, height, width, channels, pattern, seed) -> None:
    family = FAMILIES[name]
    frame = frame_of(family, pattern, (height, width, channels), seed)
    got, expected = both(
        onnxruntime_run(name), family, frame, data.draw(crops(height, width)), channels
    )
    assert got.shape == expected.shape == (family.slices, family.channels, SIZE, SIZE)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0 if family.rounded else 1e-3)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(300, 420, 3), (400, 40, 1), (50, 70, 1)])
def test_openvino_equals_numpy(name, shape) -> None:
    """It may divide by the span of a min-max family as by a rounded reciprocal."""
    family = FAMILIES[name]
    frame = frame_of(family, "noise", shape, seed=0)
    got, expected = both(openvino_run(name), family, frame, (3, 5, 40, 45), shape[2])
    exact = family.rounded and family.normalisation == "fixed"
    slack = 1e-6 if family.normalisation == "min_max" else 1e-3
    np.testing.assert_allclose(got, expected, rtol=0, atol=0 if exact else slack)


@pytest.mark.parametrize("run", [onnxruntime_run, openvino_run])
@pytest.mark.parametrize("name", ["area", "stretched-area"])
@pytest.mark.parametrize(
    "shape",
    [
        (300, 420),
        (420, 31),
        (128, 128),
        (192, 256),
        (64, 64),
        (64, 65),
        (40, 50),
        (23, 1024),
        (192, 164),
    ],
)
def test_every_rule_of_the_area_resize(name, run, shape) -> None:
    """Shrunk by cells, by blocks, not at all, and enlarged: not a bit is off."""
    frame = image("noise", *shape, 1, seed=1)
    got, expected = both(run(name), FAMILIES[name], frame, None, 1)
    np.testing.assert_array_equal(got, expected)
    assert expected.max() > 100


@pytest.mark.parametrize("run", [onnxruntime_run, openvino_run])
@pytest.mark.parametrize("name", ["samed", "msa_3d"])
def test_16_bit_frames(name, run) -> None:
    family = FAMILIES[name]
    shape = (4, 90, 120) if family.slices > 1 else (90, 120)
    frame = np.random.default_rng(0).integers(0, 2**16, shape, dtype=np.uint16)
    got, expected = both(run(name), family, frame, None, 1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)
    assert expected.max() > 200


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_is_valid_and_ends_in_static_shapes(name) -> None:
    family, model = FAMILIES[name], graph(FAMILIES[name])
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    shapes = {v.name: v.type.tensor_type.shape.dim for v in inferred.graph.value_info}
    assert [d.dim_value for d in shapes[NETWORK_INPUT]] == [
        family.slices, family.channels, SIZE, SIZE
    ]  # fmt: skip
    names = {value.name for value in model.graph.input}
    expected = {"frame", "colour", "rows", "cols"}
    expected |= {"rows_first"} if family.interpolation == "pil" else set()
    expected |= {"valid_rows", "valid_cols"} if needs_valid(family) else set()
    assert names == expected
