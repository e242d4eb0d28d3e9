"""Plain folders of images and masks: `img/` and `label/`, `images/` and `masks/`, any two, or one
that holds both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samedge.errors import SourceError
from samedge.files.paths import kind_at
from samedge.sources.frame import Warn
from samedge.train.data.label_files import read_label
from samedge.train.data.pairing import holds_pairs, pair_files
from samedge.train.data.reading import Image, check_pair, read_pixels, refuse_copy
from samedge.train.data.samples import Sample
from samedge.train.data.us30k import default_classes

PAIRS = (("img", "label"), ("images", "masks"), ("images", "labels"), ("image", "mask"))
PARTS = ("train", "val", "all")


class ImageFolders:
    """Images with a mask of the same name beside them.

    Args:
        images, labels: the two folders, or one; see `pair_files`. `a.png` has the label `a.png`,
            `a_mask.png` or `a_label.png`, whatever the format; of several masks the union counts.
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
        self.classes = tuple(classes) or default_classes(2)
        pairs, self.notes = pair_files(images, labels)
        if classes and (several := next((p for p in pairs if len(p.labels) > 1), None)):
            raise SourceError(
                f"{several.image.name} has {len(several.labels)} label files; where labels hold "
                "class numbers, expected one for each image"
            )
        self._pairs = [pairs[i] for i in _part(len(pairs), split, val_share, seed)]

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """Name of sample `index`, also of one that cannot be read."""
        return f"{self._name}/{self._pairs[index].image.stem}"

    def __getitem__(self, index: int) -> Sample:
        """Read one sample, in colour if it is.

        Raises:
            SourceError: a file is missing or damaged, sizes differ, or a class is out of range.
        """
        name, pair = self.name(index), self._pairs[index]
        notes: list[str] = []
        image = self.image(index, notes.append)
        label = np.zeros(image.shape[:2], np.uint8)
        numbers = None if self._binary else len(self.classes)
        for path in pair.labels:
            refuse_copy(pair.image, path, name)
            what = "label" if len(pair.labels) == 1 else f"label {path.name}"
            one = read_label(path, f"{what} of {name}", numbers, notes.append)
            check_pair(image, one, name)
            label = np.maximum(label, one)
        class_id = 1 if len(self.classes) == 2 else 0
        return Sample(image, label, name, class_id, tuple(notes))

    def image(self, index: int, warn: Warn) -> Image:
        """The image of a sample without its label; see `read_pixels`."""
        return read_pixels(self._pairs[index].image, f"image of {self.name(index)}", warn)


def find_pair(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and labels inside `root`, or itself twice if it holds both; else
    None."""
    if kind_at(root, SourceError) != "folder":
        return None
    for images, labels in PAIRS:
        if (root / images).is_dir() and (root / labels).is_dir():
            return root / images, root / labels
    return (root, root) if holds_pairs(root) else None


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
