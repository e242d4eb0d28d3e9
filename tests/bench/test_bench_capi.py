"""The comparison of libsamedge with Python: what it reports, and that it times no wrong answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.bench import capi
from samedge.capi.library import Library
from samedge.capi.session import NativeSession
from samedge.errors import ParityError
from tests.capi.conftest import library, library_path

__all__ = ["library", "library_path"]


@pytest.fixture(autouse=True)
def here(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capi, "Library", lambda: library)
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(capi, "PAUSE_S", 0.0)


def test_report(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    command = ["capi", str(tiny_bundle), "--frames", "3", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", command)
    assert capi._main() == 0
    text = capsys.readouterr().out
    assert "tiny.samedge, fp32, 1 threads, 3 frames in turn" in text
    for name in (capi.PYTHON, capi.ENGINE, capi.PLAIN):
        assert name in text
    report = capi.measure(tiny_bundle, "fp32", 1, 3, warmup=1)
    assert report["latency_ms"][capi.ENGINE]["count"] == 3
    inside = report["inside_ms"][capi.ENGINE]
    assert 0 < inside["own_p50"] < inside["total_p50"]
    assert set(report["load_s"]) == {capi.PYTHON, capi.ENGINE, capi.PLAIN}


def test_wrong_answers_are_not_timed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = NativeSession.segment

    def wrong(self: Any, *arguments: Any, **options: Any) -> Any:
        result = segment(self, *arguments, **options)
        result.low_res_logits[...] += np.float32(1)
        return result

    monkeypatch.setattr(NativeSession, "segment", wrong)
    with pytest.raises(ParityError, match="otherwise than Python"):
        capi.measure(tiny_bundle, "fp32", 1, 1)
