"""samedge.hpp: compiles without a warning, and does what samedge.h does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from samedge.capi.library import Library
from samedge.capi.session import NativeModel
from samedge.capi.tracking import NativeTracker
from samedge.cli.demo import ready_bundle
from samedge.sources.simulator import SimulatorSource
from tests.capi.build import run_environment
from tests.capi.header import INCLUDE, compilers

USAGE = Path(__file__).parent / "native" / "hpp_usage.cpp"
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]


@pytest.mark.parametrize("name", [name for name in compilers() if "c++17" in name])
def test_a_program(library: Library, library_path: Path, tmp_path: Path, name: str) -> None:
    program, pixels = tmp_path / "usage", tmp_path / "pixels"
    command = [*compilers()[name], *WARNINGS, f"-I{INCLUDE}", str(USAGE), "-x", "none"]
    subprocess.run([*command, str(library_path), "-o", str(program)], check=True)
    source = SimulatorSource("short-axis", 8, (120, 160), fps=0)
    picture, (x, y) = source.picture(0), source.start_point
    pixels.write_bytes(picture.tobytes())
    path = ready_bundle()
    environment = {**os.environ, **run_environment()}
    folders = [str(library_path.parent), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    ran = subprocess.run(
        [str(program), str(path), str(pixels), "160", "120", str(x), str(y)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    with NativeModel(library, path, threads=1) as model:
        session = model.session()
        area = int(session.segment(picture, points=[(x, y)]).masks.sum())
        tracker = NativeTracker(session, points=[(x, y), (1, 1)], labels=[1, 0])
        verdicts = [tracker.track(picture, i / 30)[1][0] for i in range(3)]
        assert verdicts[-1] == "good"
        point = tracker.point(0)
    assert ran.stdout.split() == ["samus", str(area), "0", f"{point[0]:g}", f"{point[1]:g}"]
