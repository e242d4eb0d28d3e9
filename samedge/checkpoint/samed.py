"""SAMed: a SAM checkpoint and the file of what was trained on it -> one set of tensors.

The file names its low-rank factors by counting: `w_a_000` and `w_b_000` are those of block 0's
query, `_001` of its value, `_002` of block 1's query, and so on; SAMed_s adds `sa_`, `cti_` and
`cit_` for the three attentions of each decoder layer and `fati_*` for the last one. It also brings
the prompt encoder and the mask decoder, of which SAMed_s leaves out the transformer's weights:
those stay as in the base.

Source: SAMed's `LoRA_Sam.load_lora_parameters` and `build_sam.load_from`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from samedge.checkpoint.options import Options
from samedge.checkpoint.pour import resize_position_tables
from samedge.checkpoint.sizes import Shapes, count, dimension
from samedge.errors import CheckpointError

_DECODER_ATTENTIONS = {
    "sa": "self_attn",
    "cti": "cross_attn_token_to_image",
    "cit": "cross_attn_image_to_token",
}
_BRANCHED_QKV = re.compile(r"(image_encoder\.blocks\.\d+\.attn\.qkv)\.(weight|bias)$")
_BRANCHED_PROJ = re.compile(r"(mask_decoder\.transformer\..*\.[qv]_proj)\.(weight|bias)$")
_ENCODER_BRANCH = re.compile(r"image_encoder\.blocks\.(\d+)\.attn\.qkv\.linear_([ab])_([qv])\.")
_LAYER_BRANCH = re.compile(
    r"mask_decoder\.transformer\.layers\.(\d+)\.(\w+)\.([qv])_proj\.w_([ab])\."
)
_LAST_BRANCH = re.compile(
    r"mask_decoder\.transformer\.final_attn_token_to_image\.([qv])_proj\.w_([ab])\."
)


def file_name(name: str) -> str | None:
    """The name that a tensor of the model has in SAMed's file; None if it is not in there."""
    if m := _ENCODER_BRANCH.match(name):
        return f"w_{m[2]}_{2 * int(m[1]) + 'qv'.index(m[3]):03d}"
    if m := _LAYER_BRANCH.match(name):
        kind = next(k for k, attention in _DECODER_ATTENTIONS.items() if attention == m[2])
        return f"{kind}_{m[4]}_{2 * int(m[1]) + 'qv'.index(m[3]):03d}"
    if m := _LAST_BRANCH.match(name):
        return f"fati_{m[1]}{m[2]}"
    return name if name.startswith(("prompt_encoder.", "mask_decoder.")) else None


def lora_file_shapes(model: Shapes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the file that goes with a model's tensors (names and shapes)."""
    found = {own: shape for name, shape in model.items() if (own := file_name(name))}
    if any(_LAYER_BRANCH.match(name) for name in model):
        found = {k: v for k, v in found.items() if not k.startswith("mask_decoder.transformer.")}
    return found


def base_name(name: str, model: Mapping[str, Any]) -> str:
    """The name that a tensor of SAM has in the model, where its layer may have got a branch."""
    for pattern, inner in ((_BRANCHED_QKV, "qkv"), (_BRANCHED_PROJ, "proj")):
        if (m := pattern.match(name)) and name not in model:
            return f"{m[1]}.{inner}.{m[2]}"
    return name


def samed_config(base: Mapping[str, Any], lora: Shapes, said: Options) -> dict[str, Any]:
    """SamedConfig fields of a SAM config and the shapes in SAMed's file.

    Raises:
        CheckpointError: the file shows no rank, or not what the user said of rank and classes.
    """
    rank, tokens = (
        dimension(lora, "w_a_000", 0),
        dimension(lora, "mask_decoder.mask_tokens.weight", 0),
    )
    if said.rank is not None and said.rank != rank:
        raise CheckpointError(
            f"its low-rank branches have rank {rank} (w_a_000 is {list(lora['w_a_000'])}), not "
            f"rank={said.rank}"
        )
    if said.classes is not None and said.classes != tokens - 1:
        raise CheckpointError(
            f"it was trained for {tokens - 1} classes besides the background "
            f"(mask_decoder.mask_tokens.weight has {tokens} rows), not for {said.classes}"
        )
    pairs = count(lora, r"w_a_(\d+)$")
    if pairs % 2 or pairs > 2 * base["depth"]:
        raise CheckpointError(
            f"its low-rank branches are for {pairs / 2:g} blocks, but the base has "
            f"{base['depth']}; it was trained on a base of another size"
        )
    sizes = {k: v for k, v in base.items() if k != "rel_pos_grid"}
    sizes |= {
        "img_size": said.input_size or 512,
        "num_mask_tokens": tokens,
        "lora_rank": rank,
        "decoder_rank": dimension(lora, "sa_a_000", 0) if "sa_a_000" in lora else 0,
    }
    if said.names is not None:
        sizes["classes"] = ("background", *said.names)
    return sizes


def attach(
    base: Mapping[str, Tensor],
    lora: Mapping[str, Tensor],
    config: Mapping[str, Any],
    model: Mapping[str, Any],
) -> tuple[dict[str, Tensor], list[str]]:
    """The model's tensors from both files.

    Args:
        base: SAM's tensors, all there.
        lora: those of SAMed's file, all there.
        config: SamedConfig fields.
        model: names of the model's tensors.

    Returns:
        tensors by the model's names, and notes for the user.
    """
    grid = config["img_size"] // config["patch_size"]
    resized, notes = resize_position_tables(base, config["global_blocks"], grid)
    tensors = {base_name(name, model): tensor for name, tensor in resized.items()}
    tensors = {name: tensor for name, tensor in tensors.items() if name in model}
    own = {name: file_name(name) for name in model}
    brought = {name: lora[key] for name, key in own.items() if key is not None and key in lora}
    tensors |= brought
    rank = f"{config['lora_rank']}"
    if config["decoder_rank"]:
        rank += f" (decoder {config['decoder_rank']})"
    notes.append(
        f"low-rank branches of rank {rank}, {len(brought)} tensors in all from SAMed's file; its "
        "prompt encoder and mask decoder replace the base's"
    )
    return {name: tensors[name] for name in model}, notes
