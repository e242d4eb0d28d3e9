"""Sizes of a network, read off the names and shapes of its tensors: one function per family.

Each returns fields of the family's model config; what shapes do not show keeps its default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from samedge.errors import CheckpointError
from samedge.models.shapes import Shapes

_ENCODER, _DECODER = "image_encoder.", "mask_decoder."
SAM_TABLE, MSA_TABLE = "rel_pos_h", "rel_h"
LARGEST = 1 << 16  # of any size; the products of what lies beyond overflow


def dimension(shapes: Shapes, key: str, axis: int) -> int:
    """One dimension of one tensor; CheckpointError if it is not there."""
    if key not in shapes:
        raise CheckpointError(f"tensor '{key}' is missing, which shows a size of the network")
    shape = shapes[key]
    if not -len(shape) <= axis < len(shape) or not all(shape) or shape[axis] > LARGEST:
        raise CheckpointError(
            f"tensor '{key}' has shape {list(shape)}, from which no size can be read"
        )
    return shape[axis]


def count(shapes: Shapes, pattern: str) -> int:
    """Number of different indices that the first group of `pattern` takes over all names.

    Not the largest index: a stray name must not make the network a million blocks deep.
    """
    found = (re.match(pattern, name) for name in shapes)
    return len({m.group(1) for m in found if m})


def mask_tokens(shapes: Shapes) -> int:
    """Number of mask tokens. Each has tensors of its own, so a network is not built in vain for a
    table of a million rows."""
    key = _DECODER + "mask_tokens.weight"
    tokens = dimension(shapes, key, 0)
    if tokens > len(shapes):
        raise CheckpointError(
            f"tensor '{key}' has {tokens} rows, more than the file has tensors ({len(shapes)})"
        )
    return tokens


def decoder_sizes(shapes: Shapes, mlp: str = "mlp.lin1") -> dict[str, Any]:
    """Config fields that all families share but the input: prompt encoder and mask decoder.

    Args:
        shapes: names and shapes.
        mlp: name of the first layer in a decoder block's MLP.
    """
    prompt_dim = dimension(shapes, _ENCODER + "neck.0.weight", 0)
    layer = _DECODER + "transformer.layers.0."
    head = _DECODER + "iou_prediction_head.layers."
    inner = dimension(shapes, layer + "cross_attn_token_to_image.k_proj.weight", 0)
    return {
        "prompt_dim": prompt_dim,
        "mask_channels": dimension(shapes, "prompt_encoder.mask_downscaling.3.weight", 0),
        "num_mask_tokens": mask_tokens(shapes),
        "decoder_depth": count(shapes, r"mask_decoder\.transformer\.layers\.(\d+)\."),
        "decoder_mlp_dim": dimension(shapes, f"{layer}{mlp}.weight", 0),
        "decoder_downsample": max(prompt_dim // inner, 1),
        "iou_hidden_dim": dimension(shapes, head + "0.weight", 0),
        "iou_depth": count(shapes, r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\."),
    }


def vit_sizes(shapes: Shapes, table: str = SAM_TABLE, mlp: str = "mlp.lin1") -> dict[str, Any]:
    """The same and those of a vision transformer, but the input size and the blocks' kinds.

    Args:
        shapes: names and shapes.
        table: name of a block's table for rows.
        mlp: name of the first layer in a decoder block's MLP.
    """
    dim = dimension(shapes, _ENCODER + "pos_embed", -1)
    head_dim = dimension(shapes, f"{_ENCODER}blocks.0.attn.{table}", 1)
    return {
        "patch_size": dimension(shapes, _ENCODER + "patch_embed.proj.weight", 2),
        "in_channels": dimension(shapes, _ENCODER + "patch_embed.proj.weight", 1),
        "embed_dim": dim,
        "depth": count(shapes, r"image_encoder\.blocks\.(\d+)\."),
        "num_heads": max(dim // head_dim, 1),
        "mlp_ratio": dimension(shapes, _ENCODER + "blocks.0.mlp.lin1.weight", 0) / dim,
        **decoder_sizes(shapes, mlp),
    }


_PATCH = _ENCODER + "patch_embed.seq.0.c.weight"


def has_no_patches(tensors: Mapping[str, Any]) -> bool:
    """Whether the first convolutions of a TinyViT, by tensors or shapes, are 1 x 1, as LiteMedSAM
    has them."""
    first = tensors.get(_PATCH, ())
    return tuple(getattr(first, "shape", first))[2:] == (1, 1)


def tiny_vit_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of a TinyViT checkpoint but the input size, which no tensor shows."""
    stages = count(shapes, r"image_encoder\.layers\.(\d+)\.")
    layers = [f"{_ENCODER}layers.{i}." for i in range(stages)]
    if stages < 2:
        raise CheckpointError(f"its encoder has {stages} stages; expected at least 2")
    first = dimension(shapes, f"{layers[0]}blocks.0.conv3.c.weight", 0)
    hidden = dimension(shapes, f"{layers[0]}blocks.0.conv1.c.weight", 0)
    tables = [f"{layer}blocks.0.attn.attention_biases" for layer in layers[1:]]
    widths = [dimension(shapes, f"{layer}blocks.0.attn.proj.weight", 0) for layer in layers[1:]]
    mlp = dimension(shapes, f"{layers[1]}blocks.0.mlp.fc1.weight", 0)
    return {
        "in_channels": dimension(shapes, _PATCH, 1),
        "widths": (first, *widths),
        "depths": tuple(
            count(shapes, re.escape(f"{layer}blocks.") + r"(\d+)\.") for layer in layers
        ),
        # The first stage has no attention; MobileSAM's numbers stand there without a meaning.
        "heads": (2, *(dimension(shapes, table, 0) for table in tables)),
        "windows": (7, *(isqrt(dimension(shapes, table, 1)) for table in tables)),
        "mlp_ratio": mlp / widths[0],
        "expand_ratio": hidden / first,
        "patch_stride": 1 if dimension(shapes, _PATCH, 2) == 1 else 2,
        **decoder_sizes(shapes),
    }


def table_rows(shapes: Shapes, depth: int, table: str = SAM_TABLE) -> list[int]:
    """Rows of every block's relative-position table."""
    return [dimension(shapes, f"{_ENCODER}blocks.{i}.attn.{table}", 0) for i in range(depth)]


def block_sizes(rows: list[int], global_blocks: list[int], grid: int) -> dict[str, Any]:
    """Config fields that follow from the tables, once it is known which blocks are global."""
    windows = [n for i, n in enumerate(rows) if i not in global_blocks]
    stored = (rows[global_blocks[-1]] + 1) // 2 if global_blocks else grid
    return {
        "global_blocks": tuple(global_blocks),
        "window_size": (windows[0] + 1) // 2 if windows else 14,
        "rel_pos_grid": None if stored == grid else stored,
    }


def longest_tables(rows: list[int]) -> list[int]:
    """Which blocks are global, where nothing else shows it.

    The last block of these encoders always is; the others with as long a table are, too. (A window
    as large as the grid makes no difference.)
    """
    return [i for i, n in enumerate(rows) if n == rows[-1]]


def sam_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of a SAM checkpoint."""
    sizes = vit_sizes(shapes)
    grid = dimension(shapes, _ENCODER + "pos_embed", 1)
    rows = table_rows(shapes, sizes["depth"])
    blocks = block_sizes(rows, longest_tables(rows), grid)
    return {**sizes, **blocks, "img_size": grid * sizes["patch_size"]}


def samed_whole_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of a SAMed model that was saved whole, with its branches."""
    ranks = samed_whole_ranks(shapes)
    ranked = {"lora_rank": ranks["encoder"], "decoder_rank": ranks.get("decoder", 0)}
    return {**sam_sizes(shapes), **ranked}


def samed_whole_ranks(shapes: Shapes) -> dict[str, int]:
    """Ranks of its branches, by the part of the network."""
    ranks = {"encoder": dimension(shapes, _ENCODER + "blocks.0.attn.qkv.linear_a_q.weight", 0)}
    branch = _DECODER + "transformer.layers.0.self_attn.q_proj.w_a.weight"
    return ranks | ({"decoder": dimension(shapes, branch, 0)} if branch in shapes else {})


def samus_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of a SAMUS checkpoint: the stored position table is twice the grid."""
    sizes = vit_sizes(shapes)
    grid = max(dimension(shapes, _ENCODER + "pos_embed", 1) // 2, 1)
    downs = count(shapes, r"image_encoder\.cnn_embed\.downs\.(\d+)\.")
    widths = [dimension(shapes, _ENCODER + "cnn_embed.inc.conv.0.weight", 0)]
    for i in range(downs - 1):
        key = f"{_ENCODER}cnn_embed.downs.{i}.maxpool_conv.1.weight"
        widths.append(dimension(shapes, key, 0))
    rows = table_rows(shapes, sizes["depth"])
    adapted = re.compile(r"image_encoder\.blocks\.(\d+)\.Space_Adapter\.")
    global_blocks = sorted({int(m.group(1)) for k in shapes if (m := adapted.match(k))})
    hidden = dimension(shapes, _ENCODER + "input_Adapter.D_fc1.weight", 0)
    return {
        **sizes,
        **block_sizes(rows, global_blocks, grid),
        "img_size": grid * 2 ** len(widths),
        "cnn_channels": tuple(widths),
        "adapter_ratio": hidden / sizes["embed_dim"],
    }


def samus_ranks(shapes: Shapes) -> dict[str, int]:
    """Hidden widths of SAMUS's adapters."""
    ranks = {"input": dimension(shapes, _ENCODER + "input_Adapter.D_fc1.weight", 0)}
    return ranks | _adapter_ranks(shapes, {"mlp": "MLP_Adapter"})


def autosamus_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of an AutoSAMUS checkpoint. Heads are 64 wide, as in the original."""
    sizes = samus_sizes(shapes)
    generator = "prompt_generator.cross_image_token.layers.0."
    inner = dimension(shapes, generator + "0.fn.to_q.weight", 0)
    narrow = dimension(shapes, "feature_adapter.0.weight", 0)
    # The number of heads does not show; all known models have heads of 64.
    head_dim = 64 if inner % 64 == 0 else inner
    return {
        **sizes,
        "object_tokens": dimension(shapes, "prompt_generator.object_token", 1),
        "generator_depth": count(shapes, r"prompt_generator\.cross_image_token\.layers\.(\d+)\."),
        "generator_heads": inner // head_dim,
        "generator_head_dim": head_dim,
        "generator_mlp_dim": dimension(shapes, generator + "2.fn.net.0.weight", 0),
        "feature_ratio": max(sizes["prompt_dim"] // narrow, 1),
    }


def msa_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config fields of a Medical SAM Adapter checkpoint.

    The absolute position table does not follow the input size; the longest relative ones do.
    """
    plain = _DECODER + "transformer.layers.0.mlp.lin1.weight" in shapes
    sizes = vit_sizes(shapes, MSA_TABLE, "mlp.lin1" if plain else "mlp.layers.0.0")
    rows = table_rows(shapes, sizes["depth"], MSA_TABLE)
    grid = (rows[-1] + 1) // 2
    return {
        **sizes,
        **block_sizes(rows, longest_tables(rows), grid),
        "img_size": grid * sizes["patch_size"],
        "stored_grid": dimension(shapes, _ENCODER + "pos_embed", 1),
        "sam_decoder": plain,
    }


def msa_adapter_sizes(shapes: Shapes) -> dict[str, Any]:
    """The same for the variant with adapters."""
    sizes = msa_sizes(shapes)
    hidden = dimension(shapes, _ENCODER + "blocks.0.Space_Adapter.D_fc1.weight", 0)
    return {**sizes, "adapter_ratio": hidden / sizes["embed_dim"], "lora_rank": 0}


def msa_ranks(shapes: Shapes) -> dict[str, int]:
    """Hidden widths of Medical SAM Adapter's adapters."""
    parts = {"space": "Space_Adapter", "mlp": "MLP_Adapter", "depth": "Depth_Adapter"}
    return _adapter_ranks(shapes, parts)


def msa_lora_sizes(shapes: Shapes) -> dict[str, Any]:
    """The same for the variant with low-rank branches (loralib's)."""
    branch = re.compile(r"image_encoder\.blocks\.0\.(.+)\.lora_A$")
    layers = tuple(sorted(m.group(1) for k in shapes if (m := branch.match(k))))
    if not layers:
        raise CheckpointError("its first block has no low-rank branch ('...lora_A')")
    prefix = f"{_ENCODER}blocks.0."
    rank = dimension(shapes, f"{prefix}{layers[0]}.lora_B", 1)
    groups = 0
    if "attn.qkv" in layers:
        rows = dimension(shapes, prefix + "attn.qkv.lora_A", 0)
        groups = rows // rank if rows > rank else 0
    return {
        **msa_sizes(shapes),
        "adapter_ratio": 0.0,
        "lora_rank": rank,
        "lora_layers": layers,
        "lora_groups": groups,
    }


def msa_lora_ranks(shapes: Shapes) -> dict[str, int]:
    """Rank of every layer's branch in the first block."""
    branch = re.compile(r"image_encoder\.blocks\.0\.(.+)\.lora_B$")
    return {m.group(1): shapes[k][-1] for k in shapes if (m := branch.match(k)) and shapes[k]}


def _adapter_ranks(shapes: Shapes, parts: dict[str, str]) -> dict[str, int]:
    ranks = {}
    for name, module in parts.items():
        keys = [k for k in shapes if k.endswith(f".{module}.D_fc1.weight")]
        if keys:
            ranks[name] = dimension(shapes, keys[0], 0)
    return ranks
