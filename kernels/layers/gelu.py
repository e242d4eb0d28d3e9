"""The exact GELU inside of kernels, in about twenty instructions that need few registers."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gelu(x):
    """x * Phi(x), Phi the normal distribution function (not its tanh approximation); fp32.

    With u = |x| that is max(x, 0) - u * Phi(-u), and Phi(-u) = exp(-u^2 / 2) * p(1 / (1 + 0.27 u))
    where p has degree 6 and was fitted for the smallest absolute error of the result: 1.4e-8 in
    exact arithmetic, below the rounding of fp32. Small results for negative x come out of
    no difference, as they would of 1 + erf(x).
    """
    u = tl.abs(x)
    t = 1.0 / (1.0 + 0.27 * u)
    p = 0.488762459 - 0.116224164 * t
    p = -0.38950171 + p * t
    p = 0.372809808 + p * t
    p = 0.0265476727 + p * t
    p = (0.117606505 + p * t) * t
    return tl.maximum(x, 0.0) - u * (p * tl.exp2(u * u * -0.7213475204444817))
