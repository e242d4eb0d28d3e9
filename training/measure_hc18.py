"""How far a model's head circumference is from the sonographer's, on HC18's test subjects.

    python training/measure_hc18.py BUNDLE HC18 [--prompt box] [--precision bf16] [--csv FILE]

HC18 is the folder that training/hc18.py made. Each head is segmented with one prompt, made from its
label: the middle one of its pixels in row-major order, or its box. The circumference is that of the
ellipse with the mask's moments, as `samedge segment --measure` prints it, in mm by the image's own
pixel size. The labels are measured in the same way: what a perfect mask would give.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

import samedge
from samedge.geometry.measures import measure_mask
from samedge.train.data.clicks import box_of, fixed_click


def main() -> None:
    """Segment, measure, print."""
    parser = argparse.ArgumentParser(description="Head circumferences of HC18's test subjects")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("hc18", type=Path)
    parser.add_argument("--prompt", choices=("click", "box"), default="click")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--csv", type=Path, help="a row per image")
    said = parser.parse_args()
    session = samedge.load(said.bundle, precision=said.precision)
    with (said.hc18 / "sizes.csv").open(newline="") as file:
        heads = [row for row in csv.DictReader(file) if row["part"] == "test"]
    rows = []
    for head in heads:
        image, label = (
            cv2.imread(str(said.hc18 / "HC18" / kind / head["file"]), cv2.IMREAD_GRAYSCALE)
            for kind in ("img", "label")
        )
        if said.prompt == "click":
            mask = session.segment(image, points=fixed_click(label)[0]).masks[0]
        else:
            mask = session.segment(image, box=box_of(label)).masks[0]
        wanted, pixel = float(head["head_circumference_mm"]), float(head["pixel_mm"])
        both = int(np.count_nonzero(mask & label))
        dice = 2 * both / max(int(np.count_nonzero(mask)) + int(np.count_nonzero(label)), 1)
        rows.append((head["file"], wanted, _circumference(mask, pixel),
                     _circumference(label, pixel), dice))  # fmt: skip
    if said.csv is not None:
        with said.csv.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("file", "sonographer_mm", "model_mm", "label_mm", "dice"))
            table.writerows(rows)
    wanted_mm, model_mm, label_mm, dices = (
        np.asarray(c) for c in list(zip(*rows, strict=True))[1:]
    )
    print(f"{len(rows)} images of {len({r[0].split('_')[0] for r in rows})} subjects")
    print(f"Dice {dices.mean():.4f} +- {dices.std():.4f}, least {dices.min():.4f}")
    for name, found in (("model", model_mm), ("label", label_mm)):
        off = found - wanted_mm
        print(
            f"{name}: mean absolute difference {np.abs(off).mean():.2f} mm "
            f"(+- {np.abs(off).std():.2f}, median {np.median(np.abs(off)):.2f}, "
            f"largest {np.abs(off).max():.1f}), mean difference {off.mean():+.2f} mm, "
            f"{100 * np.mean(np.abs(off) / wanted_mm):.2f} % of the circumference"
        )


def _circumference(mask: np.ndarray, pixel: float) -> float:
    """mm; 0 for an empty mask."""
    measures = measure_mask(mask, (pixel, pixel))
    return 0.0 if measures is None else measures.ellipse.circumference


if __name__ == "__main__":
    main()
