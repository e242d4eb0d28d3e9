"""NaN and infinity never become a mask.

A network can overflow on single frames, most of all in half precision, and an engine can be wrong.
The masks that a graph gives are thresholded already, and NaN is below any threshold: they look like
masks. So the numbers behind them are looked at, those of every answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from samedge.errors import NonFiniteError

# Beyond this the way from low-res logits to the frame's size could overflow in float32.
LARGEST = 1e30
# What the masks of an answer are made of or judged by.
LOOKED_AT = ("low_res_logits", "scores")


def check_finite(arrays: Mapping[str, NDArray[Any]], precision: str) -> None:
    """Refuse what an engine computed, if any of it is NaN, infinite or next to it.

    Args:
        arrays: by the names that the message uses; float32 or float16.
        precision: of the engine, for the message.

    Raises:
        NonFiniteError: says which array.
    """
    for name, array in arrays.items():
        if not _is_finite(array):
            remedy = (
                "run this frame in precision fp32"
                if precision != "fp32"
                else "do not use this bundle for such frames, and report it to whoever trained it"
            )
            raise NonFiniteError(
                f"the network gave NaN or infinite numbers for this frame ({name}, computed in "
                f"{precision}), so there is no mask: {remedy}; `samedge verify BUNDLE --locate` "
                "finds the operation if a self-test frame has the fault as well"
            )


def _is_finite(array: NDArray[Any]) -> bool:
    """Two passes without a temporary; NaN fails both comparisons."""
    return not array.size or bool(array.min() > -LARGEST and array.max() < LARGEST)
