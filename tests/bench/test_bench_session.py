"""`samedge.bench.run` on a session whose clock and results are made up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samedge.bench import render, run, svg
from samedge.bench import session as bench_session
from samedge.bundle import SelfTest
from samedge.errors import ParityError, SourceError
from samedge.families import SAMUS
from samedge.runtime.result import Result
from tests.bundle.manifests import small_manifest


class FakeSession:
    """Every frame takes 1 + 8 + 0.5 + 0.5 ms of fake time."""

    def __init__(self, error: float = 0.0) -> None:
        self.now, self.frames, self.error = 0.0, 0, error
        self.family = SAMUS
        self.bundle = SimpleNamespace(manifest=small_manifest())

    def clock(self) -> float:
        return self.now

    def set_frame(self, frame: Any) -> None:
        self.frame = frame

    def predict(self, **prompts: Any) -> Result:
        return self.segment(self.frame, **prompts)

    def segment(self, frame: Any, **prompts: Any) -> Result:
        self.now += 0.010
        self.frames += 1
        timing = {"preprocess": 1.0, "encode": 8.0, "prompt": 0.5, "decode": 0.5, "total": 10.0}
        return Result(
            masks=np.zeros((1, *frame.shape[:2]), np.uint8),
            scores=np.zeros(1, np.float32),
            low_res_logits=np.full((1, 4, 4), self.error, np.float32),
            object_index=np.zeros(1, np.int64),
            timing_ms=timing,
        )

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "openvino",
            "precision": "fp32",
            "device": "a <fast> CPU",
            "why": "",
            "threads": 2,
            "family": "samus",
            "title": "SAMUS",
            "notes": [],
        }

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: Any) -> None:
        self.now += 1e6


def fake_bundle(tests: int = 1) -> Any:
    frame = np.zeros((20, 30), np.uint8)
    test = SelfTest(
        name="first",
        frame=frame,
        points=np.zeros((1, 1, 2)),
        labels=np.ones((1, 1), np.int64),
        box=None,
        low_res_logits=np.zeros((1, 4, 4), np.float32),
        masks=np.zeros((1, 20, 30), np.uint8),
        scores=np.zeros(1, np.float32),
    )
    return SimpleNamespace(manifest=small_manifest(), selftest=lambda: [test] * tests)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a session with a given logit error under `run`."""

    def install(error: float = 0.0) -> FakeSession:
        session = FakeSession(error)
        monkeypatch.setattr(bench_session, "load", lambda *_, **__: session)
        monkeypatch.setattr(bench_session, "Bundle", SimpleNamespace(open=lambda _: fake_bundle()))
        return session

    return install


def test_report_counts_what_happened(fake: Any) -> None:
    session = fake()
    report = run("x.samedge", frames=20, warmup=3, clock=session.clock)
    assert session.frames == 1 + 3 + 20
    assert report["fps"] == pytest.approx(100.0)
    assert report["stages_ms"]["total"]["p50"] == 10.0
    assert report["stages_ms"]["encode"]["p99"] == 8.0
    assert report["outside_encoder_share"] == pytest.approx(0.2)
    assert report["samples_ms"]["samedge"] == [10.0] * 20
    assert report["eager"] is None
    assert json.loads(json.dumps(report)) == report


def test_a_wrong_model_is_never_timed(fake: Any) -> None:
    session = fake(error=0.5)
    with pytest.raises(ParityError, match="nothing was timed"):
        run("x.samedge", frames=20, clock=session.clock)
    assert session.frames == 1


def test_eager_runs_in_turn(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session = fake()
    order: list[str] = []
    segment = session.segment

    def logged(frame: Any, **prompts: Any) -> Result:
        order.append("samedge")
        return segment(frame, **prompts)

    def eager() -> None:
        order.append("eager")
        session.now += 0.035

    monkeypatch.setattr(bench_session, "_eager", lambda *_: object())
    monkeypatch.setattr("samedge.bench.eager.network_input", lambda *_: None)
    monkeypatch.setattr("samedge.bench.eager.eager_prompts", lambda *_: {})
    monkeypatch.setattr("samedge.bench.eager.eager_frame", lambda *_: eager)
    session.segment = logged
    report = run("x.samedge", frames=4, warmup=0, eager_checkpoint="x.pth", clock=session.clock)
    assert order[5:] == ["eager", "samedge", "samedge", "eager"] * 2 + ["eager", "samedge"]
    assert report["eager"]["times_as_fast"]["median"] == pytest.approx(3.5)
    text = render(report)
    assert "3.50 (3.50 to 3.50) times as fast" in text
    assert svg(report).count("<circle") == 8


def test_text_and_picture(fake: Any) -> None:
    session = fake()
    report = run("x.samedge", frames=3, warmup=0, clock=session.clock)
    text = render(report)
    for words in ("100.00 frames per second", "p99", "encode", "20.0%", "2 threads"):
        assert words in text
    picture = svg(report)
    assert picture.startswith("<svg")
    assert picture.count("<circle") == 3


def test_another_checkpoint_is_refused(fake: Any, tmp_path: Path) -> None:
    fake()
    path = tmp_path / "no.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(Exception, match=r"no\.pth"):
        run("x.samedge", eager_checkpoint=path)


def test_missing_source(fake: Any, tmp_path: Path) -> None:
    fake()
    with pytest.raises(SourceError):
        run("x.samedge", source=tmp_path / "nothing.mp4")
