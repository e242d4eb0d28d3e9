"""Whole data sets in the layout of US30K, as SAMUS and its followers read them.

    ROOT/MainPatient/class.json        classes per set, the background counted
    ROOT/MainPatient/train.txt         lines `1/<set>/<name>`; val.txt likewise
    ROOT/MainPatient/test.txt          lines `<set>/<name>`; test-<set>.txt for each set
    ROOT/<set>/img/<name>.png          uint8 grey
    ROOT/<set>/label/<name>.png        uint8, 0 and 1
    ROOT/class.json                    the same file, where some readers look for it
    ROOT/Sim-Cine-000/                 a loop is a set of its own, listed in test-Sim-Cine-000.txt:
                                       img/frame-000.png, ..., label/frame-000.png, ..., cine.json
    ROOT/images.csv                    kind, object, probe and mm per px of every image
    ROOT/simulation.json               how it was made

One object is labelled per image, class 1; others of its kind may lie beside it: the click decides.
"""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError, OutputError
from samedge.files.whole import whole_folder
from samedge.progress import Progress, Step, silent
from samedge.simulate.cine import SimulatedCine, draw_cine
from samedge.simulate.draws import Draws, generator
from samedge.simulate.image import SimulatedImage, check, draw_image

MARKER = "simulation.json"
SPLITS = ("train", "val", "test")
# Sets and the shares of the kinds in them.
SETS: Mapping[str, Mapping[str, float]] = {
    "Sim-Lesion": {
        "cyst": 2, "hypoechoic": 3, "hyperechoic": 2, "irregular": 2, "complex": 1.5, "faint": 1,
    },
    "Sim-Chamber": {"apical": 5, "short-axis": 2, "vessel": 1.5, "bladder": 1.5},
    "Sim-Breast": {
        "mass-oval": 3, "mass-lobulated": 2, "mass-angular": 2, "mass-spiculated": 2,
        "mass-shadowing": 2, "mass-isoechoic": 1, "mass-cyst": 2,
    },
    "Sim-Head": {"head": 1},
}  # fmt: skip
CINE_RATE = 30.0  # frames per second
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_KIND_DRAW = 99  # number of the generator that draws an image's kind
Item = TypeVar("Item")
Render = Callable[[tuple[int, ...], tuple[int, int], str], SimulatedImage]


@dataclass(frozen=True)
class Record:
    """One line of images.csv; `y_mm` and `x_mm` are mm per px."""

    split: str
    set: str
    name: str
    kind: str
    target: str
    probe: str
    y_mm: float
    x_mm: float
    area_px: int


@dataclass(frozen=True)
class _Task:
    split: str
    set: str
    index: int


def write_dataset(
    folder: str | Path,
    *,
    train: int = 0,
    val: int = 0,
    test: int = 0,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    sets: Sequence[str] = tuple(SETS),
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = silent,
    render: Render = draw_image,
    cines: int = 0,
    frames: int = 30,
    cine_size: tuple[int, int] = (240, 320),
) -> list[Record]:
    """Write labelled images in US30K's layout; the folder appears when all of it is there.

    An image depends on the seed, its split, its number, the size and the list of sets, not on how
    many others there are or how many processes make them.

    Args:
        folder: to be made; an empty one may exist.
        train, val, test: number of images in each split; the sets take turns.
        seed: 0 or more.
        size: height and width, px.
        sets: of `SETS`.
        workers: processes that work at the same time. They start afresh, so a script that asks
            for several keeps its own work under `if __name__ == "__main__"`.
        overwrite: replace a data set that was simulated before.
        progress: told the images that are done.
        render: makes one image from numbers of the seed, a size and a kind. Another than the
            default runs in processes of its own, so it is a module's function.
        cines: number of loops, each a set of its own.
        frames: of each loop.
        cine_size: height and width of the loops, px.

    Returns:
        One record per image, in the order of the splits, loops last.

    Raises:
        FrameError: a size, seed, number or set that cannot be.
        OutputError: the folder is in use, or the disk is full; nothing is left then.
    """
    check(seed, size, None)
    check(seed, cine_size, None)
    counts = dict(zip(SPLITS, (train, val, test), strict=True))
    _check(counts, cines, frames, sets, workers)
    tasks = [_Task(s, sets[i % len(sets)], i) for s, n in counts.items() for i in range(n)]
    total = len(tasks) + cines * frames
    with whole_folder(Path(folder), MARKER, overwrite) as part:
        for name in sets:
            for kind in ("img", "label"):
                (part / name / kind).mkdir(parents=True)
        make = partial(_make, part, seed, size, render)
        loop = partial(_make_cine, part, seed, cine_size, frames)
        records: list[Record] = []
        fast = render is draw_image
        few = len(tasks) <= 8 and cines <= 1
        processes = 0 if fast and (workers == 1 or few) else workers
        images = _run(make, tasks, processes, at_once=8 if fast else 1)
        for made in images, _run(loop, range(cines), processes, at_once=1):
            for some in made:
                records += some
                progress(Step("simulating", len(records), total))
        _write_lists(part, records)
        _write_about(part, {**counts, "cines": cines, "frames": frames}, seed, size, sets)
    return records


def _check(
    counts: Mapping[str, int], cines: int, frames: int, sets: Sequence[str], workers: int
) -> None:
    unknown = [name for name in sets if name not in SETS]
    if unknown or not sets or len(set(sets)) < len(sets):
        raise FrameError(
            f"sets '{', '.join(sets)}': expected one or several of {', '.join(SETS)}, each once"
        )
    if min(*counts.values(), cines) < 0 or sum(counts.values()) + cines == 0 or frames < 1:
        asked = ", ".join(f"{n} {split}" for split, n in counts.items())
        raise FrameError(
            f"{asked} images and {cines} loops of {frames} frames: expected one image or loop or "
            "more in all, no negative number, and one frame or more in a loop"
        )
    if workers < 1:
        raise FrameError(f"{workers} workers: expected 1 or more")


def _run(
    make: Callable[[Item], list[Record]], tasks: Sequence[Item], workers: int, at_once: int
) -> Iterator[list[Record]]:
    """The records of all tasks, in their order; 0 workers: in this process."""
    if not workers or not tasks:
        yield from map(make, tasks)
        return
    # Fresh processes: a fork would copy whatever threads the caller has running.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        try:
            with _one_thread_each():
                results = pool.map(make, tasks, chunksize=at_once)
            yield from results
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    """One thread, and Ctrl-C is the parent's business: it stops handing out work."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start here get a BLAS with one thread: it reads this when it is loaded."""
    before = {name: os.environ.get(name) for name in _BLAS_THREADS}
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _make(
    part: Path, seed: int, size: tuple[int, int], render: Render, task: _Task
) -> list[Record]:
    """Draw one image and write it into the unfinished folder."""
    path = (seed, SPLITS.index(task.split), task.index)
    shares = SETS[task.set]
    kind = Draws(generator(*path, _KIND_DRAW)).pick(tuple(shares), tuple(shares.values()))
    made = render(path, size, kind)
    name = f"{kind}-{task.split}-{task.index:06d}"
    write_png(part / task.set / "img" / f"{name}.png", made.image)
    write_png(part / task.set / "label" / f"{name}.png", made.label)
    return [_record(task.split, task.set, name, made, made.label)]


def _make_cine(
    part: Path, seed: int, size: tuple[int, int], frames: int, index: int
) -> list[Record]:
    """Draw one loop and write it as a set of its own."""
    made = draw_cine((seed, len(SPLITS), index), frames, size, None, CINE_RATE)
    folder = part / f"Sim-Cine-{index:03d}"
    records = []
    for kind in ("img", "label"):
        (folder / kind).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(made.images, made.labels, strict=True)):
        name = f"frame-{number:03d}"
        write_png(folder / "img" / f"{name}.png", image)
        write_png(folder / "label" / f"{name}.png", label)
        records.append(_record("cine", folder.name, name, made, label))
    about = {"kind": made.kind, "target": made.target, "frames_per_second": made.rate}
    about |= {"heart_rate": round(made.heart_rate, 1), "mm_per_px": list(made.spacing)}
    (folder / "cine.json").write_text(json.dumps(about, indent=2) + "\n")
    return records


def _record(
    split: str,
    name_of_set: str,
    name: str,
    made: SimulatedImage | SimulatedCine,
    label: NDArray[np.uint8],
) -> Record:
    y_mm, x_mm = (round(mm, 4) for mm in made.spacing)
    area = int(np.count_nonzero(label))
    return Record(split, name_of_set, name, made.kind, made.target, made.probe, y_mm, x_mm, area)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 `[H, W]` as PNG into a folder that is not finished yet.

    Raises:
        OSError: as the operating system reports it.
    """
    good, data = cv2.imencode(".png", pixels)
    if not good:
        raise OutputError(f"cannot encode {path.name} as PNG")
    path.write_bytes(data.tobytes())


def _write_lists(part: Path, records: Sequence[Record]) -> None:
    lists = part / "MainPatient"
    lists.mkdir()
    sets = list(dict.fromkeys(r.set for r in records))
    classes = json.dumps(dict.fromkeys(sets, 2), indent=2) + "\n"
    (lists / "class.json").write_text(classes)
    (part / "class.json").write_text(classes)
    for split in ("train", "val"):
        chosen = [r for r in records if r.split == split]
        _write_lines(lists / f"{split}.txt", (f"1/{r.set}/{r.name}" for r in chosen))
    tested = [r for r in records if r.split == "test"]
    _write_lines(lists / "test.txt", (f"{r.set}/{r.name}" for r in tested))
    for name in sets:
        chosen = [r for r in records if r.set == name and r.split in ("test", "cine")]
        _write_lines(lists / f"test-{name}.txt", (f"{r.set}/{r.name}" for r in chosen))
    with (part / "images.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(Record.__dataclass_fields__), lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(r) for r in records)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """A list of images; none is written where there is nothing to list."""
    text = "".join(f"{line}\n" for line in lines)
    if text:
        path.write_text(text)


def _write_about(
    part: Path, counts: Mapping[str, int], seed: int, size: tuple[int, int], sets: Sequence[str]
) -> None:
    about = {
        "what": "synthetic ultrasound by samedge simulate; no patient",
        "seed": seed,
        "size": list(size),
        "sets": list(sets),
        "images": dict(counts),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }
    (part / MARKER).write_text(json.dumps(about, indent=2) + "\n")
