"""The learning rate as a function of the step: no state, so that a resumed run has the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

_POWER = 0.9
_HALVING_EPOCHS = 10


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a decay.

    Attributes:
        kind: "constant", "poly" (`(1 - t) ** 0.9`, as SAMUS and SAMed), "cosine" (to 0) or
            "halving" (by 2 every ten epochs).
        warmup: steps; at most a quarter of all, so that short runs get to train.
        total: steps of the whole run.
        per_epoch: steps.
    """

    kind: str
    warmup: int
    total: int
    per_epoch: int

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at `step` (from 0)."""
        warmup = min(self.warmup, self.total // 4)
        if step < warmup:
            return (step + 1) / warmup
        done = min((step - warmup) / max(self.total - warmup, 1), 1.0)
        if self.kind == "poly":
            return float((1 - done) ** _POWER)
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.kind == "halving":
            return float(0.5 ** (step // (_HALVING_EPOCHS * self.per_epoch)))
        return 1.0
