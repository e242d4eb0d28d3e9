"""Two checkpoints into one: SAM weights poured into a SAMUS model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from samedge.errors import CheckpointError


def resize_image_table(table: Tensor, rows: int) -> Tensor:
    """Relative-position table `[n, c]` -> `[rows, c]` as an image, bilinear; columns stay."""
    size = (rows, table.shape[1])
    return F.interpolate(table[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def pour_sam_into_samus(
    samus: Mapping[str, Tensor], sam: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], list[str]]:
    """SAMUS tensors, those that SAM has taken from SAM.

    The relative-position tables of the global blocks are resized (127 -> 63 rows for the official
    sizes), the position table and all others are taken as they are. Source: SAMUS's
    `build_sam_us.load_from2`, but with the real list of global blocks instead of its test for
    digits in the name, which is right for ViT-B only.

    Args:
        samus: tensors that keep their values where SAM has no such name.
        sam: tensors to take.
        config: SamusConfig fields of `samus`.

    Returns:
        the new tensors, and notes for the user.

    Raises:
        CheckpointError: a SAM tensor of another shape.
    """
    tables = {
        f"image_encoder.blocks.{i}.attn.rel_pos_{axis}"
        for i in config["global_blocks"]
        for axis in "hw"
    }
    poured, resized = dict(samus), []
    for name, tensor in sam.items():
        if name not in samus:
            continue
        wanted = samus[name].shape
        if name in tables and tensor.shape != wanted and tensor.shape[1:] == wanted[1:]:
            tensor = resize_image_table(tensor, wanted[0])
            resized.append(name)
        if tensor.shape != wanted:
            raise CheckpointError(
                f"SAM tensor '{name}' has shape {list(tensor.shape)}, SAMUS's has {list(wanted)}; "
                "expected two checkpoints with the same ViT size"
            )
        poured[name] = tensor
    taken = sum(name in samus for name in sam)
    notes = [f"{taken} of {len(sam)} SAM tensors poured into SAMUS"]
    if resized:
        notes.append(f"{len(resized)} relative-position tables of global blocks resized")
    return poured, notes
