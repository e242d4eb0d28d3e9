"""Sessions and the engine store: the second start is quick, and nothing in it stops a session."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge._openvino import ov
from samedge.errors import BundleError
from samedge.families import SAMUS
from samedge.runtime import load


def test_second_session_comes_from_the_cache(
    toy_factory: Any, frame: Any, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = toy_factory(SAMUS)
    with load(bundle, precision="fp32", threads=1) as session:
        first = session.segment(frame, points=[(3, 4)])
    before = {path: path.stat().st_mtime_ns for path in private_cache.iterdir()}
    assert len(list(private_cache.glob("*.engine"))) == 3
    monkeypatch.setattr(ov.Core, "compile_model", None)  # whoever compiles again fails
    with load(bundle, precision="fp32", threads=1) as session:
        second = session.segment(frame, points=[(3, 4)])
        assert session.describe()["notes"] == []
    np.testing.assert_array_equal(first.low_res_logits, second.low_res_logits)
    assert {path: path.stat().st_mtime_ns for path in private_cache.iterdir()} == before


def test_a_changed_graph_is_an_error_even_with_a_warm_cache(toy_factory: Any) -> None:
    bundle = toy_factory(SAMUS)
    load(bundle, threads=1).close()
    path = bundle.path / "encoder.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="was changed"):
        load(bundle, threads=1)


def test_a_damaged_engine_does_not_stop_a_session(
    toy_factory: Any, frame: Any, private_cache: Path
) -> None:
    bundle = toy_factory(SAMUS)
    with load(bundle, precision="fp32", threads=1) as session:
        first = session.segment(frame, points=[(3, 4)])
    for path in private_cache.glob("*.engine"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    with load(bundle, precision="fp32", threads=1) as session:
        second = session.segment(frame, points=[(3, 4)])
        assert "thrown away" in session.describe()["notes"][0]
    np.testing.assert_array_equal(first.low_res_logits, second.low_res_logits)


def test_without_cache_nothing_is_written(
    toy_factory: Any, frame: Any, private_cache: Path
) -> None:
    with load(toy_factory(SAMUS), threads=1, cache=False) as session:
        session.segment(frame, points=[(3, 4)])
    assert not private_cache.exists()


def test_a_full_disk_does_not_stop_a_session(
    toy_factory: Any, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with load(toy_factory(SAMUS), threads=1) as session:
        assert session.segment(frame, points=[(3, 4)]).masks.shape == (1, *frame.shape)
        assert "No space left" in session.describe()["notes"][0]
