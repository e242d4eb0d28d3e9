"""examples/c: they compile without a warning and do what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.cli import run as samedge_command
from samedge.cli.demo import ready_bundle
from samedge.runtime.openvino.backend import OPENVINO
from samedge.sources.simulator import SimulatorSource
from tests.capi.build import run_environment
from tests.capi.header import INCLUDE, ROOT

EXAMPLES = ROOT / "examples" / "c"
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", f"-I{INCLUDE}"]
C99 = ["-std=c99", "-pedantic"]
OPENCV = Path("/usr/include/opencv4")
C_COMPILERS = [one for one in ("gcc", "clang", "clang-14") if shutil.which(one)]


def compiled(compiler: str, name: str, library_path: Path, folder: Path, *more: str) -> Path:
    program = folder / Path(name).stem
    command = [compiler, *STRICT, *more[:2], str(EXAMPLES / name), str(library_path), *more[2:]]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def output(library_path: Path, *command: str) -> str:
    environment = {**os.environ, **run_environment()}
    folders = [str(library_path.parent), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("compiler", C_COMPILERS)
def test_minimal_writes_the_mask_of_samedge_segment(
    library_path: Path, tmp_path: Path, compiler: str
) -> None:
    program = compiled(compiler, "minimal.c", library_path, tmp_path, *C99)
    source = SimulatorSource("short-axis", 8, (240, 320), fps=0)
    frame, mask, out = tmp_path / "frame.pgm", tmp_path / "mask.pgm", tmp_path / "out"
    picture = tmp_path / "frame.png"
    assert cv2.imwrite(str(frame), source.picture(0))
    assert cv2.imwrite(str(picture), source.picture(0))
    x, y = (f"{value:g}" for value in source.start_point)
    output(library_path, str(program), str(ready_bundle()), str(frame), x, y, str(mask))
    command = ["segment", str(ready_bundle()), str(picture), "--point", f"{x},{y}", "-o", str(out)]
    assert samedge_command([*command, "--quiet"]) == 0
    (png,) = (out / "masks").glob("*.png")
    ours = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    theirs = cv2.imread(str(png), cv2.IMREAD_UNCHANGED)
    assert ours is not None
    assert theirs is not None
    assert set(np.unique(ours)) == {0, 255}
    # Both take what is fastest here. In bf16 a plain graph rounds elsewhere than a rewritten one.
    most = 8 if "bf16" in OPENVINO.precisions() else 0
    assert np.count_nonzero((ours != 0) != (theirs != 0)) <= most


def test_minimal_says_what_is_wrong(library_path: Path, tmp_path: Path) -> None:
    if not C_COMPILERS:
        pytest.skip("needs a C compiler")
    program = compiled(C_COMPILERS[0], "minimal.c", library_path, tmp_path, *C99)
    frame = tmp_path / "frame.pgm"
    frame.write_bytes(b"P5\n4 4\n255\n" + bytes(16))
    for arguments, words in (
        (("no.samedge", str(frame)), "no.samedge"),
        ((str(ready_bundle()), str(frame)), "16 to 4096"),
        ((str(ready_bundle()), str(program)), "no binary PGM"),
    ):
        with pytest.raises(AssertionError, match=words):
            output(library_path, str(program), *arguments, "2", "2", str(tmp_path / "mask.pgm"))


@pytest.mark.parametrize("compiler", C_COMPILERS)
def test_live_v4l2(library_path: Path, tmp_path: Path, compiler: str) -> None:
    """It compiles; there is no frame grabber here."""
    program = compiled(compiler, "live_v4l2.c", library_path, tmp_path, *C99)
    with pytest.raises(AssertionError, match="nothing: No such file"):
        output(library_path, str(program), str(ready_bundle()), "/dev/nothing", "2", "2")


@pytest.mark.skipif(not OPENCV.is_dir(), reason="needs OpenCV's headers: libopencv-dev")
def test_live_opencv(library_path: Path, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    libraries = [f"-lopencv_{name}" for name in ("core", "videoio", "imgproc", "highgui")]
    program = compiled(
        "g++",
        "live_opencv.cpp",
        library_path,
        tmp_path,
        "-std=c++17",
        f"-isystem{OPENCV}",
        *libraries,
    )
    source, video = SimulatorSource("short-axis", 8, (240, 320), fps=0), tmp_path / "loop.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (320, 240), False)
    for index in range(8):
        writer.write(source.picture(index))
    writer.release()
    x, y = (f"{value:g}" for value in source.start_point)
    told = output(
        library_path, str(program), str(ready_bundle()), str(video), x, y, "--no-window"
    ).splitlines()
    assert len(told) == 8
    for number, line in enumerate(told):
        assert re.match(rf"{number} good \d+ px, [\d.]+ ms \(encode [\d.]+, decode [\d.]+\)", line)
