"""Prepared samples for a torch DataLoader, with random numbers that depend on nothing but the
seed, the epoch and the sample: a resumed run sees what the first one would have seen."""

from __future__ import annotations

import numpy as np

from samedge._optional import require

require("torch", extra="export", what="samedge.train.prepared")

import torch  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from samedge.train.augmentation import NONE, Recipe, augment  # noqa: E402
from samedge.train.preparation import Preparation, Prepared  # noqa: E402
from samedge.train.samples import Samples  # noqa: E402


class PreparedDataset(Dataset[Prepared]):
    """`index -> prepared sample` of the current epoch.

    Sample i of epoch e takes its random numbers from `np.random.default_rng([seed, e, i])`, in
    whichever worker and order it is made.

    Args:
        samples: a data set.
        preparation: for the model.
        recipe: of the augmentation.
        seed: at least 0.
    """

    def __init__(
        self, samples: Samples, preparation: Preparation, recipe: Recipe = NONE, seed: int = 0
    ) -> None:
        self.samples, self.preparation, self.recipe, self.seed = samples, preparation, recipe, seed
        # Shared memory: workers that live on from epoch to epoch see the change.
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, from 0 on; before the loader is iterated, not while it is."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Prepared:
        """One prepared sample; see `Preparation`.

        Raises:
            SamEdgeError: of the data set or the preparation.
        """
        rng = np.random.default_rng([self.seed, int(self._epoch[0]), index])
        sample = augment(self.samples[index], self.recipe, rng)
        return self.preparation(sample, rng, self.recipe.box_jitter)
