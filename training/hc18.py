"""HC18 as the trainer reads it: fetal heads with filled labels, divided by subject.

    python training/hc18.py FOLDER OUT

HC18 (van den Heuvel et al., PLoS ONE 13(8), 2018; Radboud University Medical Center; CC BY 4.0)
lies on Zenodo: https://zenodo.org/records/1322001, `training_set.zip` and
`training_set_pixel_size_and_HC.csv`. FOLDER is where both were unpacked, or a copy that was
brought to half size: `img/`, `label/` (filled) and `sizes.csv` (file, pixel_mm,
head_circumference_mm). Originals are brought to half size by area averaging; their outlines are
filled.

OUT becomes a data set in the layout of US30K with the set `HC18`, and `sizes.csv` beside it.
Subjects are the first part of a file's name (`010_HC.png`, `010_2HC.png`). Sorted, and put into
the order of `numpy.random.default_rng(18).permutation`, the first 70 % of them are `train`, the
next 10 % `val`, the rest `test`.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HOW = (
    "expected the folder of HC18: get training_set.zip and training_set_pixel_size_and_HC.csv from "
    "https://zenodo.org/records/1322001 and unpack them into one folder"
)
SEED, TRAIN, VAL = 18, 0.7, 0.1
Image = NDArray[np.uint8]
Head = tuple[Image, Image, float, float]


def main(source: Path, out: Path) -> None:
    """Read all heads, divide them by subject, write."""
    heads = half_size(source) if (source / "img").is_dir() else originals(source)
    if not heads:
        sys.exit(f"{source}: no heads; {HOW}")
    parts = divided(sorted({subject(name) for name in heads}))
    for kind in ("img", "label"):
        (out / "HC18" / kind).mkdir(parents=True, exist_ok=True)
    lists = out / "MainPatient"
    lists.mkdir(exist_ok=True)
    (lists / "class.json").write_text(json.dumps({"HC18": 2}) + "\n")
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    with (out / "sizes.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "part", "pixel_mm", "head_circumference_mm"))
        for name, (image, label, pixel, circumference) in sorted(heads.items()):
            part = parts[subject(name)]
            cv2.imwrite(str(out / "HC18" / "img" / f"{name}.png"), image)
            cv2.imwrite(str(out / "HC18" / "label" / f"{name}.png"), label)
            lines[part].append(f"HC18/{name}" if part == "test" else f"1/HC18/{name}")
            table.writerow((f"{name}.png", part, f"{pixel:.6f}", circumference))
    for part, of_part in lines.items():
        (lists / f"{part}.txt").write_text("".join(f"{line}\n" for line in of_part))
        subjects = len({subject(line.rsplit("/", 1)[1]) for line in of_part})
        print(f"{part}: {len(of_part)} images of {subjects} subjects")


def subject(name: str) -> str:
    """Of `010_2HC`: `010`."""
    return name.split("_")[0]


def divided(subjects: list[str]) -> dict[str, str]:
    """Subject -> "train", "val" or "test"."""
    order = np.random.default_rng(SEED).permutation(len(subjects))
    first, second = round(TRAIN * len(order)), round((TRAIN + VAL) * len(order))
    parts = ["train"] * first + ["val"] * (second - first) + ["test"] * (len(order) - second)
    return {subjects[int(i)]: part for i, part in zip(order, parts, strict=True)}


def half_size(source: Path) -> dict[str, Head]:
    """A copy at half size: name -> image, label 0 and 1, mm per px, circumference in mm."""
    with (source / "sizes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["file"].removesuffix(".png"): (
            grey(source / "img" / row["file"]),
            (grey(source / "label" / row["file"]) > 0).astype(np.uint8),
            float(row["pixel_mm"]),
            float(row["head_circumference_mm"]),
        )
        for row in rows
    }


def originals(source: Path) -> dict[str, Head]:
    """The files of the challenge, brought to half size."""
    tables = list(source.rglob("training_set_pixel_size_and_HC.csv"))
    folders = {path.parent for path in source.rglob("*_Annotation.png")}
    if len(tables) != 1 or len(folders) != 1:
        sys.exit(f"{source}: {HOW}")
    folder, heads = folders.pop(), {}
    with tables[0].open(newline="") as file:
        for name, pixel, circumference in list(csv.reader(file))[1:]:
            stem = name.removesuffix(".png")
            outline = (grey(folder / f"{stem}_Annotation.png") > 0).astype(np.uint8)
            contours, _ = cv2.findContours(outline, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            filled = cv2.drawContours(np.zeros_like(outline), contours, -1, 255, cv2.FILLED)
            label = (halved(np.asarray(filled, np.uint8)) >= 128).astype(np.uint8)
            image = halved(grey(folder / name))
            heads[stem] = (image, label, 2 * float(pixel), float(circumference))
    return heads


def halved(image: Image) -> Image:
    """Half as many rows and columns, each the mean of four pixels."""
    size = (image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def grey(path: Path) -> Image:
    """uint8 `[H, W]`."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        sys.exit(f"{path} cannot be read; {HOW}")
    return np.asarray(image, np.uint8)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
