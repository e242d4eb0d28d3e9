"""UltraSam's tensors (Meyer et al. 2025): SAM ViT-B in the names of mmdetection and mmpretrain.

The encoder is mmpretrain's `ViTSAM`, which is SAM's. The embeddings of prompts and output tokens
are rows of one table; the biases of the projections to queries, keys and values are one vector.

The two-way transformer differs in one place. Its MLP is mmcv's `FFN`, which adds its input to its
output; the block then adds it once more: `norm3(2 x + mlp(x))` with `x = norm2(...)`, which nothing
else reads. norm2 scaled by 2, and the MLP's first matrix by 1/2, make SAM's `norm3(y + mlp'(y))` of
it, with `y = 2 x`. Both are powers of two, so every float stays what it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from samedge.errors import CheckpointError

# What a user has to know: the network is the same, the way from frame to mask is SAM's.
ULTRASAM_DIFFERS = (
    "its weights are run by SAM's conventions. Its own code resizes frames with OpenCV, without "
    "antialiasing, and rounds sizes down; it asks twice, the second time with the first mask, and "
    "takes the best of three; and it cuts masks at 0 before they are enlarged, so that they reach "
    "a few px further. docs/families.md says how to ask twice"
)

# Rows of the table of labels, in its order: name and number of rows.
_TABLE = (
    ("prompt_encoder.no_mask_embed.weight", 1),
    ("prompt_encoder.point_embeddings.0.weight", 1),  # background
    ("prompt_encoder.point_embeddings.1.weight", 1),  # foreground
    ("prompt_encoder.point_embeddings.2.weight", 1),  # first and second corner of a box
    ("prompt_encoder.point_embeddings.3.weight", 1),
    ("prompt_encoder.not_a_point_embed.weight", 1),
    ("mask_decoder.mask_tokens.weight", 4),
    ("mask_decoder.iou_token.weight", 1),
)
_ROWS = sum(rows for _, rows in _TABLE)
_LABELS = "prompt_encoder.label_encoder.label_embedding.weight"
_BIASES = re.compile(r"decoder\.(.+)\.attn\.in_proj_bias")
# Theirs -> ours; each rule is for whole names, and the first that fits counts.
_RULES: tuple[tuple[str, str], ...] = (
    (r"backbone\.patch_embed\.projection\.(\w+)", r"image_encoder.patch_embed.proj.\1"),
    (r"backbone\.layers\.(\d+)\.ln(\d\.\w+)", r"image_encoder.blocks.\1.norm\2"),
    (r"backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.(\w+)", r"image_encoder.blocks.\1.mlp.lin1.\2"),
    (r"backbone\.layers\.(\d+)\.ffn\.layers\.1\.(\w+)", r"image_encoder.blocks.\1.mlp.lin2.\2"),
    (r"backbone\.layers\.(.+)", r"image_encoder.blocks.\1"),
    (r"backbone\.channel_reduction\.(.+)", r"image_encoder.neck.\1"),
    (r"backbone\.(.+)", r"image_encoder.\1"),
    (r"decoder\.(.+)\.attn\.([qkv]_proj)_weight", r"mask_decoder.transformer.\1.\2.weight"),
    (r"decoder\.(.+)\.attn\.(out_proj\.\w+)", r"mask_decoder.transformer.\1.\2"),
    (r"decoder\.(.+)\.mlp\.layers\.0\.0\.(\w+)", r"mask_decoder.transformer.\1.mlp.lin1.\2"),
    (r"decoder\.(.+)\.mlp\.layers\.1\.(\w+)", r"mask_decoder.transformer.\1.mlp.lin2.\2"),
    (r"decoder\.post_norm\.(\w+)", r"mask_decoder.transformer.norm_final_attn.\1"),
    (r"decoder\.(.+)", r"mask_decoder.transformer.\1"),
    (r"bbox_head\.(.+)", r"mask_decoder.\1"),
)
_DOUBLED = re.compile(r"mask_decoder\.transformer\.layers\.\d+\.norm2\.(weight|bias)")
_HALVED = re.compile(r"mask_decoder\.transformer\.layers\.\d+\.mlp\.lin1\.weight")


def ultrasam_names(theirs: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    """A tensor's official names and what of it belongs to each.

    Raises:
        CheckpointError: the table of labels has not the rows of UltraSam's.
    """
    if theirs == _LABELS:
        return _labels(tensor)
    biases = _BIASES.fullmatch(theirs)
    if biases and tensor.ndim == 1 and len(tensor) % 3 == 0:
        names = (f"mask_decoder.transformer.{biases[1]}.{x}_proj.bias" for x in "qkv")
        return zip(names, (part.clone() for part in tensor.chunk(3)), strict=True)
    ours = next(
        (m.expand(new) for pattern, new in _RULES if (m := re.fullmatch(pattern, theirs))), theirs
    )
    factor = 2.0 if _DOUBLED.fullmatch(ours) else 0.5 if _HALVED.fullmatch(ours) else 1.0
    return ((ours, tensor if factor == 1.0 else factor * tensor),)


def _labels(table: Tensor) -> Iterable[tuple[str, Tensor]]:
    if table.ndim != 2 or len(table) != _ROWS:
        raise CheckpointError(
            f"tensor '{_LABELS}' has shape {list(table.shape)}; UltraSam's has {_ROWS} rows: for "
            "no mask, each kind of point and corner, four mask tokens, and the score's. A project "
            "built on UltraSam may have other prompts, which samedge cannot give; take UltraSam's "
            "own file, as its authors publish it"
        )
    first, parts = 0, []
    for name, rows in _TABLE:
        parts.append((name, table[first : first + rows].clone()))
        first += rows
    return parts
