"""Low-rank branches as the package loralib stores them, beside the weight that they change."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from samedge.errors import CheckpointError
from samedge.models.lora import merged_delta

_SAME = 1e-5  # of the largest weight: merging and taking apart again rounds


def settle_merged(
    tensors: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    rounding: float = _SAME,
    base_file: str = "the base",
) -> tuple[dict[str, Tensor], list[str]]:
    """Find out, with the base, whether the branches are in the weights already.

    A loralib layer in eval mode has them there, and `state_dict()` then stores both. Loading such a
    file and switching to eval mode, as the original's own validation does, adds them a second time.

    Args:
        tensors: with `X.weight`, `X.lora_A`, `X.lora_B`.
        base: the weights that training started from and did not change.
        rounding: how exactly both are stored, relative to the largest weight.
        base_file: what the base is called in messages.

    Returns:
        the tensors with plain weights, and notes for the user.

    Raises:
        CheckpointError: the weights are neither the base's nor those plus the branches, or some are
            the one and some the other.
    """
    settled = dict(tensors)
    layers: dict[str, list[str]] = {"apart": [], "merged": []}
    for name in [k.removesuffix(".lora_A") for k in tensors if k.endswith(".lora_A")]:
        key = f"{name}.weight"
        if key not in base or base[key].shape != tensors[key].shape:
            raise CheckpointError(
                f"{base_file} has no '{key}' of shape {list(tensors[key].shape)}; expected the SAM "
                "checkpoint that training started from"
            )
        delta = merged_delta(tensors[f"{name}.lora_A"], tensors[f"{name}.lora_B"])
        state = _state(tensors[key], base[key], delta, max(rounding, _SAME))
        if state == "neither":
            raise CheckpointError(
                f"'{key}' is neither that of {base_file} nor that plus its low-rank branch, so "
                "training started from another file: give that one, or leave it out"
            )
        if state != "either":
            layers[state].append(key)
        if state != "apart":
            settled[key] = base[key]
    apart, merged = layers["apart"], layers["merged"]
    if apart and merged:
        raise CheckpointError(
            f"{len(merged)} layers have their low-rank branch in their weights already ('"
            f"{merged[0]}') and {len(apart)} do not ('{apart[0]}'); save the model again, in train "
            "mode"
        )
    if merged:
        return settled, [
            "low-rank branches are in the weights already (it was saved in eval mode), and are not "
            "added again"
        ]
    what = "are apart from the weights" if apart else "are too small to matter"
    return settled, [f"low-rank branches {what}"]


def _state(own: Tensor, start: Tensor, delta: Tensor, rounding: float) -> str:
    """What a stored weight is: the base's ("apart"), that plus its branch ("merged"), "neither", or
    "either" where the branch is lost in rounding and both would do."""
    tolerance = rounding * float(start.abs().max())
    change = own - start
    # Rounding is independent of the branch, so sums over all values tell even small branches.
    if float((change - delta).norm()) < float(change.norm()):
        change -= delta
        state = "merged"
    else:
        state = "apart"
    if float(change.abs().max()) > tolerance:
        return "neither"
    return "either" if float(delta.norm()) <= 10 * tolerance else state
