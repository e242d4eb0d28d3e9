"""What `samedge doctor` says of libsamedge."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge import __version__
from samedge.capi import structs
from samedge.capi.facts import facts
from samedge.capi.library import ENV


def test_a_library_is_described(library_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, str(library_path))
    found = facts()
    assert Path(found["path"]).resolve() == library_path.resolve()
    assert __version__.startswith(found["version"])
    assert found["abi"] == f"{structs.ABI_MAJOR}.{structs.ABI_MINOR}"
    assert found["backends"]["openvino"] is None
    assert "built without" in found["backends"]["tensorrt"]


def test_what_is_no_library_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "libsamedge.so"
    wrong.write_bytes(b"no library")
    monkeypatch.setenv(ENV, str(wrong))
    found = facts()
    assert found["path"] == str(wrong)
    assert "cannot be loaded" in found["error"]


def test_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    monkeypatch.setattr("samedge.capi.library.find_library", lambda _: None)
    assert facts() is None
