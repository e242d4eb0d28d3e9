"""Whole data sets in the layout of US30K, as SAMUS and its followers read them.

    ROOT/MainPatient/class.json        classes per set, the background counted
    ROOT/MainPatient/train.txt         lines `1/<set>/<name>`; val.txt likewise
    ROOT/MainPatient/test.txt          lines `<set>/<name>`; test-<set>.txt for each set
    ROOT/<set>/img/<name>.png          uint8 grey
    ROOT/<set>/label/<name>.png        uint8, 0 and 1
    ROOT/class.json                    the same file, where some readers look for it
    ROOT/images.csv                    kind, object, probe and mm per px of every image
    ROOT/simulation.json               how it was made

One object is labelled per image, class 1; others of its kind may lie beside it: the click decides.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError, OutputError
from samedge.simulate.draws import Draws, generator
from samedge.simulate.folder import whole_folder
from samedge.simulate.image import SimulatedImage, check, draw_image

MARKER = "simulation.json"
SPLITS = ("train", "val", "test")
# Sets and the shares of the kinds in them.
SETS: Mapping[str, Mapping[str, float]] = {
    "Sim-Lesion": {
        "cyst": 2, "hypoechoic": 3, "hyperechoic": 2, "irregular": 2, "complex": 1.5, "faint": 1,
    },
    "Sim-Chamber": {"apical": 5, "short-axis": 2, "vessel": 1.5, "bladder": 1.5},
}  # fmt: skip
_KIND_DRAW = 99  # number of the generator that draws an image's kind
Progress = Callable[[int, int], None]
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
    progress: Progress | None = None,
    render: Render = draw_image,
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
        workers: processes that work at the same time.
        overwrite: replace a data set that was simulated before.
        progress: told how many of how many images are done.
        render: makes one image from numbers of the seed, a size and a kind; a module's function
            if there are several workers.

    Returns:
        One record per image, in the order of the splits.

    Raises:
        FrameError: a size, seed, number or set that cannot be.
        OutputError: the folder is in use, or the disk is full; nothing is left then.
    """
    check(seed, size, None)
    _check(train, val, test, sets, workers)
    counts = dict(zip(SPLITS, (train, val, test), strict=True))
    tasks = [_Task(s, sets[i % len(sets)], i) for s, n in counts.items() for i in range(n)]
    with whole_folder(Path(folder), MARKER, overwrite) as part:
        for name in sets:
            for kind in ("img", "label"):
                (part / name / kind).mkdir(parents=True)
        make = partial(_make, part, seed, size, render)
        records = []
        for record in _run(make, tasks, workers):
            records.append(record)
            if progress is not None:
                progress(len(records), len(tasks))
        _write_lists(part, records, sets)
        _write_about(part, counts, seed, size, sets)
    return records


def _check(train: int, val: int, test: int, sets: Sequence[str], workers: int) -> None:
    unknown = [name for name in sets if name not in SETS]
    if unknown or not sets or len(set(sets)) < len(sets):
        raise FrameError(
            f"sets '{', '.join(sets)}': expected one or several of {', '.join(SETS)}, each once"
        )
    if min(train, val, test) < 0 or train + val + test == 0:
        raise FrameError(
            f"{train} training, {val} validation and {test} test images: expected one image or "
            "more in all, and no negative number"
        )
    if workers < 1:
        raise FrameError(f"{workers} workers: expected 1 or more")


def _run(make: Callable[[_Task], Record], tasks: Sequence[_Task], workers: int) -> Iterator[Record]:
    """All records, in the order of the tasks."""
    if workers == 1:
        yield from map(make, tasks)
        return
    # Fresh processes: a fork would copy whatever threads the caller has running.
    context = get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, initializer=cv2.setNumThreads, initargs=(1,)
    ) as pool:
        try:
            yield from pool.map(make, tasks, chunksize=8)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _make(part: Path, seed: int, size: tuple[int, int], render: Render, task: _Task) -> Record:
    """Draw one image and write it into the unfinished folder."""
    path = (seed, SPLITS.index(task.split), task.index)
    shares = SETS[task.set]
    kind = Draws(generator(*path, _KIND_DRAW)).pick(tuple(shares), tuple(shares.values()))
    made = render(path, size, kind)
    name = f"{kind}-{task.split}-{task.index:06d}"
    write_png(part / task.set / "img" / f"{name}.png", made.image)
    write_png(part / task.set / "label" / f"{name}.png", made.label)
    y_mm, x_mm = made.spacing
    area = int(np.count_nonzero(made.label))
    return Record(
        task.split, task.set, name, kind, made.target, made.probe,
        round(y_mm, 4), round(x_mm, 4), area,
    )  # fmt: skip


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 `[H, W]` as PNG into a folder that is not finished yet.

    Raises:
        OSError: as the operating system reports it.
    """
    good, data = cv2.imencode(".png", pixels)
    if not good:
        raise OutputError(f"cannot encode {path.name} as PNG")
    path.write_bytes(data.tobytes())


def _write_lists(part: Path, records: Sequence[Record], sets: Sequence[str]) -> None:
    lists = part / "MainPatient"
    lists.mkdir()
    classes = json.dumps(dict.fromkeys(sets, 2), indent=2) + "\n"
    (lists / "class.json").write_text(classes)
    (part / "class.json").write_text(classes)
    for split in ("train", "val"):
        _write_lines(
            lists / f"{split}.txt", (f"1/{r.set}/{r.name}" for r in records if r.split == split)
        )
    tested = [r for r in records if r.split == "test"]
    _write_lines(lists / "test.txt", (f"{r.set}/{r.name}" for r in tested))
    for name in sets:
        _write_lines(
            lists / f"test-{name}.txt", (f"{r.set}/{r.name}" for r in tested if r.set == name)
        )
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
