"""A data set as the trainer takes it: augmented, prepared, and told apart by a digest."""

from __future__ import annotations

import hashlib

import numpy as np

from samedge.train.data.augmentation import NONE, Augmentation, augment
from samedge.train.data.preparation import Preparation, Prepared
from samedge.train.data.samples import Samples

_READ = 64


class PreparedItems:
    """`Items` of a data set.

    Args:
        samples: where they come from.
        preparation: for the model.
        augmentation: what is done to samples.
        seed: of augmentation, clicks and boxes; None: nothing is random, for validation.
    """

    def __init__(
        self,
        samples: Samples,
        preparation: Preparation,
        augmentation: Augmentation = NONE,
        seed: int | None = None,
    ) -> None:
        self.samples, self.preparation, self.augmentation, self.seed = (
            samples,
            preparation,
            augmentation,
            seed,
        )

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, epoch: int, index: int) -> Prepared:
        """One prepared sample; see `Preparation`.

        Raises:
            SamEdgeError: of the data set or the preparation.
        """
        if self.seed is None:
            return self.preparation(self.samples[index])
        rng = np.random.default_rng([self.seed, epoch, index])
        sample = augment(self.samples[index], self.augmentation, rng)
        return self.preparation(sample, rng, self.augmentation.box_jitter)


ODD = "surrogateescape"  # the bytes of file names that are no UTF-8


def digest(samples: Samples) -> str:
    """SHA-256 over the number of samples, the classes, and up to 64 evenly spaced samples.

    Two data sets of the same digest are taken for the same; reading all of a large one would take
    longer than it is worth.
    """
    found = hashlib.sha256(f"{len(samples)} {samples.classes}".encode())
    for index in np.linspace(0, len(samples) - 1, min(_READ, len(samples))).round().astype(int):
        sample = samples[int(index)]
        found.update(f"{sample.name} {sample.image.shape} {sample.class_id}".encode(errors=ODD))
        found.update(np.ascontiguousarray(sample.image).tobytes())
        found.update(np.ascontiguousarray(sample.label).tobytes())
    return found.hexdigest()
