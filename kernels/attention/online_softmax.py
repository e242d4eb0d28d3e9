"""Softmax in base 2, one tile of scores after the other: what all attention kernels share.

Scores and biases carry log2(e), since the hardware has an instruction for 2^x and none for e^x.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def softmax_step(scores, peak, total):
    """Take one tile of scores [M, N] into the softmax of its rows.

    peak, total fp32 [M]: largest score so far, and the sum of 2^(score - peak).

    Returns:
        weights [M, N], correction [M] (factor of everything summed so far), peak, total.
    """
    new_peak = tl.maximum(peak, tl.max(scores, 1))
    weights = tl.exp2(scores - new_peak[:, None])
    correction = tl.exp2(peak - new_peak)
    return weights, correction, new_peak, total * correction + tl.sum(weights, 1)
