"""Weights rounded to 16 bits, for a bundle of half the size that still computes in float32.

This is the one step of folding that is not exact, and it is only done when asked for. What it does
to the logits is measured on the self-test frames and bounded; from then on the rounded model is
the reference that engines are compared with.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from samedge.bundle import SelfTest
from samedge.errors import ModelError, ParityError
from samedge.fold.model import FoldedModel
from samedge.fold.probes import answered, decode_folded, geometry_of, network_pixels
from samedge.machine.needs import HALF_FROM
from samedge.tolerances import LIMITS

_LARGEST = torch.finfo(torch.float16).max


def round_to_half(folded: FoldedModel) -> None:
    """Round all weights of 1024 and more values to the nearest float16, in place.

    The self-test frames get the results of the rounded model; `folded.report.rounding_error` is the
    largest difference of a low-res logit that this makes. Rounding twice changes nothing.

    Raises:
        ModelError: a weight is too large for float16 (65504).
        ParityError: a logit changes by more than is allowed for float16 (0.03, times the logits'
            RMS where that is above 1); the model is left as it was.
    """
    before = {name: x.detach().clone() for name, x in _large(folded)}
    for name, x in _large(folded):
        if not x.abs().max() <= _LARGEST:
            raise ModelError(
                f"the weight {name} has values up to {float(x.abs().max()):.3g}; 16-bit floats end "
                f"at {_LARGEST:.0f}. Export it with 32-bit weights"
            )
    with torch.no_grad():
        for _, x in _large(folded):
            x.copy_(x.half())
    tests = [_again(folded, test) for test in folded.selftests]
    pairs = list(zip(tests, folded.selftests, strict=True))
    error = max(float(np.abs(a.low_res_logits - b.low_res_logits).max()) for a, b in pairs)
    rms = min(float(np.sqrt(np.mean(b.low_res_logits**2))) for _, b in pairs)
    limit = LIMITS["fp16"].scaled(rms).logits
    if not error <= limit:
        with torch.no_grad():
            for name, x in _large(folded):
                x.copy_(before[name])
        raise ParityError(
            f"16-bit weights change this model's logits by up to {error:.2e} (limit {limit:.2e}); "
            "export it with 32-bit weights"
        )
    folded.selftests = tests
    folded.report = replace(folded.report, rounding_error=error)
    folded.half_weights = True


def _large(folded: FoldedModel) -> list[tuple[str, torch.Tensor]]:
    return [(name, x) for name, x in folded.state_dict().items() if x.numel() >= HALF_FROM]


def _again(folded: FoldedModel, test: SelfTest) -> SelfTest:
    """The same question, answered by the folded model as it is now."""
    family, v = folded.family, folded.variant
    geometry = geometry_of(family, v.input_size, v.low_res, test.frame)
    embedding = folded.encode(network_pixels(test.frame, family, geometry))
    low, iou = decode_folded(folded, embedding, geometry, test)
    return answered(test, geometry, family, low, iou)
