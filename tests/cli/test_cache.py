"""`samedge cache`: what lies in the user's cache, and clearing what nobody uses."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.runtime.engines.keys import CalibrationKey, KernelsKey, NvidiaKey
from samedge.runtime.engines.store import EngineStore

DEMO = Path(__file__).parents[2] / "samedge" / "data" / "samus-demo.samedge"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(cache: Path) -> Path:
    """The same after a session, with an engine for NVIDIA, its kernels, and a calibration."""
    samedge.load(DEMO, backend="openvino", precision="fp32").close()
    bundle = Bundle.open(DEMO)
    store = EngineStore.of_bundle(bundle)
    key = NvidiaKey("encoder", "fp16", "0" * 64, "tensorrt_rtx", "1.7.1.116", 120)
    engine = store.save(key, memoryview(b"an engine"))
    user = EngineStore.of_user()
    user.save(KernelsKey(engine.record.sha256, "1.7.1.116", 0, "13.0"), memoryview(b"kernels"))
    EngineStore.of_user(bundle).save(CalibrationKey(1, "a" * 64, "b" * 64), memoryview(b"numbers"))
    return cache


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert run(["cache", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_shown(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys)
    assert found["folder"] == str(filled)
    assert found["bytes"] == size(filled) == sum(item["bytes"] for item in found["items"])
    kinds = sorted((item["kind"], item["library"], item["bundle"]) for item in found["items"] if
                   item["library"] is not None)  # fmt: skip
    name = DEMO.name
    assert kinds == [
        *[("engine", "OpenVINO", name)] * 3,
        ("engine", "TensorRT-RTX", name),
        ("kernels", "TensorRT-RTX", name),
    ]
    rest = {item["kind"]: item["bundle"] for item in found["items"] if item["library"] is None}
    assert rest == {"calibration": name, "unpacked bundle": "SAMUS custom"}
    assert run(["cache"]) == 0
    text = capsys.readouterr().out
    for words in ("OpenVINO engine", name, "just now", "MB. Clear them with: samedge cache clear"):
        assert words in text


def test_everything_is_cleared_and_made_anew(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = size(filled)
    planned = shown(capsys, "clear", "--dry-run")
    assert (planned["bytes"], size(filled)) == (total, total)
    done = shown(capsys, "clear")
    assert done["bytes"] == total
    assert len(done["removed"]) == len(planned["items"]) == 7
    assert (size(filled), done["in_use"], done["failed"]) == (0, [], [])
    assert shown(capsys)["items"] == []
    with samedge.load(DEMO, backend="openvino", precision="fp32") as session:
        assert session.describe()["backend"] == "openvino"


def test_only_what_was_not_used_for_long(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = time.time() - 40 * 86400
    for path in filled.rglob("openvino-*.engine"):
        os.utime(path, (before, before))
    assert len(shown(capsys, "clear", "--dry-run", "--older-than", "30d")["items"]) == 3
    samedge.load(DEMO, backend="openvino", precision="fp32").close()
    assert shown(capsys, "clear", "--dry-run", "--older-than", "30d")["items"] == []
    assert len(shown(capsys, "clear", "--dry-run", "--older-than", "0h")["items"]) == 7


def test_what_a_session_uses_is_left(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = np.full((40, 50), 90, np.uint8)
    with samedge.load(DEMO, backend="openvino", precision="fp32") as session:
        expected = session.segment(frame, points=[(20, 20)])
        done = shown(capsys, "clear", "--yes")
        used = {(item["kind"], item["library"]) for item in done["in_use"]}
        assert ("unpacked bundle", None) in used
        assert ("engine", "OpenVINO") in used
        assert all(item["in_use"] for item in shown(capsys)["items"])
        assert session.segment(frame, points=[(20, 20)]) == expected
        assert len(session.bundle.selftest()) > 0
        assert run(["cache", "clear"]) == 0
        assert "a running process uses them" in capsys.readouterr().out
    del session
    assert shown(capsys, "clear")["in_use"] == []
    assert size(filled) == 0


def test_foreign_files_are_never_touched(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "openvino-encoder-0.engine").write_bytes(b"not ours")
    copy = next((filled / "bundles").iterdir())
    mine = [
        filled / "notes.txt",
        filled / "engines" / "model.engine",
        filled / "engines" / "model.json",
        filled / "engines" / "nvidia" / "mine.engine",
        copy / "notes.txt",
        filled / "bundles" / "photo.png",
    ]
    for path in mine:
        path.write_bytes(b"mine")
    link = filled / "engines" / f"openvino-encoder-{'0' * 32}.engine"
    link.symlink_to(elsewhere / "openvino-encoder-0.engine")
    (filled / "engines" / "linked").symlink_to(elsewhere)
    assert "model.engine" in shown(capsys)["foreign"]
    assert link.name in shown(capsys)["foreign"]
    shown(capsys, "clear")
    assert all(path.read_bytes() == b"mine" for path in mine)
    assert link.is_symlink()
    assert (elsewhere / "openvino-encoder-0.engine").read_bytes() == b"not ours"
    assert sorted(path.name for path in copy.iterdir()) == ["notes.txt"]


def test_what_a_killed_process_left_goes_too(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "engines").mkdir(parents=True, mode=0o700)
    name = f"openvino-encoder-{'a' * 32}"
    for left in (f".{name}.part.engine", f".{name}.0123abcd.part.engine", f"{name}.json"):
        (cache / "engines" / left).write_bytes(b"half")
    (cache / "engines" / f"calibration-{'b' * 32}.engine").write_bytes(b"without a record")
    items = shown(capsys)["items"]
    assert [item["kind"] for item in items] == ["left over"] * 4
    shown(capsys, "clear")
    assert size(cache) == 0


def test_an_empty_cache(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cache"]) == 0
    assert "Nothing is kept" in capsys.readouterr().out
    assert run(["cache", "clear"]) == 0
    assert "Removed nothing" in capsys.readouterr().out
    assert not cache.exists()


def test_a_terminal_is_asked(
    filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = size(filled)

    class Terminal:
        def __init__(self, answer: str) -> None:
            self.answer = answer

        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:
            return self.answer

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run(["cache", "clear"]) == 130
    assert "Remove 7 things" in capsys.readouterr().err
    assert size(filled) == before
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert run(["cache", "clear"]) == 0
    assert size(filled) == 0


def test_stale_engines_alone(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a version of OpenVINO, here of TensorRT-RTX, that is not installed."""
    key = NvidiaKey("decoder", "fp16", "0" * 64, "tensorrt_rtx", "0.9", 120)
    EngineStore.of_bundle(Bundle.open(DEMO)).save(key, memoryview(b"old"))
    done = shown(capsys, "clear", "--stale")
    assert f"{key.stem}.engine" in [item["name"] for item in done["removed"]]
    assert not [item for item in done["removed"] if item["library"] == "OpenVINO"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clear", "--older-than", "30"], "like 12h, 30d, 4w"),
        (["clear", "--older-than", "1m"], "like 12h, 30d, 4w"),
        (["--dry-run"], "belong to: samedge cache clear"),
        (["claer"], "did you mean 'clear'?"),
    ],
)
def test_wrong_usage(
    words: list[str], said: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cache", *words]) == 2
    assert said in capsys.readouterr().err
