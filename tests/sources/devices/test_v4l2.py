"""FFmpeg's own reader of Video4Linux devices, with a stand-in for the kernel under it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.packaging.tree import ROOT

HERE = Path(__file__).resolve().parent
CC = shutil.which("cc")
pytestmark = pytest.mark.skipif(
    CC is None or not Path("/usr/include/linux/videodev2.h").exists(),
    reason="needs a C compiler and the kernel's headers",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each camera."""
    folder = tmp_path_factory.mktemp("v4l2")
    library, device, jpeg = folder / "fake.so", folder / "video7", folder / "a.jpg"
    assert CC is not None
    code = HERE / "fake_v4l2.c"
    subprocess.run([CC, "-shared", "-fPIC", "-o", library, code, "-ldl"], check=True)
    os.mkfifo(device)
    cv2.imwrite(str(jpeg), np.full((480, 640, 3), (70, 77, 84), np.uint8))
    done = subprocess.run(
        [sys.executable, HERE / "v4l2_script.py", device, jpeg],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_frames_with_the_drivers_stamps(found: dict[str, Any]) -> None:
    """The first picture serves to open the device."""
    plain = found["plain"]
    assert [frame[0] for frame in plain["frames"]] == [0, 1, 2, 3]
    assert {tuple(frame[1]) for frame in plain["frames"]} == {(240, 320, 3)}
    stamps = [frame[2] for frame in plain["frames"]]
    assert np.diff(stamps) == pytest.approx(0.1, abs=1e-6)
    levels = [frame[3] for frame in plain["frames"]]
    assert (np.diff(levels) >= 1).all()
    assert plain["rate"] == 60
    assert plain["errors"] == ["camera:video7: it is unplugged or does not answer any more"]


def test_a_size_that_it_does_not_have(found: dict[str, Any]) -> None:
    other = found["other size"]
    assert {tuple(frame[1]) for frame in other["frames"]} == {(480, 640, 3)}
    (note,) = other["warnings"]
    assert "does not send 1280 x 720 px, but 640 x 480" in note
    assert "has sent no picture for 0." in other["errors"][0]


def test_jpeg(found: dict[str, Any]) -> None:
    assert {tuple(frame[1]) for frame in found["jpeg"]["frames"]} == {(480, 640, 3)}
    assert {frame[3] for frame in found["jpeg"]["frames"]} <= {76, 77, 78}


def test_pictures_that_the_driver_calls_damaged(found: dict[str, Any]) -> None:
    damaged = found["damaged"]
    assert np.diff([frame[2] for frame in damaged["frames"]]) == pytest.approx([0.1, 0.2, 0.1])
    assert damaged["warnings"] == ["camera:video7: frames that came damaged are left out"]


def test_a_grabber_without_a_signal_is_let_go(found: dict[str, Any]) -> None:
    """FFmpeg waits in the driver; the device can be opened again all the same."""
    none = found["no signal"]
    assert len(none["errors"]) == 2
    assert all("gave no picture" in error for error in none["errors"])
    assert none["threads"] == []


def test_one_that_comes_back(found: dict[str, Any]) -> None:
    again = found["again"]
    assert [frame[0] for frame in again["frames"]] == [0, 1, 2, 3]
    assert len(again["errors"]) == 2
    assert again["threads"] == []


def test_what_it_refuses(found: dict[str, Any]) -> None:
    assert "does not take this size, rate or format" in found["format"]["errors"][0]
    assert "another program uses it" in found["busy"]["errors"][0]
