"""SAM weights for other networks: poured into a SAMUS model, resized for another input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from samedge.errors import CheckpointError


def resize_image_table(table: Tensor, rows: int) -> Tensor:
    """Relative-position table `[n, c]` -> `[rows, c]` as an image, bilinear; columns stay."""
    size = (rows, table.shape[1])
    return F.interpolate(table[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def resize_position_tables(
    sam: Mapping[str, Tensor], global_blocks: Sequence[int], grid: int
) -> tuple[dict[str, Tensor], list[str]]:
    """SAM's tensors for another grid of tokens.

    The position table and the tables of the global blocks are resized bilinearly as images; those
    of windows stay. Source: SAMed's `build_sam.load_from`, with the real list of global blocks
    instead of its test for digits in the name, which is right for ViT-B only.

    Args:
        sam: all tensors.
        global_blocks: of the encoder.
        grid: side of the new grid, tokens.

    Returns:
        the tensors, and notes for the user.
    """
    key = "image_encoder.pos_embed"
    old = sam[key].shape[1]
    if old == grid:
        return dict(sam), []
    tensors = dict(sam)
    image = sam[key].permute(0, 3, 1, 2)
    image = F.interpolate(image, size=(grid, grid), mode="bilinear", align_corners=False)
    tensors[key] = image.permute(0, 2, 3, 1).contiguous()
    for name in global_tables(global_blocks):
        tensors[name] = resize_image_table(sam[name], 2 * grid - 1)
    return tensors, [f"position tables resized from a grid of {old} to {grid} tokens"]


def global_tables(global_blocks: Sequence[int]) -> list[str]:
    """Names of the relative-position tables of global blocks."""
    return [f"image_encoder.blocks.{i}.attn.rel_pos_{axis}" for i in global_blocks for axis in "hw"]


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
    tables = global_tables(config["global_blocks"])
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
