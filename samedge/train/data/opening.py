"""`open_dataset`: which layout a path has, and its samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from samedge.errors import SourceError
from samedge.files.paths import kind_at, shown
from samedge.train.data.folders import ImageFolders, find_pair
from samedge.train.data.us30k import LISTS, Us30k, splits_of

DataSet: TypeAlias = Us30k | ImageFolders
AnyPath: TypeAlias = str | os.PathLike[str]


def open_dataset(
    path: AnyPath,
    split: str = "train",
    *,
    labels: AnyPath | None = None,
    classes: Sequence[str] = (),
    class_id: int = 1,
    val_share: float = 0.1,
    seed: int = 0,
) -> DataSet:
    """Open a data set. Nothing but lists and folders is read; see `check_dataset` for the rest.

    Args:
        path: a folder in the layout of US30K (`MainPatient/*.txt`); or one with `img/` and
            `label/` (or `images/` and `masks/`), or one with `X.png` beside `X_mask.png`, perhaps
            inside folders called like the split; or, with `labels`, a folder of images.
        split: a list of US30K; of plain folders "train", "val" or "all".
        labels: folder of the label images, if not beside the images.
        classes: plain folders: names of all classes, the background first; see `ImageFolders`.
        class_id: US30K: the class that a test list asks for.
        val_share: plain folders: part of the images that is "val".
        seed: plain folders: of the division into "train" and "val".

    Raises:
        SourceError: no known layout, no such split, or a list or folder that cannot be used.
    """
    root = Path(path)
    if kind_at(root, SourceError) != "folder":
        raise SourceError(f"there is no folder '{shown(path)}'")
    if labels is not None:
        return ImageFolders(root, Path(labels), root.name, split, classes, val_share, seed)
    if (root / LISTS).is_dir():
        return Us30k(root, split, class_id)
    for folder, part in ((root / split, "all"), (root, split)):
        if (pair := find_pair(folder)) is not None:
            return ImageFolders(*pair, root.name, part, classes, val_share, seed)
    if parts := [p.name for p in sorted(root.iterdir()) if p.is_dir() and find_pair(p)]:
        raise SourceError(
            f"'{root.name}' has no part '{split}', but {', '.join(parts)}; name one of them "
            "(--split), or give its folder"
        )
    raise SourceError(
        f"'{root.name}' is no data set: expected {LISTS}/{split}.txt (the layout of US30K), or "
        "img/ and label/, or images/ and masks/, or X.png beside X_mask.png; or give the folder of "
        "labels as well"
    )


def splits(path: AnyPath) -> list[str]:
    """Names that `open_dataset` takes as `split` for this path."""
    root = Path(path)
    if (root / LISTS).is_dir():
        return splits_of(root)
    own = [p.name for p in sorted(root.iterdir()) if p.is_dir() and find_pair(p)]
    return own or ["train", "val", "all"]
