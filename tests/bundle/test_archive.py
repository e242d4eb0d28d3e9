"""Zipped bundles: one file, unpacked once into a private cache, and safe to unpack."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.bundle import Bundle, archive
from samedge.errors import BundleError, OutputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bundles"


@pytest.fixture
def zipped(make: Callable[..., Bundle], tmp_path: Path) -> Path:
    path = make(tmp_path / "small.samedge", zip=True).path
    shutil.rmtree(tmp_path / "cache")
    return path


def rewrite(
    path: Path,
    change: Callable[[zipfile.ZipFile], None] = lambda _: None,
    name: Callable[[str], str] = lambda n: n,
    skip: str = "",
    compress: int = zipfile.ZIP_STORED,
) -> None:
    """Write a zip anew, with renamed, left out and added entries."""
    with zipfile.ZipFile(path) as old:
        contents = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(path, "w", compress) as new:
        for entry, data in contents:
            if entry != skip:
                new.writestr(name(entry), data)
        change(new)


def test_files_are_stored_and_plain(zipped: Path) -> None:
    with zipfile.ZipFile(zipped) as file:
        infos = file.infolist()
    assert infos[0].filename == "manifest.json"
    for info in infos:
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert stat.S_ISREG(info.external_attr >> 16)


def test_unpacked_once(zipped: Path, cache: Path) -> None:
    first = Bundle.open(zipped)
    assert first.path == zipped
    assert first.graph("encoder", "fp32").read_bytes() == b"encoder graph"
    assert first.selftest()[0].name == "noise-0"
    (folder,) = cache.iterdir()
    assert first.root == folder
    assert folder.stat().st_mode & 0o077 == 0
    inode = folder.stat().st_ino
    assert Bundle.open(zipped).root.stat().st_ino == inode


@pytest.mark.parametrize("name", ["manifest.json", "encoder.fp32.onnx.data", "selftest"])
def test_an_incomplete_copy_is_unpacked_again(zipped: Path, cache: Path, name: str) -> None:
    path = Bundle.open(zipped).root / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(b"cut")
    again = Bundle.open(zipped)
    assert again.graph("encoder", "fp32").read_bytes() == b"encoder graph"
    assert len(list(cache.iterdir())) == 1


def test_a_changed_copy_is_named(zipped: Path) -> None:
    file = Bundle.open(zipped).root / "encoder.fp32.onnx"
    file.write_bytes(b"encoder grapH")
    with pytest.raises(BundleError, match="remove the unpacked copy"):
        Bundle.open(zipped).graph("encoder", "fp32")


@pytest.mark.parametrize("compress", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zipped_by_hand(zipped: Path, compress: int) -> None:
    """What `zip -r` and file managers make of a bundle folder."""
    rewrite(zipped, name=lambda n: f"small.samedge/{n}", compress=compress)
    assert Bundle.open(zipped).graph("decoder", "fp32").read_bytes() == b"decoder graph"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:evil", "..\\evil"])
def test_zip_slip(zipped: Path, cache: Path, name: str) -> None:
    rewrite(zipped, lambda z: z.writestr(name, b"x"))
    with pytest.raises(BundleError, match="outside its folder"):
        Bundle.open(zipped)
    assert not any(p.name == "evil" for p in cache.parent.parent.rglob("*"))


def test_files_that_the_manifest_does_not_list_stay_packed(zipped: Path) -> None:
    rewrite(zipped, lambda z: z.writestr("stray.so", b"x"))
    assert not (Bundle.open(zipped).root / "stray.so").exists()


def test_a_link_in_a_zip_is_only_a_file_with_wrong_contents(zipped: Path, cache: Path) -> None:
    def link(file: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("encoder.fp32.onnx")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")

    rewrite(zipped, link, skip="encoder.fp32.onnx")
    with pytest.raises(BundleError, match="not what its manifest says"):
        Bundle.open(zipped)
    assert list(cache.iterdir()) == []


def test_a_missing_and_a_doubled_file(zipped: Path) -> None:
    original = zipped.read_bytes()
    rewrite(zipped, skip="decoder.fp32.onnx")
    with pytest.raises(BundleError, match=r"lacks decoder\.fp32\.onnx"):
        Bundle.open(zipped)
    zipped.write_bytes(original)
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewrite(zipped, lambda z: z.writestr("decoder.fp32.onnx", b"x"))
    with pytest.raises(BundleError, match="a file twice"):
        Bundle.open(zipped)


def test_a_zip_without_manifest(zipped: Path) -> None:
    rewrite(zipped, skip="manifest.json")
    with pytest.raises(BundleError, match=r"a zip file but no bundle: it has no manifest\.json"):
        Bundle.open(zipped)


def test_bombs(
    zipped: Path, make: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """A file longer than the manifest says, and a manifest that says far too much."""
    rewrite(
        zipped,
        lambda z: z.writestr("decoder.fp32.onnx", bytes(10**7)),
        skip="decoder.fp32.onnx",
        compress=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(BundleError, match="not what its manifest says"):
        Bundle.open(zipped)
    monkeypatch.setattr(archive, "SMALL_BYTES", 1000)
    huge = make(zipped.with_name("huge.samedge"), weights=bytes(10**7), zip=True).path
    shutil.rmtree(cache)
    rewrite(huge, compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match="which no bundle of its size does"):
        Bundle.open(huge)
    assert list(cache.iterdir()) == []


def test_an_encrypted_entry(zipped: Path) -> None:
    data = bytearray(zipped.read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        offset = file.getinfo("decoder.fp32.onnx").header_offset
    at = data.rindex(b"decoder.fp32.onnx") - 46  # in the central directory
    for start in (offset + 6, at + 8):
        data[start] |= 1
    zipped.write_bytes(data)
    with pytest.raises(BundleError, match="encrypted"):
        Bundle.open(zipped)


def test_a_full_cache_disk(zipped: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive, "_unpack_file", full)
    with pytest.raises(OutputError, match="no space left"):
        Bundle.open(zipped)
    assert list(cache.iterdir()) == []


def test_a_cache_that_others_can_write(zipped: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(OutputError, match="not a private folder"):
        Bundle.open(zipped)
    cache.rmdir()
    cache.symlink_to(zipped.parent)
    with pytest.raises(OutputError, match="not a private folder"):
        Bundle.open(zipped)
    cache.unlink()
    cache.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        Bundle.open(zipped)


def test_the_users_cache_folder(
    zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAMEDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Bundle.open(zipped).root.parent == tmp_path / "xdg" / "samedge" / "bundles"


@settings(max_examples=150)
@given(st.data())
def test_damage_is_found_or_harmless(zipped: Path, cache: Path, data: st.DataObject) -> None:
    original = zipped.read_bytes()
    content = bytearray(original)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    damaged = zipped.with_name("damaged.samedge")
    damaged.write_bytes(content)
    try:
        bundle = Bundle.open(damaged)
        for name in bundle.manifest.files:
            bundle.verify_file(name)
        bundle.selftest()
    except BundleError:
        pass
    else:  # bytes that nothing depends on, such as times in the zip's directory
        assert bundle.manifest == Bundle.open(zipped).manifest
    assert not any(p.name.startswith(".") for p in cache.iterdir())
    assert not os.path.lexists(zipped.parent / "evil")


def unused_for(folder: Path, days: float) -> Path:
    folder.mkdir()
    (folder / "weights").write_bytes(b"x" * 1000)
    at = time.time() - days * 86400
    os.utime(folder, (at, at))
    return folder


def test_unpacked_bundles_that_nobody_opens_go(zipped: Path, cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o700)
    old, lately = unused_for(cache / ("a" * 64), 31), unused_for(cache / ("b" * 64), 29)
    foreign = unused_for(cache / "mine", 31)
    opened = Bundle.open(zipped)
    assert not old.exists()
    assert lately.is_dir()
    assert foreign.is_dir()
    os.utime(opened.root, (0, 0))
    assert Bundle.open(zipped).root == opened.root  # opened again: it is in use
    assert time.time() - opened.root.stat().st_mtime < 100


def test_unpacked_bundles_make_room_for_new_ones(
    zipped: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LIMIT_BYTES", 2500)
    cache.mkdir(parents=True, mode=0o700)
    days = {"a": 0.1, "b": 3, "c": 5, "d": 4}
    for name, count in days.items():
        unused_for(cache / (name * 64), count)
    opened = Bundle.open(zipped)
    left = {path.name[0] for path in cache.iterdir() if path != opened.root}
    assert left == {"a", "b"}  # the one of today stays whatever it takes
