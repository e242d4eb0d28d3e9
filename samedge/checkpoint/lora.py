"""Low-rank branches as the package loralib stores them, beside the weight that they change."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from samedge.errors import CheckpointError

_SAME = 1e-5  # of the largest weight: merging and taking apart again rounds


def merged_delta(a: Tensor, b: Tensor) -> Tensor:
    """What loralib's factors add to a weight, `B A / r`; the alpha of its branches is 1.

    Args:
        a: `lora_A` `[r * n, in]`, n branches below each other.
        b: `lora_B` `[rows, r]`, their outputs below each other.

    Returns:
        `[rows, in]`; for the query and value branches of a qkv layer (n = 2) `[rows / 2 * 3, in]`
        with zeros for the key.
    """
    rank = b.shape[1]
    n = a.shape[0] // rank
    parts = [y @ x for x, y in zip(a.chunk(n), b.chunk(n), strict=True)]
    if n == 2:
        parts.insert(1, torch.zeros_like(parts[0]))
    return torch.cat(parts) / rank


def settle_merged(
    tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Find out, with the base, whether the branches are in the weights already.

    A loralib layer in eval mode has them there, and `state_dict()` then stores both. Loading such a
    file and switching to eval mode, as the original's own validation does, adds them a second time.

    Args:
        tensors: with `X.weight`, `X.lora_A`, `X.lora_B`.
        base: the weights that training started from and did not change.

    Returns:
        the tensors with plain weights, and notes for the user.

    Raises:
        CheckpointError: the weights are neither the base's nor those plus the branches.
    """
    settled, merged = dict(tensors), 0
    branched = [k.removesuffix(".lora_A") for k in tensors if k.endswith(".lora_A")]
    for name in branched:
        key = f"{name}.weight"
        if key not in base or base[key].shape != tensors[key].shape:
            raise CheckpointError(
                f"the second file has no '{key}' of shape {list(tensors[key].shape)}; expected the "
                "SAM checkpoint that training started from"
            )
        own, start = tensors[key], base[key]
        delta = merged_delta(tensors[f"{name}.lora_A"], tensors[f"{name}.lora_B"])
        if _same(own, start):
            continue
        if not _same(own, start + delta):
            raise CheckpointError(
                f"'{key}' is neither the second file's nor that plus its low-rank branch, so that "
                "file is not what training started from; leave it out"
            )
        settled[key] = start
        merged += 1
    if 0 < merged < len(branched):
        raise CheckpointError(
            f"{merged} of {len(branched)} layers have their low-rank branch in their weights "
            "already and the others do not; save the model again, in train mode"
        )
    note = "are in the weights already (it was saved in eval mode), and are not added again"
    return settled, [f"low-rank branches {note if merged else 'are apart from the weights'}"]


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= _SAME * b.abs().max())
