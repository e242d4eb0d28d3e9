"""The engine cache: private, checked, atomic, and never a reason to fail."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import BundleError
from samedge.families import SAMUS
from samedge.runtime import load
from samedge.runtime.engines import cache as cache_module
from samedge.runtime.engines.cache import EngineCache, Mapped, default_folder, load_or_build

KEY = {"graph": "abc", "threads": 2}
DATA = memoryview(b"compiled engine")


def stored(cache: EngineCache, suffix: str = ".engine") -> Path:
    (path,) = cache.folder.glob(f"*{suffix}")
    return path


def test_put_and_get(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    assert cache.get("part", KEY) is None
    put = cache.put("part", KEY, DATA)
    assert put is not None
    assert put.array().tobytes() == bytes(DATA)
    got = EngineCache(tmp_path / "engines").get("part", KEY)
    assert got is not None
    assert got.array().tobytes() == bytes(DATA)
    got.drop_pages()
    assert got.array().tobytes() == bytes(DATA)
    assert cache.get("part", KEY | {"threads": 1}) is None
    assert cache.notes == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_folder_and_files_are_private(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "a" / "engines")
    cache.put("part", KEY, DATA)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(stored(cache).stat().st_mode) & 0o077 == 0


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_a_folder_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    cache = EngineCache(folder)
    assert cache.put("part", KEY, DATA) is None
    assert cache.get("part", KEY) is None
    assert "writable by other users" in cache.notes[0]
    assert "SAMEDGE_CACHE" in cache.notes[0]
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "engines").symlink_to(tmp_path / "real")
    assert "is a link" in EngineCache(tmp_path / "engines").notes[0]


def test_a_file_in_the_way_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("not a folder")
    cache = EngineCache(tmp_path / "engines")
    assert len(cache.notes) == 1
    assert cache.get("part", KEY) is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "sidecar", "sidecar_list", "key", "swap"])
def test_damaged_engines_are_thrown_away(tmp_path: Path, damage: str) -> None:
    cache = EngineCache(tmp_path / "engines")
    cache.put("part", KEY, DATA)
    engine, sidecar = stored(cache), stored(cache, ".json")
    if damage == "flip":
        engine.write_bytes(b"Compiled engine")
    elif damage == "truncate":
        engine.write_bytes(b"")
    elif damage == "sidecar":
        sidecar.write_text("{")
    elif damage == "sidecar_list":
        sidecar.write_text("[]")
    elif damage == "key":
        record = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps(record | {"key": {"graph": "other"}}))
    else:
        other = EngineCache(tmp_path / "engines")
        other.put("part", KEY | {"threads": 9}, memoryview(b"foreign engine!"))
        foreign = next(p for p in cache.folder.glob("*.engine") if p != engine)
        os.replace(foreign, engine)
    assert cache.get("part", KEY) is None
    assert "thrown away" in cache.notes[0]
    assert "built anew" in cache.notes[0]
    assert not engine.exists()
    assert not sidecar.exists()


def test_an_engine_without_sidecar_is_not_loaded(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    cache.put("part", KEY, DATA)
    stored(cache, ".json").unlink()
    assert cache.get("part", KEY) is None


def test_a_full_disk_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache = EngineCache(tmp_path / "engines")
    monkeypatch.setattr(os, "fsync", full)
    assert cache.put("part", KEY, DATA) is None
    assert "No space left" in cache.notes[0]
    assert list(cache.folder.iterdir()) == []


def test_interrupted_writes_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    cache = EngineCache(tmp_path / "engines")
    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.put("part", KEY, DATA)
    assert list(cache.folder.iterdir()) == []


def test_old_engines_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LIMIT_BYTES", 2 * len(DATA))
    cache = EngineCache(tmp_path / "engines")
    for threads in range(4):
        cache.put("part", {"threads": threads}, DATA)
        for path in cache.folder.glob("*.engine"):
            info = path.stat()
            os.utime(path, (info.st_atime - 10, info.st_mtime - 10))
    assert len(list(cache.folder.glob("*.engine"))) == 2
    assert len(list(cache.folder.glob("*.json"))) == 2
    assert cache.get("part", {"threads": 3}) is not None


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "engines"
    monkeypatch.delenv("SAMEDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "samedge" / "engines"


def test_an_engine_the_library_refuses_is_built_anew(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    cache.put("part", KEY, memoryview(b"old"))

    def read(mapped: Mapped) -> bytes:
        if mapped.array().tobytes() == b"old":
            raise RuntimeError("blob version 1\ndetails")
        return mapped.array().tobytes()

    engine, mapped, cached = load_or_build(
        cache, "part", KEY, read, lambda: b"new", lambda engine: memoryview(engine)
    )
    assert engine == b"new"
    assert mapped is not None
    assert not cached
    assert "refused it (blob version 1)" in cache.notes[0]
    assert load_or_build(cache, "part", KEY, read, lambda: b"?", memoryview)[2]


def test_second_session_comes_from_the_cache(
    toy_factory: Any, frame: Any, private_cache: Path
) -> None:
    bundle = toy_factory(SAMUS)
    with load(bundle, precision="fp32", threads=1) as session:
        first = session.segment(frame, points=[(3, 4)])
        assert not session._encoder.cached
    assert len(list(private_cache.glob("*.engine"))) == 3
    with load(bundle, precision="fp32", threads=1) as session:
        assert session._encoder.cached
        assert session._decoder.cached
        second = session.segment(frame, points=[(3, 4)])
        assert session.describe()["notes"] == []
    np.testing.assert_array_equal(first.low_res_logits, second.low_res_logits)


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
        assert session.segment(frame, points=[(3, 4)]).masks.any() in (True, False)
        assert "No space left" in session.describe()["notes"][0]
