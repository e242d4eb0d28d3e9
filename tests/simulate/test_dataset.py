"""Data sets on disk: layout, independence of workers and counts, nothing half-written."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import samedge.simulate.dataset as dataset
from samedge.errors import FrameError, OutputError
from samedge.progress import Step
from samedge.simulate import SETS, SimulatedImage, write_dataset
from samedge.simulate.image import draw_image

SMALL = (64, 64)
ROOT = Path(__file__).resolve().parents[2]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sim"
    told: list[Step] = []
    records = write_dataset(
        folder, train=4, val=2, test=3, seed=1, size=SMALL, cines=1, frames=2,
        cine_size=(64, 80), progress=told.append,
    )  # fmt: skip
    assert len(records) == 11
    assert (told[0].done, told[0].of) == (1, 11)
    assert (told[-1].done, told[-1].of) == (11, 11)
    return folder


def test_the_layout_is_that_of_us30k(made: Path) -> None:
    lists = made / "MainPatient"
    classes = json.loads((lists / "class.json").read_text())
    assert classes == dict.fromkeys((*SETS, "Sim-Cine-000"), 2)
    assert json.loads((made / "class.json").read_text()) == classes
    for split, count in (("train", 4), ("val", 2)):
        lines = (lists / f"{split}.txt").read_text().splitlines()
        assert len(lines) == count
        for line in lines:
            class_id, name_of_set, name = line.split("/")
            assert class_id == "1"
            check_pair(made, name_of_set, name, SMALL)
    tested = (lists / "test.txt").read_text().splitlines()
    by_set = [path.read_text().splitlines() for path in lists.glob("test-Sim-[!C]*.txt")]
    by_set += [(lists / "test-Sim-Chamber.txt").read_text().splitlines()]
    assert sorted(tested) == sorted(line for lines in by_set for line in lines)
    for line in tested:
        check_pair(made, *line.split("/"), SMALL)


def check_pair(folder: Path, name_of_set: str, name: str, size: tuple[int, int]) -> None:
    image, label = (
        cv2.imread(str(folder / name_of_set / kind / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        for kind in ("img", "label")
    )
    assert image.shape == label.shape == size
    assert set(np.unique(label)) == {0, 1}


def test_a_loop_is_a_set_of_its_own(made: Path) -> None:
    lines = (made / "MainPatient" / "test-Sim-Cine-000.txt").read_text().splitlines()
    assert lines == ["Sim-Cine-000/frame-000", "Sim-Cine-000/frame-001"]
    check_pair(made, "Sim-Cine-000", "frame-001", (64, 80))
    about = json.loads((made / "Sim-Cine-000" / "cine.json").read_text())
    assert about["frames_per_second"] == 30
    assert about["kind"] in ("apical", "short-axis", "vessel", "bladder")


def test_a_table_tells_what_every_image_is(made: Path) -> None:
    with (made / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11
    assert all(row["kind"] in row["name"] for row in rows if row["split"] != "cine")
    for row in rows:
        label = cv2.imread(str(made / row["set"] / "label" / f"{row['name']}.png"), 0)
        assert int(row["area_px"]) == np.count_nonzero(label)
    about = json.loads((made / "simulation.json").read_text())
    assert about["seed"] == 1
    assert about["images"] == {"train": 4, "val": 2, "test": 3, "cines": 1, "frames": 2}


def test_images_do_not_depend_on_how_many_there_are(made: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "more", train=6, test=3, seed=1, size=SMALL)
    few, more = files(made), files(tmp_path / "more")
    same = [name for name in few if "-train-" in name or "-test-" in name]
    assert len(same) == 14
    assert all(few[name] == more[name] for name in same)


def test_workers_change_nothing(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), train=10, seed=3, size=SMALL, workers=workers)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_no_folder_is_overwritten_by_mistake(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    write_dataset(target, test=1, size=SMALL)  # an empty folder is fine
    with pytest.raises(OutputError, match=r"simulated data set already.*overwrite=True"):
        write_dataset(target, test=1, size=SMALL)
    write_dataset(target, test=1, seed=2, size=SMALL, overwrite=True)
    assert json.loads((target / "simulation.json").read_text())["seed"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_the_folder_may_be_the_one_that_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_dataset(".", test=1, size=SMALL)
    assert (tmp_path / "here" / "simulation.json").is_file()


def test_a_folder_with_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(OutputError, match="not ours to replace"):
        write_dataset(tmp_path, test=1, size=SMALL, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "three years"
    with pytest.raises(OutputError, match="is a file"):
        write_dataset(tmp_path / "thesis.txt", test=1, size=SMALL)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    write = dataset.write_png

    def full(path: Path, pixels: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, pixels)

    monkeypatch.setattr(dataset, "write_png", full)
    with pytest.raises(OutputError, match=r"no space left for data .*; nothing was written"):
        write_dataset(tmp_path / "data", train=5, size=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    def stop(_step: Step, /) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "data", train=5, size=SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_the_next_one_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from samedge.simulate import write_dataset
kill = lambda *_: os.kill(os.getpid(), 9)
write_dataset({str(tmp_path / "data")!r}, train=5, size={SMALL}, progress=kill)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "data").exists()
    assert list(tmp_path.iterdir())
    write_dataset(tmp_path / "data", train=1, size=SMALL)
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "0 train, 0 val, 0 test images and 0 loops"),
        ({"train": -1}, "-1 train"),
        ({"train": 1, "sets": ()}, "expected one or several of Sim-Lesion, Sim-Chamber"),
        ({"train": 1, "sets": ("Liver",)}, "'Liver'"),
        ({"train": 1, "workers": 0}, "0 workers"),
        ({"train": 1, "size": (1, 1)}, "size"),
        ({"train": 1, "seed": -4}, "seed -4"),
    ],
)
def test_bad_input_is_explained(tmp_path: Path, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(FrameError, match=words):
        write_dataset(tmp_path / "data", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_another_renderer_runs_in_processes_of_one_thread_and_nothing_stays_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write_dataset(tmp_path / "data", test=1, size=SMALL, render=in_other_process)
    label = next((tmp_path / "data").glob("*/label/*.png"))
    assert int(cv2.imread(str(label), 0).max()) == 1
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "OMP_NUM_THREADS" not in os.environ


def in_other_process(path: tuple[int, ...], size: tuple[int, int], kind: str) -> SimulatedImage:
    assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"
    return draw_image(path, size, kind)
