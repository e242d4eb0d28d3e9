"""From low-res logits to masks, in ONNX Runtime and OpenVINO: ties, crops, thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge._openvino import ov
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.decoder import _to_frame
from samedge.families import MEDSAM, MSA, SAMED, Family
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.mask_values import class_map, decide, decision_distance, mask_values
from tests.export.engine import open_graph

LOW_RES, INPUT = 16, 64
CLASSES = 5
FAMILIES: dict[str, Family] = {
    "classes": replace(SAMED, classes=tuple(f"class {i}" for i in range(CLASSES)), via=0),
    "probability": MEDSAM,
    "structures": replace(MSA, classes=tuple(f"class {i}" for i in range(CLASSES))),
}
Run = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def graph(family: Family) -> Any:
    g = GraphBuilder("decoder")
    logits = g.input("logits", "float32", ("objects", CLASSES, LOW_RES, LOW_RES))
    _to_frame(g, logits, ("objects", CLASSES), LOW_RES, family)
    return g.model()


@cache
def run_of(engine: str, name: str) -> Run:
    model = graph(FAMILIES[name])
    names = [value.name for value in model.graph.output]
    if engine == "onnxruntime":
        session = open_graph(model)
        return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))
    core = ov.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)

    def run(inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = compiled(inputs)
        return {name: found[name].copy() for name in names}

    return run


ENGINES = pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])


def feed(family: Family, height: int, width: int, crop: Any = None) -> dict[str, NDArray[Any]]:
    geometry = frame_geometry(family, height, width, crop, INPUT, LOW_RES)
    return {"mask_rows": geometry.mask_rows.copy(), "mask_cols": geometry.mask_cols.copy()}


@ENGINES
@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_the_first_of_equal_classes(engine: str, objects: int, levels: int, seed: int) -> None:
    """Few whole numbers, enlarged by whole steps: ties everywhere, and none of them rounded."""
    shape = (objects, CLASSES, LOW_RES, LOW_RES)
    logits = np.random.default_rng(seed).integers(0, levels, shape).astype(np.float32)
    one = np.eye(LOW_RES, dtype=np.float32)
    matrices = {"mask_rows": one.repeat(2, axis=0), "mask_cols": one}
    found = run_of(engine, "classes")({"logits": logits, **matrices})
    expected = class_map(logits).repeat(2, axis=1)
    np.testing.assert_array_equal(found["class_map"], expected)
    assert found["class_map"].dtype == found["masks"].dtype == np.uint8
    assert found["masks"].sum(axis=1).max() == found["masks"].sum(axis=1).min() == 1
    np.testing.assert_array_equal(found["masks"].argmax(axis=1), expected)


@ENGINES
def test_outside_the_crop_there_is_only_background(engine: str) -> None:
    """Even where the network is sure of another class everywhere."""
    logits = np.full((1, CLASSES, LOW_RES, LOW_RES), -50, np.float32)
    logits[:, 3] = -1
    crop = (10, 20, 50, 60)
    inputs = {"logits": logits, **feed(FAMILIES["classes"], 70, 80, crop)}
    found = run_of(engine, "classes")(inputs)["class_map"]
    expected = np.zeros((70, 80), np.uint8)
    expected[20:60, 10:50] = 3
    np.testing.assert_array_equal(found[0], expected)


@ENGINES
@pytest.mark.parametrize("name", list(FAMILIES))
@settings(max_examples=10)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(0, 9))
def test_decisions_are_those_in_numpy(
    engine: str, name: str, height: int, width: int, seed: int
) -> None:
    family = FAMILIES[name]
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (2, CLASSES, LOW_RES, LOW_RES)).astype(np.float32)
    crop = (2, 1, width - 1, height) if seed % 2 else None
    found = run_of(engine, name)({"logits": logits, **feed(family, height, width, crop)})
    values = mask_values(
        logits, frame_geometry(family, height, width, crop, INPUT, LOW_RES), family
    )
    sure = decision_distance(values, family) > 1e-4
    expected = decide(values, family)
    assert found["masks"].shape == expected.shape
    np.testing.assert_array_equal(found["masks"][sure], expected[sure])
    assert ("class_map" in found) == family.exclusive


@ENGINES
def test_probabilities_of_extreme_logits(engine: str) -> None:
    """The sigmoid neither overflows nor turns round."""
    logits = np.full((1, CLASSES, LOW_RES, LOW_RES), -1e4, np.float32)
    logits[:, 1], logits[:, 2] = 1e4, 1e-6
    found = run_of(engine, "probability")({"logits": logits, **feed(MEDSAM, 32, 32)})["masks"]
    assert found[0, :2].mean(axis=(1, 2)).tolist() == [0, 1]
