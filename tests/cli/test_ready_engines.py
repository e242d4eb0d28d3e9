"""Engines of `samedge build -o DIR`, named with --engines: what fits is taken, nothing else is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.errors import NotSupportedError, SessionError
from samedge.runtime.engines.store import EngineStore
from tests.runtime.stand_in.install import VERSIONS, installed


@pytest.fixture(params=[VERSIONS[0], VERSIONS[2]])
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with installed(request.param) as module:
        yield module
        module.world.driver.assert_clean()


@pytest.fixture(scope="module")
def rtx_engines(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tiny bundle, for the stand-in of TensorRT-RTX; read-only."""
    with installed(VERSIONS[2]) as module:
        return build(tiny_bundle, module, tmp_path_factory.mktemp("rtx") / "e")


@pytest.fixture
def rtx() -> Iterator[ModuleType]:
    with installed(VERSIONS[2]) as module:
        yield module


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(bundle: Path, library: ModuleType, folder: Path, *arguments: str) -> Path:
    target = library.__name__.replace("_", "-")
    command = ["build", str(bundle), "--target", target, "-o", str(folder), "--quiet"]
    assert run([*command, *arguments]) == 0
    return folder


def refused(
    arguments: list[str], library: ModuleType, capsys: pytest.CaptureFixture[str], code: int = 4
) -> str:
    """The message in one line; nothing was built instead."""
    builds = library.world.builds
    capsys.readouterr()
    assert run(arguments) == code
    assert library.world.builds == builds
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("backend", ["auto", "named"])
def test_every_command_takes_them(
    backend: str,
    tiny_bundle: Path,
    tmp_path: Path,
    library: ModuleType,
    private_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engines = build(tiny_bundle, library, tmp_path / "e")
    builds = library.world.builds
    Image.fromarray(np.full((60, 80), 90, np.uint8)).save(tmp_path / "a.png")
    name = library.__name__.replace("_", "-") if backend == "named" else "auto"
    options = ["--backend", name, "--engines", str(engines), "--json"]
    point = ["--point", "40,30", "-o", str(tmp_path / "out")]
    seen = []
    for command in (
        ["verify", str(tiny_bundle)],
        ["segment", str(tiny_bundle), str(tmp_path / "a.png"), *point],
        ["bench", str(tiny_bundle), "--frames", "2", "--warmup", "1", "--no-startup"],
    ):
        capsys.readouterr()
        assert run([*command, *options]) == 0
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        row = said["rows"][0] if "rows" in said else said["session"]
        seen.append(row.get("about", row))
    assert [said["backend"] for said in seen] == [library.__name__] * 3
    assert library.world.builds == builds
    assert not list(private_cache.rglob("*.sm86.engine"))  # kernels of TensorRT-RTX may be there


def test_auto_takes_the_precision_that_they_were_proven_in(
    half_bundle: Path, tmp_path: Path, library: ModuleType
) -> None:
    half = build(half_bundle, library, tmp_path / "half", "--precision", "fp16")
    with samedge.load(half_bundle, engines=half) as session:
        about = session.describe()
        assert (about["backend"], about["precision"]) == (library.__name__, "fp16")
        assert about["notes"] == []
        assert "first backend that takes these engines" in about["why"]
    with pytest.raises(NotSupportedError, match=r"encoder of half\.samedge in fp32"):
        samedge.load(half_bundle, engines=half, precision="fp32")
    both = build(half_bundle, library, tmp_path / "both")
    rows = samedge.runtime.parity.verify.verify(half_bundle, library.__name__, engines=both)
    assert [row.precision for row in rows] == ["fp16", "fp32"]
    # The bundle's own folder and the cache are looked at only where none is named.
    with samedge.load(half_bundle, library.__name__, cache=False) as session:
        assert "was built here" in session.describe()["notes"][0]


def test_engines_of_another_model(
    tiny_bundle: Path,
    rtx_engines: Path,
    tmp_path: Path,
    rtx: ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other, engines = tmp_path / "other.samedge", tmp_path / "e"
    shutil.copytree(rtx_engines, engines)
    make = ["export", str(tiny_bundle), "-o", str(other), "--precision", "fp16", "--quiet"]
    assert run(make) == 0
    for command in ("verify", "bench"):
        text = refused([command, str(other), "--engines", str(engines)], rtx, capsys)
        assert f"no engine in {engines} fits the encoder of other.samedge in fp16" in text
        assert "it holds decoder.fp32." in text
        assert f"samedge build {other} --target tensorrt-rtx --precision fp16 -o {engines}" in text
    # Of the same name and precision: it is the graph's hash that counts.
    for path in [*engines.iterdir()]:
        path.rename(path.with_name(path.name.replace("fp32", "fp16")))
    for record in engines.glob("*.json"):
        record.write_text(record.read_text().replace('"fp32"', '"fp16"'))
    text = refused(["verify", str(other), "--engines", str(engines)], rtx, capsys)
    assert "it was built from another model than this bundle's encoder" in text


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("bytes", "its SHA-256 is not the one in its record"),
        ("record", "it has no record"),
        ("damage", "is damaged"),
        ("version", "and here is"),
        ("gpu", "it is for a GPU of sm_75, and this one has sm_86"),
        ("writable", "is writable by other users"),
        ("link", "is a link"),
    ],
)
def test_what_does_not_fit_is_refused(
    harm: str,
    words: str,
    tiny_bundle: Path,
    tmp_path: Path,
    rtx: ModuleType,
    rtx_engines: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engines = tmp_path / "e"
    shutil.copytree(rtx_engines, engines)
    assert run(["cache", "trust", str(engines), "--yes", "--quiet"]) == 0
    engine = next(engines.glob("encoder.*.engine"))
    record = engine.with_suffix(".json")
    said = json.loads(record.read_text())
    if harm == "bytes":
        engine.write_bytes(engine.read_bytes() + b" ")
    elif harm == "record":
        record.unlink()
    elif harm == "damage":
        record.write_text("{")
    elif harm == "version":
        record.write_text(json.dumps({**said, "version": "9.9.0"}))
    elif harm == "gpu":
        record.write_text(json.dumps({**said, "compute_capability": 75}))
    elif harm == "writable":
        engines.chmod(0o775)
    else:
        engine.rename(tmp_path / "elsewhere")
        engine.symlink_to(tmp_path / "elsewhere")
    for backend in ("auto", "tensorrt-rtx"):
        arguments = ["verify", str(tiny_bundle), "--backend", backend, "--engines", str(engines)]
        text = refused(arguments, rtx, capsys)
        assert words in text
        assert "Nothing was built in its place" in text
        assert f"samedge build {tiny_bundle}" in text
    assert engine.is_symlink() or engine.exists()  # a user's file is never thrown away


def test_folders_that_are_none(
    tiny_bundle: Path, tmp_path: Path, rtx: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, words in (
        ("missing", "there is no folder"),
        ("file", "there is no folder"),
        ("empty", "holds no engine"),
    ):
        arguments = ["verify", str(tiny_bundle), "--engines", str(tmp_path / name)]
        text = refused(arguments, rtx, capsys, 3)
        assert words in text
        assert "samedge build BUNDLE" in text


def test_backends_that_take_none(
    tiny_bundle: Path, rtx_engines: Path, rtx: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["verify", str(tiny_bundle), "--engines", str(rtx_engines)]
    text = refused([*arguments, "--backend", "emulation"], rtx, capsys)
    assert "the emulation backend compiles for itself" in text
    assert "leave out --engines" in text
    text = refused([*arguments, "--backend", "openvino"], rtx, capsys)
    assert "fits tiny.samedge in fp32 on a CPU (openvino)" in text
    with (
        samedge.load(tiny_bundle, "openvino", threads=1) as session,
        pytest.raises(SessionError, match="engines came with a session"),
    ):
        samedge.segment(session, "a.png", engines=rtx_engines)


def test_without_a_gpu(
    tiny_bundle: Path, rtx_engines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installed(VERSIONS[2], devices=0) as library:
        text = refused(["verify", str(tiny_bundle), "--engines", str(rtx_engines)], library, capsys)
    assert f"no backend takes the engines in {rtx_engines} here" in text
    assert "the NVIDIA driver finds no GPU" in text


def test_a_folder_is_made_so_that_sessions_take_it(tiny_bundle: Path, tmp_path: Path) -> None:
    """Where groups may write by default, as on Ubuntu."""
    old = os.umask(0o002)
    try:
        with installed(VERSIONS[0]) as library:
            engines = build(tiny_bundle, library, tmp_path / "e")
            samedge.load(tiny_bundle, engines=engines).close()
    finally:
        os.umask(old)


def test_the_bundles_engines_are_not_those_of_the_folder(
    tiny_bundle: Path, tmp_path: Path, library: ModuleType
) -> None:
    """A folder that was named is all that is looked at, also for what passed a gate."""
    copy = tmp_path / "copy.samedge"
    shutil.copytree(tiny_bundle, copy)
    build(copy, library, EngineStore.of_bundle(Bundle.open(copy)).folders[0])
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "other.engine").write_bytes(b"x")
    with pytest.raises(NotSupportedError, match=r"it holds other\.engine"):
        samedge.load(copy, library.__name__, engines=tmp_path / "e")


def test_engines_of_strangers_are_not_loaded(
    half_bundle: Path,
    tmp_path: Path,
    library: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Built elsewhere, their records and hashes are right, and still nobody here vouches."""
    built = build(half_bundle, library, tmp_path / "built", "--precision", "fp16")
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "elsewhere"))  # another user, or machine
    with pytest.raises(NotSupportedError, match="not built by this user on this machine"):
        samedge.load(half_bundle, engines=built)
    assert run(["cache", "trust", str(built)]) == 4  # nobody at a terminal to ask
    assert "say --yes" in capsys.readouterr().err
    assert run(["cache", "trust", str(built), "--dry-run"]) == 0
    with pytest.raises(NotSupportedError, match="not built by this user on this machine"):
        samedge.load(half_bundle, engines=built)
    assert run(["cache", "trust", str(built), "--yes"]) == 0
    assert "2 new, trusted now" in capsys.readouterr().out
    with samedge.load(half_bundle, engines=built) as session:
        assert session.describe()["notes"] == []


def test_a_forged_record_is_worth_nothing(
    half_bundle: Path, tmp_path: Path, library: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would turn on code that the engine brings along, and count as proof."""
    built = build(half_bundle, library, tmp_path / "built", "--precision", "fp16")
    record = next(built.glob("encoder.*.json"))
    said = json.loads(record.read_text())
    options = {**said["options"], "version_compatible": True}
    record.write_text(json.dumps({**said, "options": options}))
    with pytest.raises(NotSupportedError, match="not built by this user on this machine"):
        samedge.load(half_bundle, engines=built)
    engine = next(built.glob("decoder.*.engine"))
    engine.write_bytes(engine.read_bytes() + b" ")
    assert run(["cache", "trust", str(built), "--yes"]) == 3
    assert "is not the engine that its record is of" in capsys.readouterr().err


def test_engines_that_came_with_a_bundle(
    half_bundle: Path, tmp_path: Path, library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with.samedge"
    shutil.copytree(half_bundle, folder)
    build(folder, library, folder / "engines", "--precision", "fp16")
    with samedge.load(folder, library.__name__, cache=False) as session:
        assert session.describe()["notes"] == []
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "elsewhere"))
    with samedge.load(folder, library.__name__, "fp16", cache=False) as session:
        notes = " ".join(session.describe()["notes"])
    assert "not built by this user on this machine" in notes
    assert "was built here" in notes
    assert run(["cache", "trust", str(folder), "--yes", "--quiet"]) == 0
    with samedge.load(folder, library.__name__, cache=False) as session:
        assert session.describe()["notes"] == []
