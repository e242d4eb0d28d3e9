"""INT8 through `samedge.export`: what the bundle holds, and what is left when it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.cli.calibration import calibration_data
from samedge.cli.demo import example_loop
from samedge.errors import FrameError, NotSupportedError
from samedge.export import deriving
from samedge.export.int8.record import Quantised
from samedge.machine.memory import Room
from samedge.runtime.openvino.backend import OPENVINO
from tests.export.engine import folded_model, random_frame
from tests.export.rtx import DEMO, engines_of, needs_rtx, report_of


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    return [test.frame for test in Bundle.open(DEMO).selftest()]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: Any, frames: list[Any]) -> tuple[Bundle, Quantised]:
    """The demo model in INT8 alone, and what quantising its encoder gave."""
    quantise, found = deriving.quantise, []

    def kept(*arguments: Any, **options: Any) -> Quantised:
        found.append(quantise(*arguments, **options))
        return found[-1]

    path = tmp_path_factory.mktemp("int8") / "demo.samedge"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deriving, "quantise", kept)
        bundle = samedge.export(Bundle.open(DEMO), path, ("int8",), calibration=frames).bundle
    return bundle, found[0]


@pytest.fixture(scope="module")
def int8(exported: tuple[Bundle, Quantised]) -> Bundle:
    return exported[0]


def test_what_is_in_it(int8: Bundle) -> None:
    graphs = int8.manifest.graphs
    assert {name: list(entry) for name, entry in graphs.items()} == {
        "encoder": ["int8"],
        "decoder": ["fp16"],  # never quantised
    }
    record = int8.manifest.calibration
    assert record is not None
    assert record["frames"] == len(list(int8.selftest()))
    assert record["agreement"]["dice"] >= record["bound"]["min_dice"]
    assert len([layer for layer in record["layers"] if not layer["kept"]]) > 30
    page = int8.verify_file("int8-report.html").read_text()
    assert "<svg" in page
    assert "encoder.cnn" in page or "cnn.convs.0" in page
    rows = {(row.backend, row.precision): row for row in int8.manifest.parity}
    assert rows["openvino", "int8"].passed
    assert rows["emulation", "fp16"].passed


def test_frames_unlike_the_calibration_are_noted(int8: Bundle, frames: list[Any]) -> None:
    with samedge.load(int8, precision="int8", threads=1) as session:
        points = [(frames[0].shape[1] / 2, frames[0].shape[0] / 2)]
        assert session.segment(frames[0], points=points).notes == ()
        white = np.full_like(frames[0], 255)
        (note,) = session.segment(white, points=points).notes
        assert "unlike the frames that INT8 was calibrated with (brightness" in note
        assert session.predict(points=points).notes == (note,)  # of the same frame
        assert session.segment(frames[0], points=points).notes == ()


def test_auto_takes_it_and_masks_are_right(int8: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPENVINO, "doubtful", dict)  # also where the processor has no VNNI
    test = int8.selftest()[0]
    with samedge.load(int8) as session, samedge.load(Bundle.open(DEMO), precision="fp32") as full:
        about = session.describe()
        assert about["precision"] == "int8"
        points = [(test.frame.shape[1] / 2, test.frame.shape[0] / 2)]
        got, expected = (s.segment(test.frame, points=points) for s in (session, full))
    both = np.count_nonzero(got.masks & expected.masks)
    total = np.count_nonzero(got.masks) + np.count_nonzero(expected.masks)
    assert 2 * both / total > 0.95


def test_a_failed_gate_leaves_half_precision(
    exported: tuple[Bundle, Quantised],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    frames: list[Any],
) -> None:
    record = {**exported[1].record, "bound": {"min_dice": 1.0, "each": True}}
    worse = replace(exported[1], record=record, passed=False)
    monkeypatch.setattr(deriving, "quantise", lambda *_, **__: worse)
    path = tmp_path / "a.samedge"
    result = samedge.export(Bundle.open(DEMO), path, ("int8",), calibration=frames)
    assert result.precisions == ("fp16",)
    assert list(result.refused) == ["int8"]
    assert "parity failed in INT8" in result.refused["int8"]
    assert "the limit of the mean is 1)" in result.refused["int8"]
    assert "encoder.cnn.convs.0" in result.refused["int8"]  # which layers hurt
    left = Bundle.open(path)
    assert left.manifest == result.bundle.manifest
    assert list(left.manifest.graphs["encoder"]) == ["fp16"]
    assert not [row for row in left.manifest.parity if row.precision == "int8"]
    assert not list(path.glob("*int8*.onnx"))
    assert (path / "int8-report.html").exists()
    with samedge.load(left) as session:
        assert session.describe()["precision"] != "int8"


def test_too_little_memory_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samedge.machine.memory.room", lambda: Room(10**8, "free"))
    with pytest.raises(NotSupportedError, match="INT8: statistics") as caught:
        samedge.export(Bundle.open(DEMO), tmp_path / "a.samedge", ("int8",))
    assert caught.value.exit_code == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        ([], "holds no frame"),
        ([np.full((40, 40), np.nan)], "calibration frame 0"),
        ([random_frame(60, 60, 1), "a"], "calibration frame 1"),
    ],
)
def test_what_is_no_calibration_set(calibration: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=words):
        samedge.export(
            folded_model("samus"), tmp_path / "a.samedge", ("int8",), calibration=calibration
        )
    assert not list(tmp_path.iterdir())


def test_without_calibration_the_record_says_so(tmp_path: Path) -> None:
    folded = folded_model("autosamus-other")
    bundle = samedge.export(folded, tmp_path / "a.samedge", ("fp32", "int8")).bundle
    record = bundle.manifest.calibration
    assert record is not None
    assert record["source"] == "self-test"
    assert record["warnings"]


@pytest.mark.slow
def test_the_demos_own_loop_calibrates_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames are darker than the self-test's, on which the gate and every device look."""
    monkeypatch.setattr(OPENVINO, "doubtful", dict)  # also where the processor has no VNNI
    data = calibration_data(example_loop(), Bundle.open(DEMO).family)
    result = samedge.export(
        Bundle.open(DEMO), tmp_path / "a.samedge", ("fp32", "int8"), calibration=data
    )
    assert result.refused == {}
    record = result.bundle.manifest.calibration
    assert record is not None
    assert record["source"] == "dicom"
    assert len([layer for layer in record["layers"] if layer["kept"]]) <= 5
    done = samedge.segment(result.bundle, example_loop(), ["center"], frames=3, threads=1)
    assert done.session["precision"] == "int8"  # taken by `auto`
    assert not [text for text in done.sources[0].warnings if "unlike" in text]


@needs_rtx
@pytest.mark.parametrize("capability", [86, 120])
def test_int8_engines(int8: Bundle, tmp_path: Path, capability: int) -> None:
    """INT8 products where Q/DQ say so, half everywhere else, every attention one kernel."""
    folder = engines_of(int8, tmp_path, ("int8",), (capability,))
    found = report_of(folder, "encoder.int8", capability).without(("preprocess",))
    fused, attentions = found.attentions
    assert fused == attentions == 8
    wanted = {layer["name"] for layer in int8.manifest.calibration["layers"] if not layer["kept"]}
    done = {
        node.rpartition("/")[0]
        for layer in found.products["int8"]
        for node in layer.nodes
        if node.rpartition("/")[2].startswith(("MatMul", "Conv"))
    }
    assert wanted <= done
    assert "float32" not in found.products
