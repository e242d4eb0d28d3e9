"""A new backend is one folder and one line in the table: everything else works with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.errors import NotSupportedError
from samedge.runtime.choice import BACKENDS, ON_REQUEST, choose_backend, named_backend
from samedge.runtime.parity.drift import locate
from samedge.runtime.parity.verify import verify

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "toy", "tests.runtime.toy_backend.backend:TOY")


@pytest.fixture
def frame() -> Any:
    return np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)


def test_a_session_gives_what_openvino_gives(tiny_bundle: Path, frame: Any) -> None:
    objects = [[(40, 30)], [(10, 12), (20, 22)]]
    with (
        samedge.load(tiny_bundle, backend="toy", threads=1) as session,
        samedge.load(tiny_bundle, "openvino", "fp32", threads=1) as reference,
    ):
        for pixels in (frame, frame.T, np.dstack([frame] * 3)):
            got = session.segment(pixels, points=objects)
            want = reference.segment(pixels, points=objects)
            np.testing.assert_allclose(got.low_res_logits, want.low_res_logits, atol=1e-4)
        np.testing.assert_allclose(session.embedding(), reference.embedding(), atol=1e-4)
        about = session.describe()
        with pytest.raises(NotSupportedError, match="the toy backend has its results in the CPU"):
            session.on_device("masks")
    assert (about["backend"], about["precision"], about["device"]) == ("toy", "fp32", "a toy")
    assert about["notes"] == []


def test_verify_in_python_and_on_the_command_line(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = verify(tiny_bundle, backend="toy")
    assert (row.backend, row.precision, row.passed) == ("toy", "fp32", True)
    assert run(["verify", str(tiny_bundle), "--backend", "toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["backend"] == "toy"


def test_what_it_does_not_offer_is_told(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(NotSupportedError, match="the toy backend cannot give out tensors"):
        locate(bundle, named_backend("toy"), "fp32")
    with pytest.raises(NotSupportedError, match=r"'bf16' does not run here .*auto, fp32"):
        samedge.load(bundle, backend="toy", precision="bf16")


def test_auto_takes_it_if_nothing_before_it_works(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [name for name in BACKENDS if name != "toy"]
    for name in others:
        monkeypatch.setattr(named_or_none(name), "unavailable", lambda: "not today")
    taken, why = choose_backend("auto")
    assert taken.name == "toy"
    tried = ", ".join(name for name in others if name not in ON_REQUEST)
    assert f"{tried}: not today" in why


def named_or_none(name: str) -> Any:
    module, _, attribute = BACKENDS[name].partition(":")
    return getattr(__import__(module, fromlist=[attribute]), attribute)
