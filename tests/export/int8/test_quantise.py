"""An encoder is made INT8, and no more of it than its masks allow."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.errors import ModelError
from samedge.export.graphs.model import OnnxGraph
from samedge.export.int8 import mask_agreement
from samedge.export.int8 import quantise as int8
from samedge.export.int8.calibration_data import CalibrationData, choose_frames
from samedge.export.int8.mask_agreement import Agreement, WorstMask
from samedge.export.int8.quantisable import quantisable_layers
from samedge.export.int8.quantise import quantise
from samedge.export.int8.record import Int8Options, Quantised
from samedge.export.int8.report import report_page, sensitivity_plot
from samedge.progress import Step
from tests.export.engine import encoder_feed, folded_model, geometry_of, open_graph
from tests.export.int8.cases import two_linears, ultrasound

MODEL = "samus-other"  # two blocks: an engine is compiled for each layer
# Of a model that was never trained, logits are near the threshold everywhere.
OPTIONS = Int8Options(min_dice=0.5, each=False, max_error=0.05, questions=2, threads=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("int8") / "a.samedge"
    return samedge.export(folded_model(MODEL), path).bundle


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> OnnxGraph:
    return OnnxGraph.read(bundle.graph("encoder", "fp32"))


@pytest.fixture(scope="module")
def data(bundle: Bundle) -> CalibrationData:
    return choose_frames(ultrasound(8, 48), bundle.family, "folder")


@pytest.fixture(scope="module")
def made(graph: OnnxGraph, data: CalibrationData, bundle: Bundle) -> Quantised:
    return quantise(graph, data, bundle, options=OPTIONS)


def test_the_record(made: Quantised, data: CalibrationData, graph: OnnxGraph) -> None:
    record = made.record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["frames"], record["source"]) == (8, "folder")
    assert record["data_sha256"] == data.sha256()
    assert [layer["name"] for layer in record["layers"]] == [
        layer.name for layer in quantisable_layers(graph)
    ]
    assert sum(layer["share"] for layer in record["layers"]) == pytest.approx(1, abs=1e-3)
    assert all(layer["error"] > 0 for layer in record["layers"])
    assert made.passed
    assert record["agreement"]["dice"] >= OPTIONS.min_dice
    assert "/" not in record["source"]


def test_what_was_decided_is_in_the_graph(made: Quantised) -> None:
    kept = {layer["name"] for layer in made.record["layers"] if layer["kept"]}
    for layer in made.record["layers"]:
        key = f"{layer['name']}.weight"
        assert made.graph.arrays[key].dtype == (np.float16 if layer["name"] in kept else np.int8)
    onnx.checker.check_model(made.graph.model(), full_check=True)


def test_onnxruntime_computes_about_the_same(made: Quantised, graph: OnnxGraph) -> None:
    """An engine that took no part in making the graph."""
    folded = folded_model(MODEL)
    frame = ultrasound(1, 48)[0]
    feed = encoder_feed(folded.family, geometry_of(folded, 48, 48), frame)
    results = []
    for one in (graph, made.graph):
        session = open_graph(one.model())
        names = [value.name for value in session.get_inputs()]
        assert [v.type for v in session.get_outputs()] == ["tensor(float)"]
        results.append(session.run(["image_embedding"], {name: feed[name] for name in names})[0])
    error = np.sqrt(np.mean((results[1] - results[0]) ** 2) / np.mean(results[0] ** 2))
    assert 1e-4 < error < 0.3


def test_the_argument_is_not_changed(bundle: Bundle, graph: OnnxGraph, made: Quantised) -> None:
    fresh = OnnxGraph.read(bundle.graph("encoder", "fp32"))
    assert int8.graph_sha256(fresh) == int8.graph_sha256(graph) == made.record["graph_sha256"]


def test_statistics_come_from_the_cache(
    graph: OnnxGraph, data: CalibrationData, bundle: Bundle, made: Quantised,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(int8, "activations", never)
    again = quantise(graph, data, bundle, options=OPTIONS)
    assert again.record == made.record
    other = choose_frames(ultrasound(9, 48), bundle.family, "folder")
    with pytest.raises(AssertionError, match="measured again"):
        quantise(graph, other, bundle, options=OPTIONS)


def test_a_bound_that_cannot_be_reached(
    graph: OnnxGraph, data: CalibrationData, bundle: Bundle
) -> None:
    """The worst layers are left out, in the order of their errors; then it says that it failed."""
    strict = Int8Options(min_dice=1.01, max_error=1.0, questions=2, threads=1)
    steps: list[Step] = []
    result = quantise(graph, data, bundle, options=strict, progress=steps.append)
    assert not result.passed
    layers = result.record["layers"]
    kept = [trial["kept"] for trial in result.record["trials"]]
    assert kept[:3] == [0, 1, 2]
    assert kept[-1] <= len(layers) // 2
    ranked = sorted(layers, key=lambda layer: -layer["error"])
    assert {x["name"] for x in ranked[: kept[-1]]} == {x["name"] for x in layers if x["kept"]}
    assert all("masks agreed" in layer["kept"] for layer in ranked[: kept[-1]])
    assert all(0 <= step.done <= step.of for step in steps)
    last = {step.name: step for step in steps}
    assert all(step.done == step.of > 0 for step in last.values())  # each is seen to the end
    how_long, *others = last.values()
    assert how_long.name == "INT8: how long it will take"
    assert re.match(rf"about [0-9.]+ (s|min).*\({len(layers)} layers", how_long.phase)
    assert len(others) == 3 + len(kept)
    assert sum("sensitivity" in step.name for step in steps) == len(layers) + 1


def test_every_mask_has_to_keep_its_limit(
    graph: OnnxGraph, data: CalibrationData, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good mean is not enough: the gate on every device looks at the worst mask."""
    made = iter((0.96, 0.969, 0.971, 0.98))

    def compare(*_arguments: Any) -> Agreement:
        return Agreement(
            0.999, 0.9, 0.0, 0.0, 9, WorstMask("calibration frame 1", next(made), 0.97)
        )

    monkeypatch.setattr(mask_agreement.MaskAgreement, "compare", compare)
    options = Int8Options(max_error=1.0, questions=1, probes=1, threads=1)
    result = quantise(graph, data, bundle, options=options)
    assert result.passed
    assert [trial["worst"]["dice"] for trial in result.record["trials"]] == [0.96, 0.969, 0.971]


def test_ranges_hold_for_the_self_test_frames(
    graph: OnnxGraph, data: CalibrationData, bundle: Bundle
) -> None:
    """Every device is verified with those, however dark the frames of the calibration are."""
    dark = choose_frames([frame // 8 for frame in data.frames], bundle.family, "folder")
    own = [test.frame for test in bundle.selftest()]
    both = choose_frames([*dark.frames, *own], bundle.family, "folder")
    options = replace(OPTIONS, min_dice=0.0, max_error=1.0, smoothing=False, probes=1, questions=1)
    records = [quantise(graph, d, bundle, options=options).record for d in (dark, both)]
    scales = [[layer["scale"] for layer in record["layers"]] for record in records]
    assert scales[0] == scales[1]
    assert records[0]["selftest_frames"] > 0 == records[1]["selftest_frames"]
    assert (records[0]["frames"], records[0]["data_sha256"]) == (8, dark.sha256())


def test_layers_beyond_their_own_bound_stay_out(
    graph: OnnxGraph, data: CalibrationData, bundle: Bundle, made: Quantised
) -> None:
    errors = sorted(layer["error"] for layer in made.record["layers"])
    bound = (errors[-3] + errors[-4]) / 2
    options = Int8Options(
        min_dice=0.0, each=False, max_error=bound, questions=1, threads=1, half=False
    )
    result = quantise(graph, data, bundle, options=options)
    kept = [layer for layer in result.record["layers"] if layer["kept"]]
    assert len(kept) == 3
    assert all("alone" in layer["kept"] for layer in kept)
    assert result.graph.arrays[f"{kept[0]['name']}.weight"].dtype == np.float32


def test_a_graph_without_layers(data: CalibrationData, bundle: Bundle) -> None:
    graph = two_linears()
    graph.nodes = [node for node in graph.nodes if node.op_type not in ("Conv", "MatMul")]
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        quantise(graph, data, bundle)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medsam", "samed", "volume"])
def test_other_families(name: str, tmp_path: Path) -> None:
    """Boxes, several classes, stacks of slices: their masks are compared as well."""
    made = samedge.export(folded_model(name), tmp_path / "a.samedge").bundle
    data = choose_frames(ultrasound(max(4, 2 * made.family.slices), 48), made.family, "folder")
    graph = OnnxGraph.read(made.graph("encoder", "fp32"))
    options = Int8Options(min_dice=0.0, each=False, max_error=1.0, probes=1, questions=1, threads=1)
    result = quantise(graph, data, made, options=options)
    assert result.record["agreement"]["masks"] > 0
    assert result.record["agreement"]["logit_rms"] < 0.5


def test_agreement_sees_a_broken_encoder(graph: OnnxGraph, bundle: Bundle) -> None:
    masks = mask_agreement.MaskAgreement.ask(bundle, ultrasound(2, 48), 1)
    same = masks.compare(graph, "fp32")
    assert same.dice > 0.999
    assert same.worst is not None
    assert same.worst.passed
    assert same.worst.frame.startswith(("self-test frame '", "calibration frame "))
    broken = graph.copy()
    key = "encoder.neck.lin.weight"
    broken.arrays[key] = -broken.arrays[key]
    steps: list[Step] = []
    worse = masks.compare(broken, "fp32", steps.append, "asking")
    assert worse.dice < same.dice - 0.05
    assert worse.worst is not None
    assert not worse.worst.passed
    assert [step.done for step in steps] == list(range(steps[-1].of + 1))
    assert len(steps) > 1


class _Balanced(HTMLParser):
    """Every tag that is opened is closed again, and nothing comes from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name in ("src", "href") for name, _ in attrs)
        if tag not in ("meta", "line", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect"):
            assert self.open.pop() == tag


def test_report(made: Quantised) -> None:
    record = {**made.record, "warnings": ["<b>careful</b>"]}
    page = report_page(record, "A & B")
    parser = _Balanced()
    parser.feed(page)
    assert not parser.open
    assert "&lt;b&gt;careful&lt;/b&gt;" in page
    assert "A &amp; B" in page
    for layer in record["layers"]:
        assert layer["name"].removeprefix("encoder.") in page


def test_bars_are_as_long_as_the_errors() -> None:
    layers = [{"name": f"l{i}", "error": 10.0**-i, "kept": ""} for i in (3, 1, 2)]
    plot = sensitivity_plot(layers, width=460)
    widths = [float(part.split('"')[0]) for part in plot.split('width="')[2:]]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)  # decades above the lowest
    assert widths[2] == 1.0


def test_a_failed_report_says_so(made: Quantised) -> None:
    record = {**made.record, "bound": {**made.record["bound"], "each": True, "min_dice": 0.8}}
    worst = {"frame": "calibration frame 3", "dice": 0.95, "limit": 0.97}
    record["agreement"] = {**made.record["agreement"], "dice": 0.9, "worst": worst}
    page = report_page(record, "x")
    assert "A limit was missed" in page
    assert "calibration frame 3" in page
    record["agreement"]["worst"] = {**worst, "dice": 0.98}
    assert "A limit was missed" not in report_page(record, "x")
    record["bound"]["min_dice"] = 0.99
    assert "A limit was missed" in report_page(record, "x")
