"""The same network under other names: tensors get the official names where that is exact.

Hugging Face's `SamModel` is segment_anything's network, tensor by tensor; only the names differ
(transformers, `convert_sam_to_hf.py`, the other way round). One table stands there twice, under two
names, and its file may hold either. Earlier versions of Medical SAM Adapter differ from the present
one in the names of two tables per block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from samedge.checkpoint.ultrasam import ultrasam_names
from samedge.errors import CheckpointError

# (their name, tensor) -> our names and tensors; most often one.
Rename = Callable[[str, Tensor], Iterable[tuple[str, Tensor]]]


@dataclass(frozen=True)
class Layout:
    """Names that a network's tensors have elsewhere.

    Attributes:
        title: whose names they are.
        markers: regular expressions, each for some whole name: all must be there.
        rename: gives a tensor the official name.
        done: what was done, in the middle of a sentence.
        lacks: names that files of the layout may lack -> what is said of those that do.
    """

    title: str
    markers: tuple[str, ...]
    rename: Rename
    done: str = "which are those of segment_anything one by one"
    lacks: Mapping[str, str] = field(default_factory=dict)


HUGGING_FACE = "Hugging Face transformers (SamModel)"
ULTRASAM = "UltraSam (mmdetection)"
MSA_EARLIER = "an earlier version of Medical SAM Adapter"
_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_MLP = r"(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))"
# Theirs -> ours; each rule is for whole names, and the first that fits counts.
_HUGGING_FACE_RULES: tuple[tuple[str, str], ...] = (
    (r"shared_image_embedding\.positional_embedding", _POSITIONS),
    (r"prompt_encoder\.shared_embedding\.positional_embedding", _POSITIONS),
    (r"vision_encoder\.patch_embed\.projection\.(\w+)", r"image_encoder.patch_embed.proj.\1"),
    (r"vision_encoder\.layers\.(\d+)\.layer_norm(\d\.\w+)", r"image_encoder.blocks.\1.norm\2"),
    (r"vision_encoder\.layers\.(.+)", r"image_encoder.blocks.\1"),
    (r"vision_encoder\.neck\.conv1\.(\w+)", r"image_encoder.neck.0.\1"),
    (r"vision_encoder\.neck\.layer_norm1\.(\w+)", r"image_encoder.neck.1.\1"),
    (r"vision_encoder\.neck\.conv2\.(\w+)", r"image_encoder.neck.2.\1"),
    (r"vision_encoder\.neck\.layer_norm2\.(\w+)", r"image_encoder.neck.3.\1"),
    (r"vision_encoder\.(.+)", r"image_encoder.\1"),
    (r"prompt_encoder\.mask_embed\.conv1\.(\w+)", r"prompt_encoder.mask_downscaling.0.\1"),
    (r"prompt_encoder\.mask_embed\.layer_norm1\.(\w+)", r"prompt_encoder.mask_downscaling.1.\1"),
    (r"prompt_encoder\.mask_embed\.conv2\.(\w+)", r"prompt_encoder.mask_downscaling.3.\1"),
    (r"prompt_encoder\.mask_embed\.layer_norm2\.(\w+)", r"prompt_encoder.mask_downscaling.4.\1"),
    (r"prompt_encoder\.mask_embed\.conv3\.(\w+)", r"prompt_encoder.mask_downscaling.6.\1"),
    (r"prompt_encoder\.point_embed\.(.+)", r"prompt_encoder.point_embeddings.\1"),
    (rf"{_MLP}\.proj_in\.(\w+)", r"\1.layers.0.\2"),
    (rf"{_MLP}\.layers\.0\.(\w+)", r"\1.layers.1.\2"),
    (rf"{_MLP}\.proj_out\.(\w+)", r"\1.layers.2.\2"),
    (r"mask_decoder\.upscale_conv1\.(\w+)", r"mask_decoder.output_upscaling.0.\1"),
    (r"mask_decoder\.upscale_layer_norm\.(\w+)", r"mask_decoder.output_upscaling.1.\1"),
    (r"mask_decoder\.upscale_conv2\.(\w+)", r"mask_decoder.output_upscaling.3.\1"),
    (r"(mask_decoder\.transformer)\.layer_norm_final_attn\.(\w+)", r"\1.norm_final_attn.\2"),
    (r"(mask_decoder\.transformer\.layers\.\d+)\.layer_norm(\d\.\w+)", r"\1.norm\2"),
)


def _hugging_face(theirs: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    for pattern, ours in _HUGGING_FACE_RULES:
        if found := re.fullmatch(pattern, theirs):
            return ((found.expand(ours), tensor),)
    return ((theirs, tensor),)


def _earlier_msa(theirs: str, tensor: Tensor) -> Iterable[tuple[str, Tensor]]:
    return ((re.sub(r"^(image_encoder\..+\.attn\.rel)_pos(_[hw])$", r"\1\2", theirs), tensor),)


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        HUGGING_FACE,
        (
            r"vision_encoder\.patch_embed\.projection\.weight",
            r"mask_decoder\.upscale_conv1\.weight",
        ),
        _hugging_face,
    ),
    Layout(
        ULTRASAM,
        (
            r"backbone\.layers\.0\.ln1\.weight",
            r"prompt_encoder\.label_encoder\.label_embedding\.weight",
            r"decoder\.layers\.0\.self_attn\.attn\.in_proj_bias",
            r"bbox_head\.output_upscaling\.0\.weight",
        ),
        ultrasam_names,
        "whose network is that of segment_anything, but for a doubled residual in the decoder that "
        "is in the weights now (by factors of two, hence exact)",
        {
            "prompt_encoder.mask_downscaling.0.weight": "it was trained without mask refinement "
            "(use_mask_refinement), so it has no layers for mask prompts. Points and boxes do not "
            "need them, but the network has them: put SAM's own into its state_dict, "
            "prompt_encoder.mask_downscaling.* of sam_vit_b_01ec64.pth, and give no masks"
        },
    ),
    Layout(
        MSA_EARLIER,
        (
            r"image_encoder\.blocks\.0\.Space_Adapter\.D_fc1\.weight",
            r"image_encoder\.blocks\.0\.attn\.rel_pos_h",
            r"mask_decoder\.transformer\.layers\.0\.norm1\.weight",
        ),
        _earlier_msa,
        "which are those of the present one, but for the position tables (rel_h, rel_w)",
    ),
)


def official_names(tensors: Mapping[str, Tensor], name: str) -> tuple[dict[str, Tensor], str]:
    """Tensors under the official names.

    Args:
        tensors: of a file, without wrappers' prefixes.
        name: of the file, for messages.

    Returns:
        The tensors, and the title of the layout that they had; "" where nothing was renamed.

    Raises:
        CheckpointError: one tensor stands there twice, and not the same; a table has another size;
            layers are missing that the project can do without.
    """
    layout = next((found for found in LAYOUTS if _fits(found, tensors)), None)
    if layout is None:
        return dict(tensors), ""
    for missing, said in layout.lacks.items():
        if missing not in tensors:
            raise CheckpointError(f"{name}: has the names of {layout.title}, but {said}")
    renamed: dict[str, Tensor] = {}
    for theirs, tensor in tensors.items():
        try:
            parts = layout.rename(theirs, tensor)
        except CheckpointError as error:
            raise CheckpointError(f"{name}: {error}") from None
        for ours, part in parts:
            if ours in renamed and not torch.equal(renamed[ours], part):
                raise CheckpointError(
                    f"{name}: two tensors of {layout.title} are one in the network ('{theirs}' is "
                    "the second), but differ; save the model anew with its own project "
                    "(save_pretrained)"
                )
            renamed[ours] = part
    return renamed, layout.title


def what_was_done(title: str) -> str:
    """What became of the names of the layout called `title`."""
    return next(layout.done for layout in LAYOUTS if layout.title == title)


def _fits(layout: Layout, names: Mapping[str, Tensor]) -> bool:
    return all(any(re.fullmatch(marker, name) for name in names) for marker in layout.markers)
