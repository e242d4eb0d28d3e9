"""What folding did: notes, parameters, FLOPs and the error on a probe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


class Notes:
    """Collects what was folded; equal notes are counted."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, kind: str, text: str) -> None:
        """Record one application of a rule."""
        self._counts[kind, text] = self._counts.get((kind, text), 0) + 1

    def lines(self) -> list[tuple[str, str, int]]:
        """(kind, text, times), in the order of first use."""
        return [(kind, text, n) for (kind, text), n in self._counts.items()]


@dataclass(frozen=True)
class FoldReport:
    """Before and after.

    Attributes:
        folded: (kind, what, times).
        kept: what could not be folded, and why.
        parameters_before, parameters_after: number of weights that inference reads.
        flops_before, flops_after: of one image through the encoder (2 per multiply-add; matrix
            products and convolutions, as counted by torch's FlopCounterMode).
        decoder_flops_before, decoder_flops_after: one single-point prompt.
        embedding_error: largest absolute difference of the embedding on the self-test frames; NaN,
            as the next two: the models were not compared.
        embedding_max: largest absolute value of the unfolded embedding there.
        logit_error: the same for low-res logits of one point prompt.
        rounding_error: what weights rounded to 16 bits change of the logits; None: not rounded.
    """

    folded: list[tuple[str, str, int]]
    kept: list[str]
    parameters_before: int
    parameters_after: int
    flops_before: int
    flops_after: int
    decoder_flops_before: int
    decoder_flops_after: int
    embedding_error: float = math.nan
    embedding_max: float = math.nan
    logit_error: float = math.nan
    rounding_error: float | None = None
    probe: str = field(default="self-test frames, synthetic speckle")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for a manifest."""
        values = {k: None if v != v else v for k, v in asdict(self).items()}  # JSON has no NaN
        return {**values, "folded": [list(line) for line in self.folded]}

    def __str__(self) -> str:
        rows = [
            (kind, text + (f"  (x{times})" if times > 1 else ""))
            for kind, text, times in self.folded
        ]
        rows += [("kept", text) for text in self.kept]
        rows += [
            ("encoder", f"{_giga(self.flops_before, self.flops_after)} GFLOP"),
            ("decoder", f"{_giga(self.decoder_flops_before, self.decoder_flops_after)} GFLOP"),
            (
                "parameters",
                f"{self.parameters_before * 1e-6:.4g} -> {self.parameters_after * 1e-6:.4g} M",
            ),
        ]
        if not math.isnan(self.embedding_error):
            rows += [
                (
                    "embedding error",
                    f"{self.embedding_error:.1e} (embedding maximum {self.embedding_max:.2f}; "
                    f"{self.probe})",
                ),
                ("logit error", f"{self.logit_error:.1e}"),
            ]
        if self.rounding_error is not None:
            rows.append(("16-bit weights", f"logits change by up to {self.rounding_error:.1e}"))
        return "\n".join(["What was folded:", *(f"  {name:<24} {text}" for name, text in rows)])


def _giga(before: int, after: int) -> str:
    return f"{before * 1e-9:.4g} -> {after * 1e-9:.4g}"
