"""Plain folders of images and masks: `img/` and `label/`, `images/` and `masks/`, or any two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samedge.errors import SourceError
from samedge.sources.images import natural_key
from samedge.train.data.label_files import read_label
from samedge.train.data.reading import check_pair, read_pixels, refuse_copy
from samedge.train.data.samples import Sample
from samedge.train.data.us30k import default_classes

PAIRS = (("img", "label"), ("images", "masks"), ("images", "labels"), ("image", "mask"))
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MASK_ENDINGS = ("", "_mask", "_label")
PARTS = ("train", "val", "all")


class ImageFolders:
    """Images with a mask of the same name beside them.

    Args:
        images, labels: the two folders. `a.png` has the label `a.png`, `a_mask.png` or
            `a_label.png`, whatever the format.
        name: of the data set, for its samples' names.
        split: "all", or a seeded division into "train" and "val".
        classes: names of all classes, the background first: a label then holds their numbers.
            Without names a label is a mask; see `mask_of`.
        val_share: part of the images that is "val", at least one.
        seed: of the division. It depends on the names of the files, not on their order on disk.

    Attributes:
        classes: names, the background first.
        notes: what was decided about files that belong together, for the user.

    Raises:
        SourceError: a folder is missing, holds no image, or two of one name; an image has no label;
            there are too few to divide.
    """

    def __init__(
        self,
        images: Path,
        labels: Path,
        name: str = "",
        split: str = "all",
        classes: Sequence[str] = (),
        val_share: float = 0.1,
        seed: int = 0,
    ) -> None:
        self._name = name or images.parent.name or images.name
        self._binary = not classes
        self.notes: tuple[str, ...] = ()
        self.classes = tuple(classes) or default_classes(2)
        files, stems = list(_by_stem(images).values()), _by_stem(labels)
        pairs = [(path, _label_of(path, stems, labels.name)) for path in files]
        self._pairs = [pairs[i] for i in _part(len(pairs), split, val_share, seed)]

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """Name of sample `index`, also of one that cannot be read."""
        return f"{self._name}/{self._pairs[index][0].stem}"

    def __getitem__(self, index: int) -> Sample:
        """Read one sample, in colour if it is.

        Raises:
            SourceError: a file is missing or damaged, sizes differ, or a class is out of range.
        """
        name = self.name(index)
        image_path, label_path = self._pairs[index]
        notes: list[str] = []
        refuse_copy(image_path, label_path, name)
        image = read_pixels(image_path, f"image of {name}", notes.append)
        numbers = None if self._binary else len(self.classes)
        label = read_label(label_path, f"label of {name}", numbers, notes.append)
        check_pair(image, label, name)
        class_id = 1 if len(self.classes) == 2 else 0
        return Sample(image, label, name, class_id, tuple(notes))


def find_pair(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and labels inside `root`; None if there are none."""
    for images, labels in PAIRS:
        if (root / images).is_dir() and (root / labels).is_dir():
            return root / images, root / labels
    return None


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by name without suffix, in natural order."""
    found: dict[str, Path] = {}
    for path in _files(folder):
        if path.stem in found:
            raise SourceError(
                f"folder {folder.name} has both {found[path.stem].name} and {path.name}; one of "
                "them must have another name"
            )
        found[path.stem] = path
    return found


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SourceError(f"there is no folder '{folder.name}' with images")
    try:
        files = image_files(folder)
    except OSError as error:
        raise SourceError(f"cannot read folder {folder.name}: {error.strerror}") from error
    if not files:
        raise SourceError(f"folder {folder.name} holds no image ({', '.join(SUFFIXES)})")
    return files


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order, without hidden ones and sub-folders."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    return sorted((p for p in files if not p.name.startswith(".")), key=natural_key)


def _label_of(image: Path, stems: dict[str, Path], folder: str) -> Path:
    for ending in MASK_ENDINGS:
        if (found := stems.get(image.stem + ending)) is not None:
            return found
    raise SourceError(
        f"{image.name} has no label; expected {folder}/{image.stem}.png (or {image.stem}_mask.png)"
    )


def _part(count: int, split: str, val_share: float, seed: int) -> list[int]:
    """Places of the images of a split, in order."""
    if split == "all":
        return list(range(count))
    if split not in PARTS:
        raise SourceError(
            f"a plain folder has no split '{split}'; expected one of {', '.join(PARTS)}, or "
            f"folders of that name in it"
        )
    held_out = max(1, round(val_share * count))
    if not 0 < val_share < 1 or held_out >= count:
        raise SourceError(
            f"{count} images cannot be divided with val_share={val_share:g}: both parts need one"
        )
    order = np.random.default_rng(seed).permutation(count)
    chosen = order[:held_out] if split == "val" else order[held_out:]
    return sorted(int(i) for i in chosen)
