"""Room on the disk is looked at before anything is written."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import samedge.bundle.space as module
from samedge.bundle import BundleWriter, check_space
from samedge.errors import OutputError

Usage = namedtuple("Usage", "total used free")
GB = 10**9


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Free bytes of faked disks by a folder on them; a folder that is not listed has plenty."""
    free: dict[Path, int] = {}

    def usage(path: Path) -> Usage:
        left = next((n for folder, n in free.items() if path.is_relative_to(folder)), 10**15)
        return Usage(10**16, 0, left)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(module, "_same_disk", lambda one, _other: "cache" not in str(one))
    return free


def test_a_bundle_that_fits_and_one_that_does_not(disk: Any, tmp_path: Path) -> None:
    disk[tmp_path] = 3 * GB
    target = tmp_path / "a.samedge"
    check_space(target, 3 * GB)
    with pytest.raises(OutputError) as caught:
        check_space(target, 3 * GB + 1)
    assert caught.value.exit_code == 6
    for words in ("a.samedge", "3.00 GB", "nothing was written", "another disk"):
        assert words in str(caught.value)


def test_a_zip_is_there_twice_for_a_moment(disk: Any, tmp_path: Path) -> None:
    disk[tmp_path] = 5 * GB
    check_space(tmp_path / "a.samedge", 5 * GB)
    with pytest.raises(OutputError, match=r"takes about 6\.00 GB"):
        check_space(tmp_path / "a.samedge", 3 * GB, zipped=True)


def test_a_zip_is_unpacked_into_the_cache(
    disk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    disk[tmp_path / "cache"] = GB
    target = tmp_path / "out" / "a.samedge"
    target.parent.mkdir()
    check_space(target, 2 * GB)
    check_space(target, GB, zipped=True)
    with pytest.raises(OutputError, match="in the cache"):
        check_space(target, 2 * GB, zipped=True)


def test_a_name_without_a_folder_means_here(
    disk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    disk[tmp_path] = 1
    with pytest.raises(OutputError):
        check_space(Path("a.samedge"), 2)


def test_disks_that_tell_nothing_are_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(0, 0, 0))
    check_space(tmp_path / "a.samedge", GB)

    def fails(_path: Path) -> Usage:
        raise OSError("no such call")

    monkeypatch.setattr(shutil, "disk_usage", fails)
    check_space(tmp_path / "a.samedge", GB)


def test_a_writer_does_not_even_begin(disk: Any, tmp_path: Path) -> None:
    disk[tmp_path] = GB
    with pytest.raises(OutputError, match="no space"):
        BundleWriter(tmp_path / "a.samedge", size=2 * GB)
    assert os.listdir(tmp_path) == []
    with BundleWriter(tmp_path / "a.samedge", size=GB) as writer:
        writer.add_bytes("a.onnx", b"x")


def test_a_full_cache_leaves_no_zip(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be opened afterwards is not left behind as if it had worked."""
    (tmp_path / "cache").write_text("a file where the cache should be")
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    target = tmp_path / "out" / "a.samedge"
    target.parent.mkdir()
    with pytest.raises(OutputError, match="unpacked into"):
        make(target, zip=True)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("zipped", [False, True])
def test_what_commit_returns_is_the_bundle_in_its_place(
    make: Any, tmp_path: Path, zipped: bool
) -> None:
    bundle = make(tmp_path / "a.samedge", zip=zipped)
    assert bundle.path == tmp_path / "a.samedge"
    assert (bundle.root == bundle.path) != zipped
    assert bundle.graph("decoder", "fp32").is_relative_to(bundle.root)
