"""`samedge demo`: pydicom's loop with the ready bundle, a session without engine, a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import samedge.bundle
from samedge.bundle import Bundle
from samedge.cli import demo, run
from samedge.families import SAMUS
from samedge.sources.opening import open_source
from samedge.stream import job
from tests.real_weights import lite_medsam
from tests.sources.media import FakeSession


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """Any bundle loads as this session."""

    class FakeBundle(Bundle):
        def __init__(self, path: Path) -> None:
            self.path, self.family, self.manifest = path, SAMUS, FakeSession().manifest

    made = FakeSession()
    monkeypatch.setattr(samedge.bundle.Bundle, "open", lambda path: FakeBundle(Path(path)))
    monkeypatch.setattr(job, "load", lambda _bundle, **_engine: made)
    return made


def test_the_loop_is_inside_pydicom() -> None:
    assert demo.example_loop().is_file()


def test_a_given_bundle(
    session: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert run(["demo", "-o", str(out), "--bundle", "trained.samedge", "--frames", "5"]) == 0
    text = capsys.readouterr().out
    assert "mean nothing" not in text
    assert "frames per second" in text
    assert "p95" in text
    names = ("examples_ybr_color_contact.png", "examples_ybr_color.mp4", "results.json")
    for name in names:
        assert str(out / name) in text
        assert (out / name).is_file()
    report = json.loads((out / "results.json").read_text())
    assert report["options"]["track"]
    assert len(report["sources"][0]["results"]) == 5
    assert session.asked[0]["points"].tolist() == [[[178, 95]]]
    assert "exceeds the frame" in report["sources"][0]["warnings"][0]


@pytest.mark.usefixtures("session")
def test_json_and_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "-o", str(tmp_path / "d"), "--bundle", "b", "--frames", "1", "-q"]
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["schema"] == 1
    assert captured.err == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--bundle", "b", "--checkpoint", "c"],
        ["--bundle", "b", "--untrained"],
        ["--point", "x"],
        ["--frames", "0"],
    ],
)
def test_usage(options: list[str], tmp_path: Path) -> None:
    assert run(["demo", "-o", str(tmp_path / "d"), *options]) == 2
    assert not (tmp_path / "d").exists()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo with the bundle that comes with samedge."""
    out = tmp_path_factory.mktemp("ready") / "demo"
    assert run(["demo", "-o", str(out), "--precision", "fp32", "-q"]) == 0
    return out


def test_the_ready_bundle_says_what_it_is(followed: Path) -> None:
    report = json.loads((followed / "results.json").read_text())
    assert "simulated images" in report["notice"]
    assert demo.ready_bundle().stat().st_size < 10_500_000
    ready = Bundle.open(demo.ready_bundle())
    assert ready.family.name == "samus"
    proven = {row.precision for row in ready.manifest.parity if row.passed}
    assert proven >= {"fp32", "bf16"}  # or it is slow where bf16 is native
    assert not list(followed.glob("*.samedge"))  # used from where it lies


def test_the_ready_bundle_follows_the_left_ventricle(followed: Path) -> None:
    """One dark chamber under the click, in all frames, of a size that a ventricle has there."""
    (source,) = json.loads((followed / "results.json").read_text())["sources"]
    assert not any(frame["lost"] for frame in source["results"])
    masks = [
        cv2.imread(str(followed / frame["masks"][0]["file"]), cv2.IMREAD_GRAYSCALE) > 0
        for frame in source["results"]
    ]
    assert len(masks) == 30
    loop, overlaps = _grey_loop(), []
    for before, mask, image in zip([masks[0], *masks], masks, loop, strict=False):
        y, x = np.argwhere(mask).mean(0)
        assert 135 < x < 220, (
            "the left ventricle is right of the septum, in the middle of the frame"
        )
        assert 60 < y < 150
        assert 1000 < mask.sum() < 9000
        pieces = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
        assert pieces.max() > 0.85 * mask.sum()  # the rest lies behind the open valve
        ring = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))) > 0
        assert image[mask].mean() < 0.7 * image[ring & ~mask].mean()
        overlaps.append(2 * (before & mask).sum() / (before.sum() + mask.sum()))
    assert min(overlaps) > 0.65  # it leaks through the open valve in a few frames
    assert np.median(overlaps) > 0.9


def _grey_loop() -> list[np.ndarray]:
    with open_source(demo.example_loop()) as source:
        return [frame.pixels.mean(-1) for frame in source]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's formula fills a tiny SAMUS instead of ViT-B."""
    from samedge.models import synthetic_samus, tiny_samus_config

    monkeypatch.setattr(synthetic_samus, "samus_config", lambda _vit: tiny_samus_config())


@pytest.mark.usefixtures("tiny")
def test_the_whole_way_and_the_bundle_used_again(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "demo"
    arguments = ["demo", "-o", str(out), "--untrained", "--frames", "4", "--threads", "1"]
    arguments += ["--precision", "fp32"]
    assert run(arguments) == 0
    text = capsys.readouterr().out
    assert "Untrained weights: these masks mean nothing." in text
    report = json.loads((out / "results.json").read_text())
    assert "mean nothing" in report["notice"]
    (bundle,) = out.glob("samus_vit_b-synthetic-*.samedge")
    assert Bundle.open(bundle).family.name == "samus"
    picture = cv2.imread(str(out / "examples_ybr_color_contact.png"))
    assert picture.shape[1] == 1600

    monkeypatch.setattr(demo, "_exported", lambda *_: pytest.fail("it was made again"))
    assert run(arguments) == 0
    assert "left by an earlier run" in capsys.readouterr().err
    again = json.loads((out / "results.json").read_text())
    areas = [[m["area_px"] for f in r["sources"][0]["results"] for m in f["masks"]]
             for r in (report, again)]  # fmt: skip
    assert areas[0] == areas[1]


@pytest.mark.usefixtures("tiny")
def test_a_damaged_bundle_is_made_again(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    arguments = ["demo", "-o", str(out), "--untrained", "--frames", "1", "-q", "--threads", "1"]
    assert run(arguments) == 0
    (bundle,) = out.glob("*.samedge")
    graph = bundle / "decoder.fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    assert run(arguments) == 0
    Bundle.open(bundle).graph("decoder", "fp32")


def test_real_weights_go_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From checkpoint to pictures, with a very small network in the place of the real one."""
    torch = pytest.importorskip("torch")
    from samedge.checkpoint import released
    from samedge.models import LiteMedsamConfig, build_model, tiny

    torch.manual_seed(0)
    weights, heads, out = tmp_path / "small.pth", tmp_path / "heads", tmp_path / "d"
    torch.save(build_model(tiny(LiteMedsamConfig)).state_dict(), weights)
    monkeypatch.setenv(released.LITE_MEDSAM_VARIABLE, str(weights))
    arguments = ["demo", "--real", "-o", str(out), "--frames", "2", "--labelled", str(heads)]
    assert run(arguments) == 3
    assert "official weights have 79d8c9dca6db" in capsys.readouterr().err
    monkeypatch.setattr(released, "LITE_MEDSAM_SHA256", released.sha256_file(weights))
    assert run(arguments) == 3
    assert "expected folders img and label" in capsys.readouterr().err
    assert not out.exists()
    disc = cv2.circle(np.zeros((90, 120), np.uint8), (60, 40), 25, 255, -1)
    for name in ("img", "label"):
        (heads / name).mkdir(parents=True)
        cv2.imwrite(str(heads / name / "a.png"), disc)
    assert run(arguments) == 0
    told = capsys.readouterr().out
    assert "Parity with the float32 reference" in told
    assert "LiteMedSAM" in told
    assert "expected IoU" in told
    report = json.loads((out / "results.json").read_text())
    assert "research only" in report["notice"]
    assert not report["options"]["track"]
    frame = report["sources"][0]["results"][0]
    assert frame["prompts"] == [{"box": [148.0, 72.0, 205.0, 134.0]}]
    assert json.loads((out / "labelled.json").read_text())["images"][0]["name"] == "a"


@pytest.mark.slow
def test_litemedsams_real_weights_find_the_ventricle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The box holds more than the chamber; the mask is the dark part, larger when it fills."""
    monkeypatch.setenv("SAMEDGE_LITE_MEDSAM", str(lite_medsam()))
    out = tmp_path / "demo"
    words = ["--frames", "14", "--precision", "fp32", "-q"]
    assert run(["demo", "--real", "-o", str(out), *words]) == 0
    (source,) = json.loads((out / "results.json").read_text())["sources"]
    areas = []
    for image, frame in zip(_grey_loop(), source["results"], strict=False):
        (found,) = frame["masks"]
        mask = cv2.imread(str(out / found["file"]), cv2.IMREAD_GRAYSCALE) > 0
        rows, columns = np.nonzero(mask)
        assert 140 <= columns.min() < columns.max() <= 212
        assert 64 <= rows.min() < rows.max() <= 142
        ring = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15))) > 0
        assert image[mask].mean() < 0.7 * image[ring & ~mask].mean()
        assert found["score"] > 0.8
        areas.append(found["area_px"])
    assert 1500 < min(areas) < 0.75 * max(areas) < 0.75 * 3500
