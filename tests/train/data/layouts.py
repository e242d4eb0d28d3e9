"""Small data sets on disk."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint8]


def disc(height: int, width: int, at: tuple[float, float], radius: float, value: int = 1) -> Array:
    """A label with one disc at (x, y)."""
    y, x = np.mgrid[:height, :width]
    inside = (x - at[0]) ** 2 + (y - at[1]) ** 2 <= radius**2
    return (inside * value).astype(np.uint8)


def picture(label: Array, seed: int = 0) -> Array:
    """Noise, dark where the label is not 0."""
    noise = np.random.default_rng(seed).integers(90, 200, label.shape, dtype=np.uint8)
    return np.where(label > 0, noise // 4, noise).astype(np.uint8)


def write(path: Path, pixels: Array) -> None:
    """A PNG file, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def us30k(root: Path, count: int = 4, size: tuple[int, int] = (70, 90)) -> Path:
    """Two sets: "Nodule" with two classes (stored as 0 and 255), "Heart" with three."""
    lists = root / "MainPatient"
    lists.mkdir(parents=True)
    (lists / "class.json").write_text(json.dumps({"Nodule": 2, "Heart": 3}))
    train, test = [], []
    for i in range(count):
        label = disc(*size, (20 + 8 * i, 30), 12)
        write(root / "Nodule" / "img" / f"n{i}.png", picture(label, i))
        write(root / "Nodule" / "label" / f"n{i}.png", label * 255)
        both = np.maximum(label, disc(*size, (70, 50), 9, 2))
        write(root / "Heart" / "img" / f"h{i}.png", picture(both, 10 + i))
        write(root / "Heart" / "label" / f"h{i}.png", both)
        train += [f"1/Nodule/n{i}", f"2/Heart/h{i}"]
        test += [f"Nodule/n{i}", f"Heart/h{i}"]
    (lists / "train.txt").write_text("\n".join(train))
    (lists / "val.txt").write_text("\n".join(train[:2]) + "\n\n")
    (lists / "test.txt").write_text("\n".join(test))
    (lists / "test-Nodule.txt").write_text("\n".join(test[::2]))
    return root


def folders(root: Path, names: tuple[str, str] = ("images", "masks"), count: int = 10) -> Path:
    """A plain folder of images and masks (0 and 255)."""
    for i in range(count):
        label = disc(60, 50, (15 + 2 * i, 30), 8)
        write(root / names[0] / f"case{i}.png", picture(label, i))
        write(root / names[1] / f"case{i}.png", label * 255)
    return root
