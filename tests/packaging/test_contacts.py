"""Nobody is contacted, and nothing is written into the home folder but the cache."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samedge.drawing.png import write_png
from tests.packaging.tree import ROOT

# Runs in every interpreter below the one that is started: notes each use of the network and refuses
# it.
WATCH = """
import os, sys

def watch(event, arguments, names=("connect", "bind", "sendto", "sendmsg", "getaddrinfo",
        "gethostbyname", "gethostbyaddr", "getnameinfo")):
    if event.startswith("socket.") and event.removeprefix("socket.") in names:
        log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{event} {arguments[:2]}\\n".encode())
        os.close(log)
        raise OSError("no network in this test")

sys.addaudithook(watch)
"""
SESSION = """
import sys
from samedge.cli import run

bundle, frame = sys.argv[1:]
for command in (
    ["segment", bundle, frame, "--point", "60,60", "-o", "masks"],
    ["export", bundle, "--precision", "fp32,fp16", "-o", "half.samedge"],
    ["doctor", "--json"],
):
    assert run(command) == 0, command
"""


@pytest.fixture
def quiet_home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has nothing yet, with a watch on the network."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "home").mkdir()
    return {
        "HOME": str(tmp_path / "home"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "watch"), str(ROOT)]),
        "WATCH_LOG": str(tmp_path / "contacts"),
        "OMP_NUM_THREADS": "1",
    }


def contacts(environment: dict[str, str], program: str, *arguments: str) -> str:
    """What a program and the processes that it starts asked of the network."""
    log = Path(environment["WATCH_LOG"])
    folder = log.parent / "work"
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return log.read_text() if log.exists() else ""


def test_a_session_contacts_nobody(
    quiet_home: dict[str, str], tiny_bundle: Path, tmp_path: Path
) -> None:
    frame = tmp_path / "frame.png"
    write_png(frame, np.random.default_rng(0).integers(0, 256, (120, 140, 3), dtype=np.uint8))
    assert contacts(quiet_home, SESSION, str(tiny_bundle), str(frame)) == ""
    home = Path(quiet_home["HOME"])
    written = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert written  # the engines
    assert {name for name in written if not name.startswith(".cache/samedge/")} == set()


def test_the_watch_sees_a_look_up_in_a_child(quiet_home: dict[str, str]) -> None:
    child = "import socket; socket.getaddrinfo('example.org', 80)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert "socket.getaddrinfo" in contacts(quiet_home, program)


def test_the_telemetry_can_be_imported_afterwards(quiet_home: dict[str, str]) -> None:
    """It is hidden from OpenVINO alone, not from the program that uses samedge."""
    pytest.importorskip("openvino_telemetry")
    program = "import samedge._openvino, sys; assert 'openvino_telemetry' not in sys.modules\n"
    assert contacts(quiet_home, program + "import openvino_telemetry") == ""


def test_the_tests_import_openvino_as_samedge_does() -> None:
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [str(path) for name in names if name.partition(".")[0] == "openvino"]
    assert not wrong
