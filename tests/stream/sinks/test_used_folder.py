"""Output folders that are not empty: refused, or emptied of what samedge wrote and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.errors import OutputError, SamEdgeError
from samedge.prompts.plan import PromptPlan
from tests.conftest import ROOT
from tests.sources.media import FakeSession
from tests.sources.media import segment_into as run

PLAN = PromptPlan(["center"])


def names_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        cv2.imwrite(str(tmp_path / name), np.full((40, 50), 200, np.uint8))
        return tmp_path / name

    return write


@pytest.fixture
def out(tmp_path: Path, picture: Callable[[str], Path]) -> Path:
    """The folder of a run with `a.png`, into which somebody put a file."""
    run(tmp_path / "o", picture("a.png"), PLAN)
    (tmp_path / "o" / "notes.txt").write_text("mine")
    return tmp_path / "o"


def test_results_are_not_mixed(out: Path, picture: Callable[[str], Path]) -> None:
    before = names_in(out)
    session = FakeSession()
    with pytest.raises(OutputError, match=r"results of an earlier run.*overwrite=True"):
        run(out, picture("b.png"), PLAN, session)
    assert names_in(out) == before
    assert session.asked == []


def test_overwrite_removes_what_was_written(out: Path, picture: Callable[[str], Path]) -> None:
    run(out, picture("b.png"), PLAN, overwrite=True)
    written = {"results.json", "areas.csv", "masks/b.png", "overlays/b.png"}
    assert names_in(out) == {"notes.txt", *written}


def test_all_kinds_of_files_go(
    tmp_path: Path, dicom: Callable[..., Path], picture: Callable[[str], Path]
) -> None:
    out = tmp_path / "o"
    run(out, dicom(np.full((3, 40, 50), 200, np.uint8), FrameTime="40"), PLAN)
    np.save(tmp_path / "v.npy", np.full((3, 40, 50), 200, np.uint8))
    run(out, tmp_path / "v.npy", PLAN, overwrite=True)
    run(out, picture("b.png"), PLAN, overwrite=True, masks=False, overlays=False)
    assert sorted(p.name for p in out.iterdir()) == ["areas.csv", "results.json"]


def test_a_run_that_did_not_end_can_be_repeated(
    tmp_path: Path, picture: Callable[[str], Path]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "o"
    folder.mkdir()
    picture("a.png").rename(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:-20])
    for _ in range(2):
        with pytest.raises(SamEdgeError, match=r"b\.png is a damaged PNG"):
            run(out, folder, PLAN, overwrite=True)
        assert "masks/a.png" in names_in(out)
    with pytest.raises(OutputError, match="earlier run"):
        run(out, folder, PLAN)
    (folder / "b.png").unlink()
    run(out, folder, PLAN, overwrite=True)
    assert names_in(out) == {"results.json", "areas.csv", "masks/a.png", "overlays/a.png"}


def test_a_killed_run_can_be_repeated(tmp_path: Path) -> None:
    """Killed while it writes a mask and a video, with no chance to tidy up."""
    np.save(tmp_path / "v.npy", np.full((4, 40, 50), 200, np.uint8))
    killed = """if True:
        import os, signal, sys
        from pathlib import Path
        from samedge.prompts.plan import PromptPlan
        from tests.sources.media import segment_into

        replace, done = os.replace, []

        def killing(source, target):
            done.append(target)
            if len(done) == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = killing
        segment_into(Path("o"), Path("v.npy"), PromptPlan(["center"]), time=True)
    """
    path = os.pathsep.join([str(ROOT), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", killed],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    out = tmp_path / "o"
    assert any(".part" in name for name in names_in(out))
    (out / ".mine.part.png").write_bytes(b"x")
    with pytest.raises(OutputError, match="earlier run"):
        run(out, tmp_path / "v.npy", PLAN)
    run(out, tmp_path / "v.npy", PLAN, overwrite=True, masks=False, overlays=False)
    assert {name for name in names_in(out) if ".part" in name} == {".mine.part.png"}


@pytest.mark.parametrize(
    "name",
    ["masks/truth.png", "loop.mp4", "x_labels.nii.gz", "areas.csv", "x.seg.nrrd", "results.json"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_files_of_others_stay(
    tmp_path: Path, picture: Callable[[str], Path], name: str, overwrite: bool
) -> None:
    """A data set has a folder `masks`, too."""
    path = tmp_path / "o" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(OutputError, match=f"holds {name}, which samedge does not know"):
        run(tmp_path / "o", picture("a.png"), PLAN, overwrite=overwrite)
    assert names_in(tmp_path / "o") == {name}


def test_a_report_that_names_other_files_removes_none(
    out: Path, picture: Callable[[str], Path]
) -> None:
    report = out / "results.json"
    report.write_text(report.read_text().replace('"masks/a.png"', '"../a.png"'))
    with pytest.raises(OutputError, match=r"masks/a\.png, which samedge does not know"):
        run(out, picture("b.png"), PLAN, overwrite=True)
    assert (out.parent / "a.png").exists()


def test_what_is_to_be_segmented_stays(out: Path) -> None:
    for source in (out / "masks" / "a.png", out / "masks"):
        with pytest.raises(OutputError, match="is to be segmented"):
            run(out, source, PLAN, overwrite=True)
    assert (out / "masks" / "a.png").exists()
