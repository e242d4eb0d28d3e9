"""Small files that are read whole, and what is said of those that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samedge.errors import SourceError
from samedge.files.paths import kind_at, read_small


def test_a_small_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_small(tmp_path / "a", 5, SourceError) == b"12345"
    with pytest.raises(SourceError, match="a is larger than"):
        read_small(tmp_path / "a", 4, SourceError)
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "b", 5, SourceError)
    os.symlink("a", tmp_path / "link")
    assert read_small(tmp_path / "link", 5, SourceError) == b"12345"


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path / "pipe", "other"),
        (Path("/dev/zero"), "other"),
        (tmp_path, "folder"),
    ):
        assert kind_at(path, SourceError) == kind
        with pytest.raises(SourceError, match="no regular file"):
            read_small(path, 5, SourceError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(SourceError, match="cannot be reached: Permission denied"):
        kind_at(tmp_path / "closed" / "a", SourceError)
