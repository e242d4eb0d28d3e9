"""All numerical limits, in one table. Every comparison reports its margin, not only pass or fail.

The values are those of the reference vectors (`tests/golden`): the spread of the original code
itself, over threads and float64, is 5e-6 on logits whose standard deviation is about 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limit:
    """How far a result may be from the float32 reference.

    Attributes:
        embedding: largest absolute difference of the image embedding.
        logits: the same of low-res or full-size logits, and of the predicted IoU.
        flipped: largest share of mask pixels that differ.
        near_zero: a mask pixel may differ only where the reference logit is at most this far from
            the threshold; infinity where only the share is limited.
        dice: least overlap of a mask with the reference's; 0 where it is not limited. For masks
            that cover less than `SMALL_MASK` of the frame see `least_dice`.
    """

    embedding: float
    logits: float
    flipped: float
    near_zero: float = float("inf")
    dice: float = 0.0

    def scaled(self, rms: float) -> Limit:
        """The limits on logits for a model whose logits have this RMS.

        The reference vectors' have a standard deviation of 1. Rounding grows with the values, and a
        trained model's logits may be ten times as large; smaller ones do not tighten the limits.
        """
        scale = max(1.0, rms)
        return replace(self, logits=self.logits * scale, near_zero=self.near_zero * scale)

    def least_dice(self, share: float) -> float:
        """The limit on Dice for a mask that covers `share` (0 to 1, above 0) of the frame.

        An outline that is off by a fixed distance costs a small mask more Dice than a large one:
        what is lost grows like outline over area, with one over the root of the area.
        """
        lost = (1.0 - self.dice) * math.sqrt(max(1.0, SMALL_MASK / share))
        return max(0.0, 1.0 - lost)


# Share of the frame from which on a mask has to keep the Dice limit itself.
SMALL_MASK = 0.01

# By the precision of the encoder; the decoder is float32 in all of them.
#
# int8 is judged by its masks. Rounding to 255 steps moves logits everywhere by a few percent of
# their RMS, which changes a mask at its outline only. Measured, worst logit in parts of the RMS,
# Dice and flipped pixels of the self-tests: the trained demo model as `samedge export` quantises it
# 0.05, 0.992, 0.10 %, and in the plainest way (every layer, largest values as ranges) 0.09, 0.987,
# 0.12 %; SAMUS ViT-B in that way, with random weights, whose logits are all near the threshold,
# 0.12, 0.967, 1.0 %. The limit on logits only has to catch what is broken.
LIMITS: dict[str, Limit] = {
    "fp32": Limit(embedding=1e-4, logits=1e-4, flipped=1e-4, near_zero=1e-3),
    "fp16": Limit(embedding=0.03, logits=0.03, flipped=2e-3),
    "bf16": Limit(embedding=0.2, logits=0.2, flipped=1e-2),
    "int8": Limit(embedding=0.6, logits=0.5, flipped=2e-2, dice=0.97),
}

# How far a tensor inside a graph may be from the float32 one, relative RMS, before it counts as
# where an error begins (`samedge.runtime.parity.drift`). Somewhat more than the largest measured
# over all tensors of sound encoders (the demo model, SAMUS ViT-B): 5e-6, 0.004, 0.018 and, plainly
# quantised, 0.08; attention weights and their sums are the worst in each.
DRIFT: dict[str, float] = {"fp32": 3e-5, "fp16": 0.008, "bf16": 0.04, "int8": 0.12}

# Interpolated position tables.
TABLE = 1e-5
