"""The comparison of libsamedge with Python: what it reports, and that it times no wrong answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.bench import capi
from samedge.bench.contenders import native
from samedge.bench.report.values import Mode
from samedge.bench.schedule import FLAT, Plan
from samedge.capi.library import Library
from samedge.capi.session import NativeSession
from samedge.errors import ParityError
from tests.capi.conftest import library, library_path

__all__ = ["library", "library_path"]

PLAN = Plan(rounds=1, frames=3, warmup=2, pause_s=0)
PYTHON, ENGINE, PLAIN = (
    "tiny openvino fp32 1 thread",
    "tiny with an engine libsamedge openvino fp32 1 thread",
    "tiny with plain graphs libsamedge openvino fp32 1 thread",
)


@pytest.fixture(autouse=True)
def here(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "Library", lambda: library)
    monkeypatch.setattr(native, "library_path", lambda: "there is one")
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


def test_report(tiny_bundle: Path) -> None:
    report = capi.measure(tiny_bundle, "fp32", 1, PLAN)
    assert [row.name for row in report.rows] == [PYTHON, ENGINE, PLAIN]
    python, engine, _ = report.rows
    assert report.yardstick(engine) is python
    assert engine.extra["logits off by"] <= capi.LOGITS
    own = engine.extra["outside the engines p50, ms"]
    assert 0 < own < min(engine.modes[FLAT].frames)
    assert "outside the engines p50, ms" not in python.extra


def test_what_no_engine_had() -> None:
    stages = {"encode": ((5.0, 6.0), (7.0,)), "copy_in": ((1.0, 2.0), (3.0,)),
              "library": ((0.1, 0.2), (0.3,))}  # fmt: skip
    mode = Mode(((9.0, 9.0), (9.0,)), ((9.0, 9.0), (9.0,)), ((0.0, 1.0), (2.0,)), stages, (1, 1))
    assert capi.outside(mode) == pytest.approx([1.1, 2.2, 3.3])


def test_wrong_answers_are_not_timed(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    segment = NativeSession.segment

    def wrong(self: Any, *arguments: Any, **options: Any) -> Any:
        result = segment(self, *arguments, **options)
        result.low_res_logits[...] += np.float32(1)
        return result

    monkeypatch.setattr(NativeSession, "segment", wrong)
    given = ["--threads", "1", "--rounds", "1", "--frames", "2"]
    assert capi.main([str(tiny_bundle), *given]) == ParityError.exit_code
    assert "otherwise than Python" in capsys.readouterr().out
