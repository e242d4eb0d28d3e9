"""Every size of a network, as one frozen dataclass per family, with the ViT-B/L/H presets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isqrt
from typing import Any, ClassVar

from samedge.errors import ModelError
from samedge.families import (
    AUTOSAMUS,
    LITEMEDSAM,
    MEDSAM,
    MOBILE_SAM,
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

# TinyViT's only size in SAM models: MobileSAM's, which LiteMedSAM took over.
TINY_VIT_SIZES: dict[str, dict[str, Any]] = {
    "vit_t": {
        "widths": (64, 128, 160, 320),
        "depths": (2, 2, 6, 2),
        "heads": (2, 4, 5, 10),
        "windows": (7, 7, 14, 7),
    },
}


@dataclass(frozen=True)
class ModelConfig:
    """Sizes that all networks have: input, prompt encoder and mask decoder.

    Attributes:
        img_size: side of the square network input, px.
        in_channels: colour channels of the first convolution.
        prompt_dim: channels of the image embedding and of all prompt tokens.
        mask_channels: width of the mask-prompt branch.
        num_mask_tokens: masks per prompt; 1 single mask and the rest for multimask answers.
        decoder_depth, decoder_heads, decoder_mlp_dim: the two-way transformer.
        decoder_downsample: its cross attentions work at `prompt_dim / decoder_downsample`.
        iou_hidden_dim, iou_depth: the IoU head.
        classes: names of the structures that mask tokens 0, 1, ... stand for, where a model was
            trained for them; empty: masks have no meaning of their own.
    """

    # Encoders of the official checkpoints: name -> config fields.
    SIZES: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    AT_LEAST_1: ClassVar[tuple[str, ...]] = (
        "img_size",
        "in_channels",
        "prompt_dim",
        "mask_channels",
        "num_mask_tokens",
        "decoder_heads",
        "decoder_downsample",
        "iou_depth",
    )

    img_size: int = 1024
    in_channels: int = 3
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
        for name in self.AT_LEAST_1:  # first: the rest divides by some of them
            require(getattr(self, name) >= 1, f"{name} must be at least 1")
        require(
            self.prompt_dim % self.decoder_downsample == 0
            and self.prompt_dim // self.decoder_downsample % self.decoder_heads == 0,
            "decoder_heads must divide prompt_dim / decoder_downsample",
        )
        require(self.prompt_dim % 8 == 0, "prompt_dim must be a multiple of 8")
        require(self.mask_channels % 4 == 0, "mask_channels must be a multiple of 4")
        require(
            len(self.classes) <= self.num_mask_tokens, "there are more classes than num_mask_tokens"
        )

    @property
    def stride(self) -> int:
        """Network input px per token of the grid."""
        raise NotImplementedError

    @property
    def family(self) -> Family:
        """The family record, with this network's input size."""
        raise NotImplementedError

    @property
    def blocks(self) -> int:
        """Blocks of the encoder."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Channels of the encoder's last block."""
        raise NotImplementedError

    @property
    def grid(self) -> int:
        """Side of the token grid."""
        return self.img_size // self.stride

    @property
    def low_res(self) -> int:
        """Side of the low-res logits."""
        return 4 * self.grid

    @property
    def vit(self) -> str:
        """Name of the encoder's size ("vit_b", "vit_t"), or "custom"."""
        for name, sizes in self.SIZES.items():
            if all(getattr(self, key) == value for key, value in sizes.items()):
                return name
        return "custom"


@dataclass(frozen=True)
class SamConfig(ModelConfig):
    """Sizes of a SAM network with a vision transformer; the defaults are SAM ViT-B.

    Attributes:
        patch_size: side of the patch convolution, px.
        embed_dim, depth, num_heads, mlp_ratio: the vision transformer.
        global_blocks: blocks with attention over the whole grid; the others attend in windows.
        window_size: side of a window, tokens.
        rel_pos_grid: grid side that the global blocks' relative-position tables are stored for
            (`2 rel_pos_grid - 1` rows); None: the grid itself. Other sizes are resized at run time.
    """

    SIZES = VIT_SIZES
    AT_LEAST_1 = (
        *ModelConfig.AT_LEAST_1,
        "patch_size",
        "embed_dim",
        "depth",
        "num_heads",
        "window_size",
    )

    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window_size: int = 14
    rel_pos_grid: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require = self._require
        require(self.img_size % self.stride == 0, f"img_size must be a multiple of {self.stride}")
        require(self.embed_dim % self.num_heads == 0, "num_heads must divide embed_dim")
        require(
            all(0 <= i < self.depth for i in self.global_blocks),
            "global_blocks must lie within depth",
        )

    @property
    def stride(self) -> int:
        return self.patch_size

    @property
    def blocks(self) -> int:
        return self.depth

    @property
    def width(self) -> int:
        return self.embed_dim

    @property
    def pos_grid(self) -> int:
        """Side of the stored absolute position table."""
        return self.grid

    @property
    def mlp_dim(self) -> int:
        """Hidden width of a block's MLP."""
        return round(self.embed_dim * self.mlp_ratio)

    @property
    def family(self) -> Family:
        return _as_sam(SAM, self)

    def table_side(self, block: int) -> int:
        """Side that block `block`'s relative-position tables are stored for, in tokens."""
        if block not in self.global_blocks:
            return self.window_size
        return self.rel_pos_grid or self.grid


def _as_sam(record: Family, config: ModelConfig) -> Family:
    """The record of a family that answers as SAM does, with this network's sizes."""
    return replace(
        record,
        input_size=config.img_size,
        upscale_size=config.img_size,
        multi_masks=() if config.classes else tuple(range(1, config.num_mask_tokens)),
        classes=config.classes,
        stride=config.stride,
    )


@dataclass(frozen=True)
class MobileSamConfig(ModelConfig):
    """Sizes of a SAM network with TinyViT in front; the defaults are MobileSAM.

    The first stage has convolutions, the others attention in windows. Behind every stage but the
    last a convolution leads to the next one; all of these halve the grid, except for the last.

    Attributes:
        widths, depths: channels and blocks of each stage.
        heads, windows: attention heads and side of a window, in tokens, of each stage; those of the
            first are not used.
        mlp_ratio: hidden width of an MLP, relative to the stage's.
        expand_ratio: hidden width of a convolution block, relative to the stage's.
        patch_stride: of each of the two first convolutions: 2 (3 x 3), or 1 (1 x 1), as LiteMedSAM
            has them.
    """

    SIZES = TINY_VIT_SIZES
    AT_LEAST_1 = (*ModelConfig.AT_LEAST_1, "patch_stride")

    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    mlp_ratio: float = 4.0
    expand_ratio: float = 4.0
    patch_stride: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require = self._require
        stages = len(self.widths)
        require(
            stages >= 2 and all(len(x) == stages for x in (self.depths, self.heads, self.windows)),
            "widths, depths, heads and windows must have one value for each of at least two stages",
        )
        require(
            all(min(x) >= 1 for x in (self.widths, self.depths, self.heads, self.windows)),
            "widths, depths, heads and windows must be at least 1",
        )
        require(
            all(w % h == 0 for w, h in zip(self.widths[1:], self.heads[1:], strict=True)),
            "heads must divide widths in every stage but the first",
        )
        require(self.widths[0] % 2 == 0, "the first of widths must be even")
        require(self.patch_stride in (1, 2), "patch_stride must be 1 or 2")
        require(self.img_size % self.stride == 0, f"img_size must be a multiple of {self.stride}")

    @property
    def stride(self) -> int:
        return self.patch_stride**2 << (len(self.widths) - 2)

    @property
    def blocks(self) -> int:
        return sum(self.depths)

    @property
    def width(self) -> int:
        return self.widths[-1]

    def stage_grid(self, stage: int) -> int:
        """Side of a stage's grid, tokens."""
        return max(self.img_size // self.patch_stride**2 >> stage, self.grid)

    @property
    def family(self) -> Family:
        return _as_sam(MOBILE_SAM, self)


@dataclass(frozen=True)
class LiteMedsamConfig(MobileSamConfig):
    """Sizes of a LiteMedSAM network; the defaults are the official one's."""

    img_size: int = 256
    patch_stride: int = 1

    @property
    def family(self) -> Family:
        return replace(
            LITEMEDSAM,
            input_size=self.img_size,
            upscale_size=self.low_res,
            classes=self.classes,
            stride=self.stride,
        )


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
        prompts: kinds that the weights were trained with, some of ("point", "box"); the original
            project trains with points.
    """

    img_size: int = 256
    cnn_channels: tuple[int, ...] = (64, 128, 256)
    adapter_ratio: float = 0.25
    prompts: tuple[str, ...] = SAMUS.prompts

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(
            bool(self.prompts)
            and set(self.prompts) <= {"point", "box"}
            and len(set(self.prompts)) == len(self.prompts),
            "prompts are point or box or both, each once",
        )

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
        return replace(
            SAMUS,
            input_size=size,
            upscale_size=size,
            stride=self.stride,
            prompts=self.prompts,
            # The original pads every prompt, and has points alone; with boxes SAM's own rule holds.
            pad_point="no_box" if "box" in self.prompts else SAMUS.pad_point,
        )


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
        sam_decoder: the mask decoder is SAM's, as in earlier versions, and not EfficientSAM's.
    """

    img_size: int = 256
    stored_grid: int = 64
    adapter_ratio: float = 0.25
    lora_rank: int = 0
    lora_layers: tuple[str, ...] = ()
    lora_groups: int = 0
    slices: int = 1
    chunk: int = 0
    sam_decoder: bool = False

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
