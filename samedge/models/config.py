"""Every size of a network, as one frozen dataclass per family, with the ViT-B/L/H presets."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from math import isqrt
from typing import Any

from samedge.errors import ModelError
from samedge.families import (
    AUTOSAMUS,
    MEDSAM,
    MSA,
    MSA_3D,
    SAM,
    SAMED,
    SAMUS,
    Family,
)

VIT_SIZES: dict[str, dict[str, Any]] = {
    "vit_b": {"embed_dim": 768, "depth": 12, "num_heads": 12, "global_blocks": (2, 5, 8, 11)},
    "vit_l": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "global_blocks": (5, 11, 17, 23)},
    "vit_h": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_blocks": (7, 15, 23, 31)},
}

_AT_LEAST_1 = (
    "img_size",
    "patch_size",
    "in_channels",
    "embed_dim",
    "depth",
    "num_heads",
    "window_size",
    "prompt_dim",
    "mask_channels",
    "num_mask_tokens",
    "decoder_heads",
    "decoder_downsample",
    "iou_depth",
)


@dataclass(frozen=True)
class SamConfig:
    """Sizes of a SAM network; the defaults are SAM ViT-B.

    Attributes:
        img_size: side of the square network input, px.
        patch_size: side of the patch convolution, px.
        in_channels: colour channels of the patch convolution.
        embed_dim, depth, num_heads, mlp_ratio: the vision transformer.
        global_blocks: blocks with attention over the whole grid; the others attend in windows.
        window_size: side of a window, tokens.
        rel_pos_grid: grid side that the global blocks' relative-position tables are stored for
            (`2 rel_pos_grid - 1` rows); None: the grid itself. Other sizes are resized at run time.
        prompt_dim: channels of the image embedding and of all prompt tokens.
        mask_channels: width of the mask-prompt branch.
        num_mask_tokens: masks per prompt; 1 single mask and the rest for multimask answers.
        decoder_depth, decoder_heads, decoder_mlp_dim: the two-way transformer.
        decoder_downsample: its cross attentions work at `prompt_dim / decoder_downsample`.
        iou_hidden_dim, iou_depth: the IoU head.
    classes: names of the structures that mask tokens 0, 1, ... stand for, where a model was
        trained for them; empty: masks have no meaning of their own.
    """

    img_size: int = 1024
    patch_size: int = 16
    in_channels: int = 3
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    rel_pos_grid: int | None = None
    prompt_dim: int = 256
    mask_channels: int = 16
    num_mask_tokens: int = 4
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    decoder_downsample: int = 2
    iou_hidden_dim: int = 256
    iou_depth: int = 3
    classes: tuple[str, ...] = ()

    def _require(self, condition: bool, what: str) -> None:
        """ModelError with the values of the fields that `what` speaks of, unless `condition`."""
        if not condition:
            named = [f.name for f in fields(self) if re.search(rf"\b{f.name}\b", what)]
            values = ", ".join(f"{name}={getattr(self, name)!r}" for name in named)
            raise ModelError(f"{type(self).__name__}: {what}; got {values}")

    def __post_init__(self) -> None:
        require = self._require
        for name in _AT_LEAST_1:  # first: the rest divides by some of them
            require(getattr(self, name) >= 1, f"{name} must be at least 1")
        require(self.img_size % self.stride == 0, f"img_size must be a multiple of {self.stride}")
        require(self.embed_dim % self.num_heads == 0, "num_heads must divide embed_dim")
        require(
            self.prompt_dim % self.decoder_downsample == 0
            and self.prompt_dim // self.decoder_downsample % self.decoder_heads == 0,
            "decoder_heads must divide prompt_dim / decoder_downsample",
        )
        require(self.prompt_dim % 8 == 0, "prompt_dim must be a multiple of 8")
        require(self.mask_channels % 4 == 0, "mask_channels must be a multiple of 4")
        require(
            all(0 <= i < self.depth for i in self.global_blocks),
            "global_blocks must lie within depth",
        )
        require(
            len(self.classes) <= self.num_mask_tokens, "there are more classes than num_mask_tokens"
        )

    @property
    def stride(self) -> int:
        """Network input px per token of the grid."""
        return self.patch_size

    @property
    def grid(self) -> int:
        """Side of the token grid."""
        return self.img_size // self.stride

    @property
    def pos_grid(self) -> int:
        """Side of the stored absolute position table."""
        return self.grid

    @property
    def low_res(self) -> int:
        """Side of the low-res logits."""
        return 4 * self.grid

    @property
    def mlp_dim(self) -> int:
        """Hidden width of a block's MLP."""
        return round(self.embed_dim * self.mlp_ratio)

    @property
    def vit(self) -> str:
        """ "vit_b", "vit_l", "vit_h" or "custom"."""
        for name, sizes in VIT_SIZES.items():
            if all(getattr(self, key) == value for key, value in sizes.items()):
                return name
        return "custom"

    @property
    def family(self) -> Family:
        """The family record, with this network's input size."""
        size = self.img_size
        return replace(
            SAM,
            input_size=size,
            upscale_size=size,
            multi_masks=() if self.classes else tuple(range(1, self.num_mask_tokens)),
            classes=self.classes,
            stride=self.stride,
        )

    def table_side(self, block: int) -> int:
        """Side that block `block`'s relative-position tables are stored for, in tokens."""
        if block not in self.global_blocks:
            return self.window_size
        return self.rel_pos_grid or self.grid


@dataclass(frozen=True)
class SamusConfig(SamConfig):
    """Sizes of a SAMUS network; the defaults are SAMUS ViT-B.

    The patch convolution overlaps: stride `2 ** len(cnn_channels)`, the same factor by which the
    CNN branch shrinks the image. To get exactly `grid` positions, the image is resized to
    `resized` first (256 -> 264 by default). The absolute position table is stored at twice the
    grid.

    Attributes:
        cnn_channels: channels of the CNN branch's stages but the last, which has `embed_dim`.
        adapter_ratio: hidden width of the adapters, relative to `embed_dim`.
    """

    img_size: int = 256
    cnn_channels: tuple[int, ...] = (64, 128, 256)
    adapter_ratio: float = 0.25

    @property
    def stride(self) -> int:
        return 1 << len(self.cnn_channels)

    @property
    def pos_grid(self) -> int:
        return 2 * self.grid

    @property
    def resized(self) -> int:
        """Side that the image is resized to in front of the patch convolution, px."""
        return (self.grid - 1) * self.stride + self.patch_size

    @property
    def adapter_dim(self) -> int:
        """Hidden width of the adapters."""
        return round(self.embed_dim * self.adapter_ratio)

    @property
    def family(self) -> Family:
        size = self.img_size
        return replace(SAMUS, input_size=size, upscale_size=size, stride=self.stride)


@dataclass(frozen=True)
class MedsamConfig(SamConfig):
    """Sizes of a MedSAM network: those of SAM. Only the way from frame to network is another."""

    @property
    def family(self) -> Family:
        return replace(
            MEDSAM,
            input_size=self.img_size,
            upscale_size=self.low_res,
            classes=self.classes,
            stride=self.stride,
        )


@dataclass(frozen=True)
class SamedConfig(SamConfig):
    """Sizes of a SAMed network; the defaults are those of its ViT-B for eight classes.

    Attributes:
        lora_rank: of the query and value branches in every block of the encoder.
        decoder_rank: of the same in the mask decoder's attentions (SAMed_s); 0: none there.
        classes: names of all classes, the background first; empty: "class 1" and so on.
    """

    img_size: int = 512
    num_mask_tokens: int = 9
    lora_rank: int = 4
    decoder_rank: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.lora_rank >= 1, "lora_rank must be at least 1")
        self._require(self.decoder_rank >= 0, "decoder_rank must not be negative")
        self._require(
            self.num_mask_tokens >= 2, "num_mask_tokens must be at least 2: background and a class"
        )
        self._require(
            len(self.classes) in (0, self.num_mask_tokens)
            and len(set(self.classes)) == len(self.classes),
            "classes must name the background and every class differently, one for each of "
            "num_mask_tokens",
        )

    @property
    def family(self) -> Family:
        size = self.img_size
        names = (SAMED.classes[0], *(f"class {i}" for i in range(1, self.num_mask_tokens)))
        return replace(
            SAMED,
            input_size=size,
            upscale_size=size,
            # Upstream's images pass through 224 px; in smaller networks in proportion.
            via=SAMED.via if size >= SAMED.via else SAMED.via * size // SAMED.input_size,
            classes=self.classes or names,
            stride=self.stride,
        )


# Linear layers of a block, which a low-rank branch may stand beside.
LORA_LAYERS = ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")


@dataclass(frozen=True)
class MsaConfig(SamConfig):
    """Sizes of a Medical SAM Adapter network; the defaults are its ViT-B for 256 px.

    Attributes:
        stored_grid: side of the stored absolute position table, resized (bicubic) at run time.
        adapter_ratio: hidden width of the adapters, relative to `embed_dim`; 0: none.
        lora_rank: of low-rank branches in the encoder, as loralib makes them; 0: none.
        lora_layers: which linear layers of a block have one; some of `LORA_LAYERS`.
        lora_groups: how many of query, key and value have one of their own (2: query and value);
            0: a single one for the whole "attn.qkv".
        classes: names of the structures that mask tokens 0, 1, ... stand for; empty: one mask.
        slices: slices of a volume that are encoded together; 1: images.
        chunk: slices (or windows) that the depth branch relates; 0: all that there are.
    """

    img_size: int = 256
    stored_grid: int = 64
    adapter_ratio: float = 0.25
    lora_rank: int = 0
    lora_layers: tuple[str, ...] = ()
    lora_groups: int = 0
    slices: int = 1
    chunk: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require = self._require
        require(len(self.classes) != 1, "a single structure needs no name; leave classes empty")
        require(
            bool(self.adapter_ratio) != bool(self.lora_rank),
            "there are either adapters (adapter_ratio) or low-rank branches (lora_rank)",
        )
        require(
            bool(self.lora_rank) == bool(self.lora_layers), "lora_rank and lora_layers go together"
        )
        require(
            set(self.lora_layers) <= set(LORA_LAYERS),
            f"lora_layers are some of {', '.join(LORA_LAYERS)}",
        )
        require(self.lora_groups in (0, 2, 3), "lora_groups must be 0, 2 or 3")
        require(self.slices >= 1, "slices must be at least 1")
        require(
            self.slices == 1 or self.chunk != 1, "chunk=1 has no depth (the original never ends)"
        )
        require(
            not self.chunk or self.slices % self.chunk == 0, "slices must be a multiple of chunk"
        )
        require(
            self.slices == 1 or bool(self.adapter_ratio),
            "slices of a volume need depth adapters (adapter_ratio)",
        )

    @property
    def pos_grid(self) -> int:
        return self.stored_grid

    @property
    def adapter_dim(self) -> int:
        """Hidden width of the adapters."""
        return round(self.embed_dim * self.adapter_ratio)

    @property
    def family(self) -> Family:
        record = MSA if self.slices == 1 else MSA_3D
        return replace(
            record,
            input_size=self.img_size,
            classes=self.classes,
            stride=self.stride,
            slices=self.slices,
            whole_volume=self.slices > 1 and not self.chunk,
        )


def depth_grid(depth: int) -> tuple[int, int]:
    """Rows and columns that a sequence of `depth` slices is laid out in; their product is `depth`.

    Start near the square root; widen while there is too little room, flatten while there is too
    much. 4 -> 1 x 4, 12 -> 3 x 4, 16 -> 2 x 8. At least 2.
    """
    assert depth > 1
    rows = isqrt(depth)
    cols = rows + 1
    while rows * cols != depth:
        if rows * cols < depth:
            cols += 1
        else:
            rows -= 1
    return rows, cols


@dataclass(frozen=True)
class AutosamusConfig(SamusConfig):
    """Sizes of an AutoSAMUS network; the defaults are AutoSAMUS ViT-B.

    Attributes:
        object_tokens: learned tokens, of which the first becomes the prompt.
        generator_depth, generator_heads, generator_head_dim, generator_mlp_dim: of both
            transformers of the prompt generator.
        feature_ratio: the feature adapter works at `prompt_dim / feature_ratio` channels.
    """

    object_tokens: int = 50
    generator_depth: int = 2
    generator_heads: int = 8
    generator_head_dim: int = 64
    generator_mlp_dim: int = 1024
    feature_ratio: int = 4

    @property
    def family(self) -> Family:
        size = self.img_size
        return replace(AUTOSAMUS, input_size=size, upscale_size=size, stride=self.stride)
