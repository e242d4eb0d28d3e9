"""One file for the masks of a whole volume: a number per voxel.

The number is that of the class, or of the object in families without classes; 0 is background.
Where masks overlap, the higher number stays. NIfTI sources get `NAME_labels.nii.gz` in the same
place; others `NAME_labels.npz` with `labels` uint8 `[D, H, W]` and `class_names`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samedge.errors import PromptError, SourceError
from samedge.files.whole import write_bytes
from samedge.sources.frame import Source
from samedge.stream.segmenting import Segmented
from samedge.stream.sinks.nifti_labels import write_nifti_labels

MAX_LABEL = 255


class LabelVolume:
    """Collects the slices of one volume: a byte for each of its voxels, from the first slice on.

    Args:
        source: knows the number of slices, and how they lie in the file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._labels: NDArray[np.uint8] | None = None
        self._last = 0  # number in use
        self._names: tuple[str, ...] = ()
        self._exclusive = False

    def add(self, item: Segmented) -> None:
        """Take in one slice.

        Raises:
            SourceError: its size is not that of the first one.
            PromptError: more than 255 objects.
        """
        shape = (item.frame.height, item.frame.width)
        if self._labels is None:
            self._labels = np.zeros((self._source.total or 0, *shape), np.uint8)
            self._names, self._exclusive = item.class_names, item.class_map is not None
        if self._labels.shape[1:] != shape:
            raise SourceError(
                f"{self._source.name}: a slice of {shape[1]} x {shape[0]} px after slices of "
                f"{self._labels.shape[2]} x {self._labels.shape[1]} px; a volume has one size"
            )
        if item.frame.index >= len(self._labels):
            raise SourceError(f"{self._source.name} is damaged: it has more slices than it says")
        self._labels[item.frame.index] = labels_of(item)
        self._last = max([self._last, *(label_of(item, k) for k in item.best)])

    def name(self, stem: str) -> str:
        """Name of the file."""
        return f"{stem}_labels.npz" if self._source.layout is None else f"{stem}_labels.nii.gz"

    def write(self, folder: Path, stem: str) -> str:
        """Write the file; returns its name.

        Raises:
            OutputError: it cannot be written.
        """
        assert self._labels is not None
        name = self.name(stem)
        if self._source.layout is not None:
            write_nifti_labels(folder / name, self._source.layout, self._labels)
            return name
        buffer = io.BytesIO()
        np.savez_compressed(buffer, labels=self._labels, class_names=np.array(self._label_names()))
        write_bytes(folder / name, buffer.getvalue())
        return name

    def _label_names(self) -> list[str]:
        """Name of each number; an array of texts, which needs no pickle."""
        if self._names:
            return list(self._names) if self._exclusive else ["background", *self._names]
        return ["background", *(f"object {i}" for i in range(1, self._last + 1))]


def labels_of(item: Segmented) -> NDArray[np.uint8]:
    """All masks of a frame as numbers `[H, W]`; where they overlap the higher one stays.

    Raises:
        PromptError: more than 255 objects.
    """
    labels = np.zeros((item.frame.height, item.frame.width), np.uint8)
    for k in item.best:
        number = label_of(item, k)
        if number > MAX_LABEL:
            raise PromptError(f"a label volume holds {MAX_LABEL} objects; segment fewer at once")
        np.maximum(labels, (item.masks[k] != 0) * np.uint8(number), out=labels)
    return labels


def label_of(item: Segmented, k: int) -> int:
    """The number that stands for mask k in label volumes."""
    class_number = item.class_number(k)
    return item.object_number(k) if class_number is None else class_number
