"""Every size of a SAM or SAMUS network, as frozen dataclasses, with the ViT-B/L/H presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from samedge.errors import ModelError
from samedge.families import SAM, SAMUS, Family

VIT_SIZES: dict[str, dict[str, Any]] = {
    "vit_b": {"embed_dim": 768, "depth": 12, "num_heads": 12, "global_blocks": (2, 5, 8, 11)},
    "vit_l": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "global_blocks": (5, 11, 17, 23)},
    "vit_h": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_blocks": (7, 15, 23, 31)},
}


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

    def __post_init__(self) -> None:
        def require(condition: bool, what: str) -> None:
            if not condition:
                raise ModelError(f"{type(self).__name__}: {what}; got {self}")

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
            min(self.window_size, self.depth, self.num_mask_tokens, self.iou_depth) >= 1,
            "window_size, depth, num_mask_tokens and iou_depth must be at least 1",
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
        multi = tuple(range(1, self.num_mask_tokens))
        size = self.img_size
        return replace(
            SAM, input_size=size, upscale_size=size, multi_masks=multi, stride=self.stride
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


def _preset(vit: str) -> dict[str, Any]:
    if vit not in VIT_SIZES:
        raise ModelError(f"unknown ViT size '{vit}'; expected one of {', '.join(VIT_SIZES)}")
    return VIT_SIZES[vit]


def sam_config(vit: str = "vit_b", **changes: Any) -> SamConfig:
    """SAM with encoder `vit` ("vit_b", "vit_l", "vit_h"); `changes` override single fields."""
    return SamConfig(**{**_preset(vit), **changes})


def samus_config(vit: str = "vit_b", **changes: Any) -> SamusConfig:
    """SAMUS with encoder `vit` ("vit_b", "vit_l", "vit_h"); `changes` override single fields."""
    return SamusConfig(**{**_preset(vit), **changes})


# Small enough for tests, yet with padded windows (8 -> 10), both block kinds and all branches.
_TINY: dict[str, Any] = {
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "global_blocks": (1, 3),
    "window_size": 5,
    "prompt_dim": 32,
    "decoder_mlp_dim": 64,
    "iou_hidden_dim": 32,
}


def tiny_sam_config(**changes: Any) -> SamConfig:
    """A SAM of about 0.1 M parameters (input 128, grid 8) that has every part of a real one."""
    return SamConfig(**{**_TINY, "img_size": 128, **changes})


def tiny_samus_config(**changes: Any) -> SamusConfig:
    """A SAMUS of about 0.1 M parameters (input 64, grid 8) that has every part of a real one."""
    return SamusConfig(**{**_TINY, "img_size": 64, "cnn_channels": (8, 12, 16), **changes})
