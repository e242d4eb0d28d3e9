"""All of a bundle or nothing: errors, Ctrl-C, full disks, killed processes, replacing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import samedge.bundle.writer as writer_module
from samedge.bundle import Bundle, BundleWriter, SelfTest
from samedge.errors import BundleError, OutputError
from samedge.files import work_folder as workfolder

ROOT = Path(__file__).resolve().parents[2]


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "new.samedge"


@pytest.mark.parametrize("zipped", [False, True])
def test_only_the_bundle_is_left(make: Any, target: Path, zipped: bool) -> None:
    bundle = make(target, zip=zipped)
    assert entries(target.parent) == ["new.samedge"]
    assert target.is_file() == zipped
    assert bundle.path == target
    assert bundle.graph("decoder", "fp32").read_bytes() == b"decoder graph"
    assert bundle.selftest()[0].name == "noise-0"


def test_same_input_same_bytes(make: Any, tmp_path: Path) -> None:
    for name in ("a.samedge", "b.samedge"):
        make(tmp_path / name, zip=True)
    assert (tmp_path / "a.samedge").read_bytes() == (tmp_path / "b.samedge").read_bytes()


def test_names_without_a_folder_mean_here(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert make(Path("here.samedge")).path.is_dir()
    assert entries(tmp_path) == ["here.samedge"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, BundleError])
def test_errors_leave_nothing(target: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), BundleWriter(target) as writer:  # noqa: PT012
        writer.add_bytes("encoder.fp32.onnx", b"x")
        raise error("stop")
    assert entries(target.parent) == []


def test_leaving_without_commit_leaves_nothing(target: Path) -> None:
    with BundleWriter(target) as writer:
        writer.add_bytes("encoder.fp32.onnx", b"x")
        assert len(entries(target.parent)) == 1
        assert entries(target.parent)[0].startswith(".")
    assert entries(target.parent) == []


@pytest.mark.parametrize(
    "step", ["sha256_file", "sync_tree", "move_into_place", "write_zip", "dump_manifest"]
)
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (OSError(errno.EIO, "Input/output error"), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_errors_in_commit_leave_what_was_there(
    make: Any,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    zipped: bool,
    error: BaseException,
    meant: type[BaseException],
) -> None:
    make(target, weights=b"old weights")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(writer_module, step, fail)
    if step == "write_zip" and not zipped:
        make(target, overwrite=True, zip=zipped)
        return
    with pytest.raises(meant):
        make(target, overwrite=True, zip=zipped)
    assert entries(target.parent) == ["new.samedge"]
    monkeypatch.undo()
    data = Bundle.open(target).verify_file("encoder.fp32.onnx.data").read_bytes()
    assert data == b"old weights"


def test_a_full_disk_while_writing(target: Path) -> None:
    """The caller's own writing into the work folder, such as onnx.save."""
    no_space = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match="no space left") as caught:  # noqa: SIM117, PT012
        with BundleWriter(target) as w:
            w.add_bytes("encoder.fp32.onnx", b"x")
            raise no_space
    assert caught.value.exit_code == 6
    assert entries(target.parent) == []


def test_other_os_errors_stay_what_they_are(target: Path) -> None:
    with pytest.raises(FileNotFoundError), BundleWriter(target) as writer:
        writer.add_file("encoder.fp32.onnx", target.parent / "not there")
    assert entries(target.parent) == []


def script(body: str, target: Path, *, wait: bool = True, extra: str = "") -> Any:
    """Run `body` inside a BundleWriter in another process."""
    lines = [
        "import sys, os, time, signal, resource",
        "from samedge.bundle import BundleWriter",
        "from samedge.errors import SamEdgeError",
        extra,
        "try:",
        "    with BundleWriter(sys.argv[1]) as writer:",
        f"        {body}",
        "except SamEdgeError as error:",
        "    print(type(error).__name__, error)",
    ]
    command = [sys.executable, "-c", "\n".join(lines), str(target)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if not wait:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_disk_that_is_really_full(target: Path) -> None:
    """A limit on file sizes makes `write` fail as a full disk does, without any privilege."""
    done = script(
        "writer.add_bytes('encoder.fp32.onnx', bytes(2**20))",
        target,
        extra="resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("OutputError no space left for new.samedge")
    assert entries(target.parent) == []


def test_a_tmpfs_that_is_full(target: Path) -> None:
    """The same on a real file system of 64 KiB, where the system lets users mount one."""
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    inner = 'mount -t tmpfs -o size=64k none "$1" && shift && exec "$@"'
    code = (
        "import os, sys\n"
        "from samedge.bundle import BundleWriter\n"
        "try:\n"
        "    with BundleWriter(sys.argv[1]) as w:\n"
        "        w.add_bytes('encoder.fp32.onnx', bytes(2**20))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
        "print(os.listdir(os.path.dirname(sys.argv[1])))\n"
    )
    try:
        done = subprocess.run(
            [*mount, inner, "sh", str(target.parent), sys.executable, "-c", code, str(target)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode != 0 and "Error" not in done.stdout:
        pytest.skip(f"no tmpfs for users here: {done.stderr.strip()[:100]}")
    assert done.stdout.splitlines()[0].startswith("OutputError no space left"), done.stderr
    assert done.stdout.splitlines()[1] == "[]"


def test_ctrl_c_in_another_process(target: Path) -> None:
    process = script(
        "writer.add_bytes('a.onnx', b'x'); print('ready', flush=True); time.sleep(60)",
        target,
        wait=False,
    )
    assert process.stdout.readline() == "ready\n"
    assert len(entries(target.parent)) == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert entries(target.parent) == []


def test_a_killed_export_is_swept_by_the_next(make: Any, target: Path) -> None:
    process = script(
        "writer.add_bytes('a.onnx', b'x'); print('ready', flush=True); time.sleep(60)",
        target,
        wait=False,
    )
    assert process.stdout.readline() == "ready\n"
    (left,) = entries(target.parent)
    with BundleWriter(target.with_name("other.samedge")):
        assert left in entries(target.parent)  # it is alive: hands off
    process.kill()
    process.communicate(timeout=30)
    assert entries(target.parent) == [left]
    assert not target.exists()
    make(target)
    assert entries(target.parent) == ["new.samedge"]


def test_writers_side_by_side(make: Any, target: Path) -> None:
    """Many at once in one folder: nobody sweeps another's work."""
    names = [f"{number}.samedge" for number in range(8)]
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            make(target.with_name(name))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert entries(target.parent) == names


def test_links_that_look_like_leftovers_are_left_alone(make: Any, target: Path) -> None:
    precious = target.parent.parent / "precious"
    precious.mkdir()
    (target.parent / ".samedge-work-link").symlink_to(precious)
    (target.parent / ".samedge-work-file").write_text("x")
    make(target)
    assert precious.is_dir()
    assert len(entries(target.parent)) == 3


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("exchange", [True, False])
def test_replacing(
    make: Any,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
    after: bool,
    exchange: bool,
) -> None:
    """Folder or zip by folder or zip, on disks that can exchange names and on others."""
    if not exchange:
        monkeypatch.setattr(workfolder, "_exchange", lambda *_: False)
    make(target, weights=b"old", zip=before)
    with pytest.raises(OutputError, match="exists already"):
        make(target)
    make(target, weights=b"new", zip=after, overwrite=True)
    assert entries(target.parent) == ["new.samedge"]
    assert Bundle.open(target).verify_file("encoder.fp32.onnx.data").read_bytes() == b"new"


def test_a_failed_exchange_puts_the_old_one_back(
    make: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(target, weights=b"old")
    monkeypatch.setattr(workfolder, "_exchange", lambda *_: False)
    rename = Path.rename

    def fail_once(self: Path, other: Path) -> Path:
        if self.name == "bundle":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OutputError, match="Input/output"):
        make(target, overwrite=True)
    assert entries(target.parent) == ["new.samedge"]
    assert Bundle.open(target).verify_file("encoder.fp32.onnx.data").read_bytes() == b"old"


def test_only_bundles_are_replaced(make: Any, target: Path) -> None:
    target.mkdir()
    (target / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError, match="is not a samedge bundle"):
        make(target, overwrite=True)
    assert entries(target) == ["thesis.tex"]
    file = target.with_name("file.samedge")
    file.write_text("precious")
    with pytest.raises(OutputError, match="is not a samedge bundle"):
        make(file, overwrite=True)
    link = target.with_name("link.samedge")
    link.symlink_to(make(target.with_name("real.samedge")).path)
    with pytest.raises(OutputError, match="is not a samedge bundle"):
        make(link, overwrite=True)


def test_something_appears_meanwhile(manifest: Any, target: Path) -> None:
    words = "exists already"
    with pytest.raises(OutputError, match=words), BundleWriter(target) as writer:  # noqa: PT012
        for name in ("encoder", "decoder"):
            writer.add_bytes(f"{name}.fp32.onnx", b"x")
        target.write_text("another program's")
        writer.commit(manifest)
    assert target.read_text() == "another program's"


def test_no_folder_to_write_into(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        BundleWriter(tmp_path / "none" / "x.samedge")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_must_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        BundleWriter(tmp_path / "x.samedge")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "manifest.json", "Manifest.JSON", ".x", "a\\b"])
def test_unsafe_names(target: Path, name: str) -> None:
    with BundleWriter(target) as writer, pytest.raises(BundleError):
        writer.add_bytes(name, b"x")
    assert entries(target.parent) == []


def test_a_graph_that_was_not_written(manifest: Any, target: Path) -> None:
    words = r"graphs\.decoder"
    with pytest.raises(BundleError, match=words), BundleWriter(target) as writer:  # noqa: PT012
        writer.add_bytes("encoder.fp32.onnx", b"x")
        writer.commit(manifest)
    assert entries(target.parent) == []


@pytest.mark.parametrize("where", ["title", "tools", "fold_report"])
def test_paths_of_this_machine_stay_here(make: Any, target: Path, where: str) -> None:
    leak = f"made from {Path.home()}/models/samus.pth"
    said = leak if where == "title" else {"note": leak}
    with pytest.raises(BundleError, match="path of this machine"):
        make(target, changes={where: said})
    said = "x" if where == "title" else {"note": "/encoder/blocks.0/attn/MatMul"}
    text = make(target, changes={where: said}).root.joinpath("manifest.json").read_text()
    assert str(target.parent) not in text
    assert os.uname().nodename not in text


def test_draft_is_a_bundle_and_is_not_kept(manifest: Any, selftest: SelfTest, target: Path) -> None:
    with BundleWriter(target) as writer:
        for name in ("encoder", "decoder"):
            writer.new_file(f"{name}.fp32.onnx").write_bytes(b"x")
        writer.add_selftest(selftest)
        draft = writer.draft(replace(manifest, parity=()))
        assert draft.graph("encoder", "fp32").read_bytes() == b"x"
        assert draft.selftest()[0].name == selftest.name
        assert not target.exists()
        final = writer.commit(manifest)
    assert final.manifest.parity[0].passed is True
    assert not draft.path.exists()
    assert entries(target.parent) == ["new.samedge"]


def test_files_are_hashed_in_pieces(make: Any, target: Path) -> None:
    weights = os.urandom(3 * 2**20 + 17)
    assert make(target, weights=weights).verify_file(
        "encoder.fp32.onnx.data"
    ).stat().st_size == len(weights)


def test_a_folder_swept_in_the_moment_it_is_made(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between mkdir and lock another writer may take it for a leftover: another is made."""
    original = os.open
    swept = []

    def sweep_first(path: Any, *rest: Any, **more: Any) -> int:
        if not swept and str(path).startswith(str(target.parent / ".samedge-work-")):
            swept.append(path)
            os.rmdir(path)
        return original(path, *rest, **more)

    monkeypatch.setattr(workfolder.os, "open", sweep_first)
    with BundleWriter(target) as writer:
        writer.add_bytes("a.onnx", b"x")
    assert swept
    assert entries(target.parent) == []
