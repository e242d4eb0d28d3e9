"""All numerical limits, in one table. Every comparison reports its margin, not only pass or fail.

The values are those of the reference vectors (`tests/golden`): the spread of the original code
itself, over threads and float64, is 5e-6 on logits whose standard deviation is about 1.
"""

from __future__ import annotations

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
    """

    embedding: float
    logits: float
    flipped: float
    near_zero: float = float("inf")

    def scaled(self, rms: float) -> Limit:
        """The limits on logits for a model whose logits have this RMS.

        The reference vectors' have a standard deviation of 1. Rounding grows with the values, and a
        trained model's logits may be ten times as large; smaller ones do not tighten the limits.
        """
        scale = max(1.0, rms)
        return replace(self, logits=self.logits * scale, near_zero=self.near_zero * scale)


# By the precision of the encoder; the decoder is float32 in all of them.
LIMITS: dict[str, Limit] = {
    "fp32": Limit(embedding=1e-4, logits=1e-4, flipped=1e-4, near_zero=1e-3),
    "fp16": Limit(embedding=0.03, logits=0.03, flipped=2e-3),
    "bf16": Limit(embedding=0.2, logits=0.2, flipped=1e-2),
}

# float32 where a frame is resized by another implementation than the reference's, which may round
# ties to the other side: one grey level in a few pixels.
RESIZED = Limit(embedding=0.05, logits=0.05, flipped=1e-3)

# Interpolated position tables.
TABLE = 1e-5
