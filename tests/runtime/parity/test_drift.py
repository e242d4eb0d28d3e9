"""Where an error begins: faults put into a graph on purpose are found, and by the right name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.bundle import Bundle
from samedge.errors import BundleError, NotSupportedError
from samedge.export.graphs.model import OnnxGraph
from samedge.progress import Step
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.tensors import named_outputs
from samedge.runtime.parity.drift import (
    ComparedTensor,
    _between,
    _Pair,
    _Search,
    _verdict,
    locate,
    relative_error,
)
from samedge.runtime.parity.drift_cases import recorded_cases
from samedge.runtime.parity.graph_values import GraphValue
from tests.runtime.quantised import with_graph

pytestmark = pytest.mark.skipif(
    "int8" not in OPENVINO.precisions(), reason="this CPU has no int8 kernels"
)
BAD = "encoder.blocks.2.mlp.lin1"


@pytest.fixture
def faulty(tmp_path: Path, tiny_bundle: Path) -> Callable[..., Bundle]:
    """The tiny bundle, whose "int8" encoder is the float32 one after a change."""

    def make(change: Callable[[OnnxGraph], None]) -> Bundle:
        folder = tmp_path / "faulty.samedge"
        shutil.copytree(tiny_bundle, folder)
        graph = OnnxGraph.read(folder / "encoder.fp32.onnx")
        change(graph)
        graph.save(folder / "encoder.int8.onnx")
        return with_graph(folder, "encoder.int8.onnx")

    return make


def test_a_wrong_weight_is_found(faulty: Any) -> None:
    def change(graph: OnnxGraph) -> None:
        weight = graph.arrays[f"{BAD}.weight"].copy()
        weight[:, ::2] *= -1
        graph.arrays[f"{BAD}.weight"] = weight

    encoder, decoder = locate(faulty(change), OPENVINO, "int8")
    assert encoder.first is not None
    assert encoder.first.name == f"{BAD}/MatMul"
    assert encoder.first.kind == "MatMul"
    assert f"{BAD}/MatMul (MatMul) makes an error of" in encoder.verdict
    assert encoder.inputs
    assert all(tensor.error <= encoder.level for tensor in encoder.inputs)
    assert [t.place for t in encoder.checkpoints] == sorted(t.place for t in encoder.checkpoints)
    # The decoder is given the float32 embedding: it is not to blame.
    assert decoder.first is None
    assert decoder.output.error < 1e-5


def test_a_fault_that_hardly_shows_is_found_by_comparing_everything(faulty: Any) -> None:
    """One wrong column: the outputs are inside the bound, but an engine may fail by it."""
    bad = "encoder.blocks.3.cross.proj"

    def change(graph: OnnxGraph) -> None:
        weight = graph.arrays[f"{bad}.weight"].copy()
        weight[:, 0] *= -1
        graph.arrays[f"{bad}.weight"] = weight

    bundle = faulty(change)
    encoder, _ = locate(bundle, OPENVINO, "int8")
    assert encoder.output.error <= encoder.bound
    assert encoder.first is None
    encoder, decoder = locate(bundle, OPENVINO, "int8", thorough=True)
    assert encoder.first is not None
    assert encoder.first.name == f"{bad}/MatMul"
    assert "makes an error" in encoder.verdict
    assert decoder.first is None


def test_an_overflow_is_called_one(faulty: Any) -> None:
    def change(graph: OnnxGraph) -> None:
        weight = graph.arrays[f"{BAD}.weight"]
        graph.arrays[f"{BAD}.weight"] = np.copysign(np.float32(3e38), weight)

    encoder, _ = locate(faulty(change), OPENVINO, "int8")
    assert encoder.first is not None
    assert encoder.first.name == f"{BAD}/MatMul"
    assert not np.isfinite(encoder.first.error)
    assert "overflow" in encoder.verdict


def test_a_sound_graph_has_no_such_place(tiny_bundle: Path) -> None:
    steps: list[Step] = []
    bundle = Bundle.open(tiny_bundle)
    drifts = locate(bundle, OPENVINO, "fp32", progress=steps.append)
    assert [drift.graph for drift in drifts] == ["encoder", "decoder"]
    for drift in drifts:
        assert drift.first is None
        assert "agrees with float32" in drift.verdict
        assert all(tensor.error <= drift.bound for tensor in drift.checkpoints)
        json.dumps(drift.to_json())
    assert any(step.name.startswith("decoder") for step in steps)


def test_smoothing_for_int8_is_no_fault(faulty: Any) -> None:
    """A factor per channel, moved from a LayerNormalization into the next layer, is exact. Windows
    are made between the two."""
    block, norm, linear = "encoder.blocks.2", "norm1", "attn.qkv"

    def change(graph: OnnxGraph) -> None:
        weight, bias = (f"{block}.{norm}.{key}" for key in ("weight", "bias"))
        factor = np.linspace(0.1, 10, graph.arrays[weight].size, dtype=np.float32)
        for key in (weight, bias):
            graph.arrays[key] = graph.arrays[key] * factor
        matrix = graph.arrays[f"{block}.{linear}.weight"] / factor[:, None]
        matrix[:, ::2] *= -1  # and this is one
        graph.arrays[f"{block}.{linear}.weight"] = matrix

    encoder, _ = locate(faulty(change), OPENVINO, "int8")
    assert encoder.first is not None
    assert encoder.first.name == f"{block}.{linear}/MatMul"
    assert all(tensor.error < 0.02 for tensor in encoder.inputs)  # bf16's own


def test_what_only_moves_a_smoothed_value_is_smoothed() -> None:
    pair = object.__new__(_Pair)
    kinds = {"norm": "LayerNormalization", "moved": "Reshape", "padded": "Pad", "linear": "MatMul",
             "behind": "Reshape"}  # fmt: skip
    chain = ["x", *kinds]
    pair.computed = {
        name: GraphValue(name, kind, (chain[i],)) for i, (name, kind) in
        enumerate(kinds.items())
    }  # fmt: skip
    pair.options = LoadOptions("int8")
    assert [name for name in chain if pair._may_be_smoothed(name)] == ["norm", "moved", "padded"]
    pair.options = LoadOptions("bf16")
    assert not any(pair._may_be_smoothed(name) for name in chain)


def test_a_fault_of_fusing_is_told_apart(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong as a session computes it, right as soon as tensors inside are asked for."""

    def fused(
        bundle: Any, graph: str, options: Any, names: Any, cases: Any
    ) -> list[dict[str, Any]]:
        found = named_outputs(bundle, graph, "fp32", options, names, cases)
        if graph == "encoder" and len(names) == 1:
            for values in found:
                values["image_embedding"] = values["image_embedding"] * 2
        return found

    monkeypatch.setattr(OPENVINO, "named_outputs", fused)
    encoder, _ = locate(Bundle.open(tiny_bundle), OPENVINO, "fp32")
    assert encoder.first is None
    assert "how the engine fuses" in encoder.verdict


def test_a_backend_that_cannot_is_told_so(tiny_bundle: Path) -> None:
    mute: Any = SimpleNamespace(name="mute", inner=None)
    with pytest.raises(NotSupportedError, match="the mute backend cannot give out tensors"):
        locate(Bundle.open(tiny_bundle), mute, "fp32")


def test_a_bundle_without_selftests_or_float32(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    bundle.selftest = list  # type: ignore[method-assign]
    with pytest.raises(BundleError, match="no self-test frames"):
        locate(bundle, OPENVINO, "fp32")
    bundle = Bundle.open(tiny_bundle)
    entry = bundle.manifest.graphs["encoder"]["fp32"]
    half = bundle.manifest.with_graph("encoder", "fp16", entry)
    bundle.manifest = half.without_graph("encoder", "fp32")
    with pytest.raises((NotSupportedError, BundleError), match=r"fp32|float32"):
        locate(bundle, OPENVINO, "fp32")


def test_cases_are_what_a_session_feeds(tiny_bundle: Path) -> None:
    cases = recorded_cases(Bundle.open(tiny_bundle), 1)
    assert {case.name for case in cases["encoder"]} == {"colour-three-objects", "square-point"}
    assert all("frame" in case.inputs for case in cases["encoder"])
    for case in cases["decoder"]:
        assert np.abs(case.inputs["image_embedding"]).max() > 0
        assert "point_coords" in case.inputs


def test_named_outputs_leave_out_what_there_is_not(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    case = recorded_cases(bundle, 1)["encoder"][0]
    names = ["network_input", f"{BAD}/MatMul", "nothing", "image_embedding"]
    (found,) = named_outputs(bundle, "encoder", "fp32", LoadOptions(), names, [case.inputs])
    assert set(found) == set(names) - {"nothing"}
    assert found["network_input"].shape == (1, 1, 64, 64)
    assert found["image_embedding"].shape[0] == 1


ARRAYS = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20).map(np.array)


@given(ARRAYS, st.floats(0.5, 2.0))
def test_relative_error_is_relative(values: Any, factor: float) -> None:
    assert relative_error(values, values) == 0
    if np.sqrt((values**2).mean()) > 1e-6:
        assert relative_error(values * factor, values) == pytest.approx(abs(factor - 1), abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_infinitely_wrong(value: float) -> None:
    exact = np.array([1.0, 2.0])
    assert relative_error(np.array([1.0, value]), exact) == np.inf
    # ... but for what is so in float32, too: the masked places of an attention.
    assert relative_error(np.array([1.0, -np.inf]), np.array([1.0, -np.inf])) == 0
    assert relative_error(np.ones(3), exact) == np.inf


@given(st.integers(-1, 50), st.integers(0, 60), st.integers(1, 12))
def test_between_is_between(low: int, gap: int, count: int) -> None:
    places = _between(low, low + gap, count)
    assert len(places) <= count
    assert all(low < place < low + gap for place in places)
    assert bool(places) == (gap > 1)


@given(st.data())
def test_the_search_finds_the_first_of_any_graph(data: st.DataObject) -> None:
    """A random graph of operations, one of which is faulty: all that depend on it are wrong."""
    size = data.draw(st.integers(2, 120))
    values: list[GraphValue] = []
    for place in range(1, size):
        inputs = data.draw(st.sets(st.integers(0, place - 1), min_size=1, max_size=3))
        # The chain is what makes the end depend on everything.
        takes = tuple(f"v{i}" for i in sorted({*inputs, place - 1}))
        values.append(GraphValue(f"v{place}", "Op", takes))
    fault = data.draw(st.integers(1, size - 1))
    order = {f"v{i}": i for i in range(size)}
    computed = {value.name: value for value in values}
    pair: Any = SimpleNamespace(order=order, computed=computed)
    seen: dict[str, ComparedTensor] = {}
    calls = []

    def evaluate(names: Any) -> dict[str, ComparedTensor]:
        wanted = [name for name in names if name not in seen]
        calls.extend([1] if wanted else [])
        for name in wanted:
            seen[name] = ComparedTensor(name, "Op", order[name], float(order[name] >= fault), 1.0)
        return {name: seen[name] for name in names}

    search = _Search(pair, evaluate, 0.5, f"v{size - 1}")
    found = search.run(search.spread())
    assert found is not None
    assert found.name == f"v{fault}"
    assert len(calls) <= 5


def test_a_branch_that_is_right_does_not_mislead() -> None:
    """Two branches in turn, one of them faulty from its 50th operation on: the last tensor that is
    inside stands right before the end."""
    steps = 60
    names = ["x", *(f"{branch}{i}" for i in range(1, steps + 1) for branch in "ab"), "end"]
    order = {name: i for i, name in enumerate(names)}
    computed = {
        name: GraphValue(name, "Op", ("x" if i == 1 else f"{name[0]}{i - 1}",))
        for name in names[1:-1]
        for i in (int(name[1:]),)
    }
    computed["end"] = GraphValue("end", "Op", (f"a{steps}", f"b{steps}"))
    wrong = {"end", *(f"a{i}" for i in range(50, steps + 1))}
    pair: Any = SimpleNamespace(order=order, computed=computed)
    seen: dict[str, ComparedTensor] = {}
    calls = []

    def evaluate(wanted: Any) -> dict[str, ComparedTensor]:
        new = [name for name in wanted if name not in seen]
        calls.extend([1] if new else [])
        for name in new:
            seen[name] = ComparedTensor(name, "Op", order[name], float(name in wrong), 1.0)
        return {name: seen[name] for name in wanted}

    search = _Search(pair, evaluate, 0.5, "end")
    found = search.run(search.spread())
    assert found is not None
    assert found.name == "a50"
    assert len(calls) < 8  # in batches: each call compiles two engines
    assert len(seen) < 0.8 * len(names)  # found by going up, not by comparing everything


def test_a_slow_growth_is_not_blamed_on_one_operation() -> None:
    def tensor(name: str, error: float) -> ComparedTensor:
        return ComparedTensor(name, "MatMul", 3, error, 1.0)

    first, before, end = tensor("first", 0.2), tensor("before", 0.15), tensor("end", 0.4)
    grew = _verdict(first, [before], end, end, 0.3, 0.2)
    assert "grew over many operations" in grew
    made = _verdict(first, [tensor("before", 0.01)], end, end, 0.3, 0.2)
    assert "first (MatMul) makes an error of 0.2" in made


def test_where_nothing_makes_an_error_all_are_compared() -> None:
    """An error hidden by a residual connection, which grows back slowly behind it."""
    names = ["x", *(f"v{i}" for i in range(1, 200))]
    order = {name: i for i, name in enumerate(names)}
    computed = {name: GraphValue(name, "Op", (names[i],)) for i, name in enumerate(names[1:])}
    pair: Any = SimpleNamespace(order=order, computed=computed)
    seen: dict[str, ComparedTensor] = {}

    def evaluate(wanted: Any) -> dict[str, ComparedTensor]:
        for name in wanted:
            place = order[name]
            error = 0.9 if 50 <= place < 53 else 0.0 if place < 50 else place / 200
            seen[name] = ComparedTensor(name, "Op", place, error, 1.0)
        return {name: seen[name] for name in wanted}

    search = _Search(pair, evaluate, 0.5, names[-1])
    found = search.run(search.spread())
    assert found is not None
    assert found.name == "v50"
