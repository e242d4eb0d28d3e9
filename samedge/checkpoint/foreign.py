"""Networks and layouts of other projects that samedge knows by sight only, and the way on.

Each is recognised by tensor names, as published by its project or shown in its users' reports.
"""

from __future__ import annotations

from dataclasses import dataclass

_SAM_NAMES = (r"^image_encoder\.blocks\.\d+\.", r"^mask_decoder\.transformer\.")
_OWN_BRANCH = (
    "it computes something beside SAM's layers, so opened as SAM it would give other masks. Export "
    "the project's own model to ONNX with its own code, or train one of the families that samedge "
    "knows on the same images (samedge train)"
)


@dataclass(frozen=True)
class Foreign:
    """What is recognised and cannot be loaded.

    Attributes:
        name, title: for messages.
        markers: regular expressions, each found in some tensor name.
        advice: what it is and what to do, in the middle of a sentence.
    """

    name: str
    title: str
    markers: tuple[str, ...]
    advice: str


FOREIGN: tuple[Foreign, ...] = (
    Foreign(
        "transformers_sam2",
        "SAM 2 of Hugging Face transformers",
        (r"(^|\.)vision_encoder\.backbone\.", r"(^|\.)mask_decoder\."),
        "SAM 2 is another network. Take a checkpoint of the first SAM",
    ),
    Foreign(
        "peft",
        "a LoRA adapter of Hugging Face PEFT",
        (r"^base_model\.model\.|\.lora_[AB]\.(default\.)?weight$",),
        "such a file holds low-rank branches under PEFT's names. Join them with their model where "
        "it was trained (model.merge_and_unload()), and save its state_dict() under the names of "
        "segment_anything",
    ),
    Foreign(
        "transformers",
        "SAM of Hugging Face transformers (SamModel)",
        (r"(^|\.)vision_encoder\.(layers\.\d+|patch_embed)\.", r"(^|\.)mask_decoder\."),
        "it is not the whole of one: samedge reads what SamModel.save_pretrained writes "
        "(model.safetensors) and torch.save of its state_dict(). Save the whole model, or take the "
        "file that it was converted from (sam_vit_b_01ec64.pth, medsam_vit_b.pth)",
    ),
    Foreign(
        "openmmlab_sam",
        "SAM of OpenMMLab (mmpretrain, mmdetection)",
        (r"(^|\.)layers\.\d+\.attn\.rel_pos_h$", r"(^|\.)layers\.\d+\.ffn\.layers\.0\.0\."),
        "it is the encoder alone, or has other prompts or another decoder than UltraSam, whose "
        "network samedge reads under these names (backbone, prompt_encoder with label_encoder, "
        "decoder, bbox_head). Take UltraSam's own file, or SAM's that the encoder was made from",
    ),
    Foreign(
        "msa_early",
        "a part of Medical SAM Adapter",
        (
            r"\.(Space|MLP|Depth)_Adapter\.D_fc1\.weight$",
            r"\.attn\.(rel_pos_h|qkv\.weight)$",
            *_SAM_NAMES,
        ),
        "its adapters stand in SAM's network, but not those of every block as all versions of the "
        "project have them (Space_Adapter, MLP_Adapter, Depth_Adapter beside attn.rel_pos_h or "
        "attn.rel_h). Take the file that the project's training wrote, whole",
    ),
    Foreign(
        "sam_med2d",
        "SAM-Med2D",
        (r"\.Adapter\.(channel|spatial)\.\d+\.weight$", *_SAM_NAMES),
        f"it is SAM with adapters in every block: {_OWN_BRANCH}",
    ),
    Foreign(
        "sam_adapter",
        "SAM-Adapter",
        (r"^image_encoder\.prompt_generator\.", *_SAM_NAMES),
        f"it is SAM with a prompt generator in the encoder: {_OWN_BRANCH}",
    ),
    Foreign(
        "ma_sam",
        "MA-SAM",
        (r"FacT[uv]?s?(\.|$)",),
        f"it is SAM with factorised branches and 3-D adapters: {_OWN_BRANCH}",
    ),
    Foreign(
        "lora_in_sam",
        "SAM with low-rank branches (LoRA)",
        (r"(^|\.)(lora|LoRA)_?[ABab]?(\.|$)|\.linear_[ab]_\w+\.weight$", *_SAM_NAMES),
        "where its branches stand and how they are scaled is not known here. Add them to the "
        "weights in the project that trained it, and save the state_dict() with SAM's names alone",
    ),
)
