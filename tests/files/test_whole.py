"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from samedge.errors import OutputError
from samedge.files.whole import (
    check_target,
    is_disk_error,
    make_folder,
    output_error,
    whole_file,
    whole_folder,
    whole_path,
    write_bytes,
    write_json,
)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


def test_a_file_replaces_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"a longer text than the next")
    write_json(path, {"name": "Größe", "value": 1.5})
    assert json.loads(path.read_text()) == {"name": "Größe", "value": 1.5}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"old")
    words = r"no space left for a\.json \(No space left on device\); nothing was written.*good\.$"
    with pytest.raises(OutputError, match=words):
        write_bytes(tmp_path / "a.json", b"new", kept="The one before is good.")
    assert os.listdir(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_library_that_swallows_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch.save does: its error does not say that the disk is full."""

    def save(file: IO[bytes]) -> None:
        try:
            file.write(bytes(1 << 20))
            file.flush()
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0") from None

    real = os.open
    monkeypatch.setattr(os, "open", lambda *_: real("/dev/full", os.O_RDWR))
    with (
        pytest.raises(OutputError, match="no space left for state"),
        whole_file(tmp_path / "state.pt") as file,
    ):
        save(file)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_block_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with whole_path(tmp_path / "a.bin") as part:
            part.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == []


def test_the_draft_keeps_the_suffix_and_is_hidden(tmp_path: Path) -> None:
    with whole_path(tmp_path / "loop.mp4") as part:
        assert (part.parent, part.suffix, part.name[0]) == (tmp_path, ".mp4", ".")
        part.write_bytes(b"video")
        assert not (tmp_path / "loop.mp4").exists()
    assert (tmp_path / "loop.mp4").read_bytes() == b"video"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_path(path) as first, whole_path(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # whose block ended last
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from samedge.files.whole import whole_path\n"
        "with whole_path(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('half of it, and quite long')\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    path = tmp_path / "a.txt"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert len(os.listdir(tmp_path)) == 1  # one draft, not one for each
    write_bytes(path, b"whole")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_bytes() == b"whole"


def test_a_link_in_the_drafts_place_is_not_followed(tmp_path: Path) -> None:
    with whole_path(tmp_path / "a.txt") as part:
        name = part.name
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / name).symlink_to(precious)
    write_bytes(tmp_path / "a.txt", b"new")
    assert precious.read_text() == "keep"
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_bytes(tmp_path / "for_all", b"x")
        write_bytes(tmp_path / "private", b"x", mode=0o600)
        with whole_path(tmp_path / "other") as part:
            left = part
        left.write_text("a draft that everybody may read")
        write_bytes(tmp_path / "other", b"x", mode=0o600)
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    assert modes["for_all"] == 0o644
    assert modes["private"] == modes["other"] == 0o600


def test_no_number_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        make_folder(tmp_path / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        make_folder(tmp_path / "out" / "deeper")
    with pytest.raises(OutputError, match="there is no folder"):
        write_bytes(tmp_path / "out" / "a.txt", b"x")
    with pytest.raises(OutputError, match="is a file"), whole_folder(tmp_path / "out", "marker"):
        raise AssertionError("nothing may be made")


def test_which_errors_are_the_disks() -> None:
    assert is_disk_error(OSError(errno.EROFS, "read-only"))
    assert not is_disk_error(OSError(errno.ENOENT, "no such file"))
    assert not is_disk_error(ValueError("x"))
    message = str(output_error(OSError(errno.EROFS, "Read-only file system"), Path("/a/b.txt")))
    assert message.startswith("b.txt cannot be written: Read-only file system; nothing")


def test_what_cannot_be_written_to_is_said_before_the_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "a pipe"), (".", "is a folder"), ("no/a.json", "no folder")):
        with pytest.raises(OutputError, match=message):
            check_target(tmp_path / name)
    check_target(tmp_path / "a.json")
