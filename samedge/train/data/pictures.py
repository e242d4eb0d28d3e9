"""A folder of images without labels, as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samedge.errors import SourceError
from samedge.files.paths import kind_at, shown
from samedge.sources.mask_names import masks_among
from samedge.train.data.pairing import image_files
from samedge.train.data.reading import read_pixels
from samedge.train.data.samples import Sample


class Pictures:
    """Images of a folder, each with an empty label.

    Args:
        folder: PNG, JPEG and so on; sub-folders are not looked at, and masks that lie beside their
            images (`a_mask.png`) are left out.
        split: "train", or "val": every tenth image, the first among them.

    Raises:
        SourceError: no folder, or fewer than two images.
    """

    classes = ("background", "object")

    def __init__(self, folder: Path, split: str = "train") -> None:
        if kind_at(folder, SourceError) != "folder":
            raise SourceError(f"there is no folder '{shown(folder)}'")
        found = image_files(folder)
        masks = masks_among(p.stem for p in found)
        ordered = [p for p in found if p.stem not in masks]
        self.notes: tuple[str, ...] = ()
        if masks:
            self.notes = (
                f"{len(found) - len(ordered)} of {len(found)} files in {folder.name} are masks by "
                "their names; left out",
            )
        if len(ordered) < 2:
            raise SourceError(
                f"'{folder.name}' holds {len(ordered)} images; expected at least two, one of which "
                "is held out"
            )
        self._files = [p for i, p in enumerate(ordered) if (i % 10 == 0) == (split == "val")]
        self._name = folder.name

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        """Read one image.

        Raises:
            SourceError: it is missing or damaged.
        """
        file = self._files[index]
        name = f"{self._name}/{file.stem}"
        notes: list[str] = []
        image = read_pixels(file, f"image {name}", notes.append)
        return Sample(image, np.zeros(image.shape[:2], np.uint8), name, 1, tuple(notes))
