"""`samedge stream`: from names on the command line to files, with a status and a summary."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from samedge.cli import run
from samedge.cli.terminal.live_line import LiveLine, status_text
from samedge.cli.terminal.printing import Printer
from samedge.stream.live.parts import Status
from samedge.stream.live.states import State
from tests.sources.media import write_video

TINY = Path(__file__).parents[1] / "data" / "tiny.samedge"


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    frames = [np.full((48, 64, 3), 40, np.uint8) for _ in range(12)]
    for i, frame in enumerate(frames):
        frame[10:30, 10 + i : 30 + i] = 200
    return write_video(tmp_path_factory.mktemp("loop") / "loop.mp4", frames, 50)


def stream(*arguments: str) -> int:
    return run(["stream", str(TINY), *arguments])


def test_a_file_into_all_that_can_be_written(
    loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "run.json"
    code = stream(
        *("--source", str(loop), "--every-frame", "--fps", "0", "--point", "30,20", "--track"),
        *("--name", "chamber", "--sink", f"mp4:{tmp_path / 'out.mp4'}"),
        *("--sink", f"folder:{tmp_path / 'rec'}", "--sink", "null:", "--record", str(record)),
    )
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "Stream of" in told.out
    assert "frames captured" in told.out
    found = json.loads(record.read_text())
    assert found["counts"]["captured"] == found["counts"]["accounted"] == 12
    *recordings, null = found["sinks"]
    assert all(sink["written"] >= 12 and sink["dropped"] == 0 for sink in recordings)
    assert null["written"] + null["dropped"] == null["offered"] >= 12
    assert found["source"]["name"] == "loop.mp4"
    assert str(tmp_path) not in record.read_text()
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
    rows = list(map(json.loads, (tmp_path / "rec" / "stream.jsonl").read_text().splitlines()))
    assert sum(row.get("is_new", False) for row in rows) == 12
    assert rows[1]["objects"][0]["name"] == "chamber"
    code = stream("--source", f"replay:{tmp_path / 'rec'}?fast=yes", "--sink", "null:")
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "masks equal those of the recording" in told.out


def test_json_and_limits(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = stream("--source", str(loop), "--sink", "null:", "--frames", "3", "--json")
    told = capsys.readouterr()
    assert code == 0, told.err
    found = json.loads(told.out)
    assert found["counts"]["captured"] == 3
    assert found["counts"]["unprompted"] + found["counts"]["replaced"] == 3
    assert found["schema"] == 1


def test_where_openigtlink_clients_connect(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("--source", str(loop), "--sink", "igtl://:0", "--frames", "2", "--fps", "0") == 0
    told = "".join(capsys.readouterr())
    assert re.search(r"OpenIGTLink clients connect to 127\.0\.0\.1:\d{4,5}\n", told)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "--source is missing"),
        (["--source", "camra:/dev/video0", "--sink", "null:"], 3, "camera"),
        (["--source", "nowhere.mp4", "--sink", "null:"], 3, "no file or folder"),
        (["--source", "simulator:", "--sink", "nil:"], 2, "null"),
        (["--source", "simulator:", "--sink", "null:", "--box", "1,1,20,20"], 3, "box prompts"),
        (["--source", "simulator:", "--label", "1"], 2, "labels"),
        (["--source", "simulator:", "--deadline", "0"], 2, "deadline"),
        (["--source", "replay:.", "--sink", "null:"], 3, "holds no recording"),
    ],
)
def test_what_cannot_work(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stream(*arguments) == code
    assert text in capsys.readouterr().err


def test_sigterm_ends_a_stream_well(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "samedge", "stream", str(TINY), "--source"]
    command += ["simulator:?size=120x160&seed=3", "--point", "center", "--json"]
    process = subprocess.Popen(
        [*command, "--sink", f"mp4:{out}", "--sink", f"folder:{tmp_path / 'rec'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not list((tmp_path / "rec" / "frames").glob("*5.png")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    assert found["ended"] == "interrupted"
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 3


def test_the_live_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = Status(
        frozenset({State.LATE, State.LIVE}),
        3725.0,
        29.95,
        30.0,
        (14.2, 19.4),
        100,
        2,
        (("atrium", 5321), ("valve", None)),
    )
    text = "late 01:02:05 | 29.9 of 30.0 fps | 14 ms (p95 19) | 2 dropped | atrium: 5321 px"
    assert status_text(status).replace("30.0 of", "29.9 of") == text + " | valve: -"
    now = 0.0
    line = LiveLine(Printer(), lambda: now)
    line.show(status)
    line.show(status)
    now = 11.0
    line.show(status)
    assert capsys.readouterr().err.count("\n") == 2
    LiveLine(Printer(quiet=True), lambda: now).show(status)
    assert not capsys.readouterr().err
