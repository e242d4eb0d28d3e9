"""One labelled image, as it comes from a data set, before anything is resized.

Data sets make samples, augmentations turn samples into samples, and a preparation turns them into a
model's tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """An image and its label.

    Attributes:
        image: uint8 `[H, W]` or `[H, W, 3]` RGB.
        label: uint8 `[H, W]`, class of every pixel, 0 the background.
        name: within its data set ("Breast-BUSI/benign-0001"); no path, no patient's data.
        class_id: the class that this sample asks for; 0: all of them.
        notes: what was decided while its files were read, for the user.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    name: str
    class_id: int = 0
    notes: tuple[str, ...] = ()


class Samples(Protocol):
    """A data set: `len()`, `[index]`, and the names of its classes.

    Attributes:
        classes: names, the background first.
        notes: what was decided about files that belong together, for the user.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
