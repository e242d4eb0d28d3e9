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
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from samedge._wording import option
from samedge.checkpoint.options import CheckpointOptions
from samedge.checkpoint.pour import resize_position_tables
from samedge.checkpoint.sizes import count, dimension, mask_tokens
from samedge.errors import CheckpointError
from samedge.models.shapes import Shapes

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
# Factors in the file: `a` is [rank, in], `b` is [out, rank].
_ENCODER_FACTOR = re.compile(r"w_([ab])_\d+$")
_DECODER_FACTOR = re.compile(r"(?:(?:sa|cti|cit)_([ab])_\d+|fati_[qv]([ab]))$")


@dataclass(frozen=True)
class LoraSizes:
    """What SAMed's file shows of the network that it was trained on.

    Attributes:
        blocks, width: of the image encoder.
        rank: of the encoder's branches.
        decoder_rank: of the mask decoder's; 0: it has none.
        classes: besides the background.
    """

    blocks: int
    width: int
    rank: int
    decoder_rank: int
    classes: int

    @property
    def ranks(self) -> dict[str, int]:
        """Ranks by the part of the network."""
        decoder = {"decoder": self.decoder_rank} if self.decoder_rank else {}
        return {"encoder": self.rank} | decoder


def lora_sizes(shapes: Shapes) -> LoraSizes:
    """Sizes in the file, if it does not contradict itself.

    Raises:
        CheckpointError: names the branches that are missing, or of another rank than the first.
    """
    if not any(key.startswith("mask_decoder.") for key in shapes):
        raise CheckpointError(
            "it holds low-rank factors alone (w_a_000 and so on), and no mask decoder, which SAMed "
            "trains and saves with them: another project's LoRA on SAM, or a part of a file. Load "
            "it where it was trained and save that model whole: torch.save(model.state_dict(), "
            "'whole.pth')"
        )
    rank, width = dimension(shapes, "w_a_000", 0), dimension(shapes, "w_a_000", 1)
    # A query and a value for every block, so an odd number lacks one.
    branches = -(-count(shapes, r"w_[ab]_(\d+)$") // 2) * 2
    wanted = [f"w_{half}_{i:03d}" for i in range(branches) for half in "ab"]
    missing = [key for key in wanted if key not in shapes]
    if missing:
        raise CheckpointError(
            "its low-rank branches come in pairs, for query (even) and value (odd) of every block, "
            f"each with factors w_a and w_b; missing: {', '.join(missing[:4])}. Take the whole file"
        )
    _check_single_rank(shapes, _ENCODER_FACTOR, "w_a_000", rank)
    decoder_rank = 0
    first = next((key for key in shapes if _DECODER_FACTOR.match(key)), None)
    if first is not None:
        decoder_rank = dimension(shapes, first, "ab".index(_half(_DECODER_FACTOR, first)))
        _check_single_rank(shapes, _DECODER_FACTOR, first, decoder_rank)
    return LoraSizes(branches // 2, width, rank, decoder_rank, mask_tokens(shapes) - 1)


def _half(factors: re.Pattern[str], key: str) -> str:
    """ "a" or "b"; empty if the name is none of a factor."""
    found = factors.match(key)
    return found[found.lastindex or 0] if found else ""


def _check_single_rank(shapes: Shapes, factors: re.Pattern[str], first: str, rank: int) -> None:
    for key in shapes:
        half = _half(factors, key)
        if half and dimension(shapes, key, "ab".index(half)) != rank:
            raise CheckpointError(
                f"its low-rank branches have different ranks: {first} {list(shapes[first])}, "
                f"{key} {list(shapes[key])}; expected one rank for all, as the original trains them"
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


def samed_config(
    base: Mapping[str, Any], lora: LoraSizes, said: CheckpointOptions
) -> dict[str, Any]:
    """SamedConfig fields of a SAM config and the sizes in SAMed's file.

    Raises:
        CheckpointError: the file has another rank or number of classes than the user said.
    """
    if said.rank not in (None, lora.rank):
        raise CheckpointError(
            f"its low-rank branches have rank {lora.rank} (w_a_000 is [{lora.rank}, "
            f"{lora.width}]), not {option('rank', said.rank)}; leave it out, or take the file of "
            "that rank"
        )
    if said.classes not in (None, lora.classes):
        raise CheckpointError(
            f"it was trained for {lora.classes} classes besides the background "
            f"(mask_decoder.mask_tokens.weight has {lora.classes + 1} rows), not for "
            f"{said.classes}; say {option('classes', lora.classes)}, that many names, or nothing"
        )
    size = said.input_size or 512
    sizes = dict(base) | {
        "img_size": size,
        "num_mask_tokens": lora.classes + 1,
        "lora_rank": lora.rank,
        "decoder_rank": lora.decoder_rank,
    }
    if size != base["img_size"]:
        sizes["rel_pos_grid"] = None  # the tables are resized with the grid
    if said.names is not None:
        sizes["classes"] = ("background", *said.names)
    return sizes


def configure_samed_whole(config: dict[str, Any], said: CheckpointOptions) -> dict[str, Any]:
    """Names of the classes of a SAMed model that was saved whole.

    Raises:
        CheckpointError: the file has another rank or number of classes than the user said.
    """
    classes, rank = config["num_mask_tokens"] - 1, config["lora_rank"]
    if said.rank not in (None, rank):
        raise CheckpointError(
            f"its low-rank branches have rank {rank}, not {option('rank', said.rank)}; leave it out"
        )
    if said.classes not in (None, classes):
        raise CheckpointError(
            f"it was trained for {classes} classes besides the background (it has {classes + 1} "
            f"mask tokens), not for {said.classes}; say "
            f"{option('classes', classes)}, or that many names"
        )
    return config if said.names is None else {**config, "classes": ("background", *said.names)}


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
    rank = str(config["lora_rank"])
    if config["decoder_rank"]:
        rank += f" (decoder {config['decoder_rank']})"
    notes.append(
        f"low-rank branches of rank {rank}, {len(brought)} tensors in all from SAMed's file; its "
        "prompt encoder and mask decoder replace the base's"
    )
    return {name: tensors[name] for name in model}, notes
