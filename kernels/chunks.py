"""Attention a few matrices at a time, so that large grids need little memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

# Scores held at a time, 256 MiB in float32: one image of 1024 px has three (ViT-B) or four times
# as many in a global block, a stack of slices many times more.
SCORES = 1 << 26

Attend = Callable[..., torch.Tensor]


def few_at_a_time(attend: Attend, scores: int, *tensors: torch.Tensor) -> torch.Tensor:
    """`attend(*tensors)`, a few of the N matrices at a time, the results joined.

    Args:
        attend: takes what `tensors` are, of any N, and works on each of the N by itself.
        scores: values of one matrix of attention scores (queries times keys).
        tensors: each `[N, ...]`; N is images, or windows, times heads.
    """
    count = tensors[0].shape[0]
    step = max(1, SCORES // scores)
    if step >= count or tensors[0].is_meta:  # where nothing takes memory, nothing is split
        return attend(*tensors)
    parts = zip(*(torch.split(tensor, step) for tensor in tensors), strict=True)
    return torch.cat([attend(*part) for part in parts])
