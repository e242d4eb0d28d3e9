"""Medical SAM Adapter (Wu et al. 2023), after its description and reference vectors.

Every block of the encoder has an adapter behind its attention and one beside its MLP; with volumes
(`slices` > 1) a depth branch relates the slices of a stack. The variant with low-rank branches has
SAM's plain blocks. The mask decoder is that of EfficientSAM (Xiong et al. 2023), which is not SAM's
(see `MsaTwoWayBlock`), and in earlier versions SAM's. The module tree has the keys of the
original's checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samedge.errors import ModelError
from samedge.models.common import Adapter
from samedge.models.config import MsaConfig, SamConfig, depth_grid
from samedge.models.image_encoder import (
    Attention,
    Block,
    PatchEmbed,
    make_neck,
    window_partition,
    window_unpartition,
)
from samedge.models.lora import LoraLinear
from samedge.models.sam import PromptableModel
from samedge.models.transformer import TwoWayAttentionBlock


class MsaAttention(Attention):
    """SAM's attention; its tables have other names."""

    tables = ("rel_h", "rel_w")


class MsaBlock(Block):
    """A block with adapters, on `[B, H, W, C]` tokens.

    Windows are cut in front of norm1, so padding tokens are norm1's bias and not zero.
    """

    def __init__(self, config: MsaConfig, index: int) -> None:
        super().__init__(config, index)
        dim, hidden = config.embed_dim, config.adapter_dim
        self.attn = MsaAttention(dim, config.num_heads, config.table_side(index))
        self.Space_Adapter = Adapter(dim, hidden, skip=True)
        self.Depth_Adapter = Adapter(dim, hidden, skip=False)  # idle on images
        self.MLP_Adapter = Adapter(dim, hidden, skip=False)
        self.slices, self.chunk = config.slices, config.chunk

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        windows, padded = window_partition(x, self.window_size or max(h, w))
        normed = self.norm1(windows)
        y = self.Space_Adapter(self.attn(normed))
        if self.slices > 1:
            y = y + self.along_depth(normed)
        x = x + window_unpartition(y, self.window_size or max(h, w), padded, (h, w))
        normed = self.norm2(x)
        out: Tensor = x + self.mlp(normed) + 0.5 * self.MLP_Adapter(normed)
        return out

    def along_depth(self, x: Tensor) -> Tensor:
        """The same attention along the batch axis, and the depth adapter; `[N, h, w, C]`.

        The batch axis is (slice, window), windows running fastest, and is cut into groups of
        `chunk`, or taken whole. So in windowed blocks the groups mix windows of a slice; this is
        what the original computes, and trains with.
        """
        n, h, w, c = x.shape
        depth = self.chunk or n
        rows, cols = depth_grid(depth)
        groups = x.reshape(n // depth, depth, h * w, c).transpose(1, 2)
        y = self.attn(groups.reshape(-1, rows, cols, c))
        y = y.reshape(n // depth, h * w, depth, c).transpose(1, 2).reshape(n, h, w, c)
        out: Tensor = self.Depth_Adapter(y)
        return out


class MsaLoraBlock(Block):
    """A block of SAM with low-rank branches in some of its linear layers."""

    def __init__(self, config: MsaConfig, index: int) -> None:
        super().__init__(config, index)
        dim, heads = config.embed_dim, config.num_heads
        self.attn = MsaAttention(dim, heads, config.table_side(index))
        for name in config.lora_layers:
            part, _, layer = name.partition(".")
            parent = self.get_submodule(part)
            old = getattr(parent, layer)
            groups = config.lora_groups if name == "attn.qkv" else 0
            new = LoraLinear(old.in_features, old.out_features, config.lora_rank, groups)
            setattr(parent, layer, new)


class MsaImageEncoder(nn.Module):
    """Image `[B, 3, S, S]` -> image embedding `[B, D, g, g]`; of a stack of slices, B of them."""

    def __init__(self, config: MsaConfig) -> None:
        super().__init__()
        block = MsaLoraBlock if config.lora_rank else MsaBlock
        self.img_size, self.grid = config.img_size, config.grid
        self.patch_embed = PatchEmbed(config)
        side = config.pos_grid
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.embed_dim))
        self.blocks = nn.ModuleList(block(config, i) for i in range(config.depth))
        self.neck = make_neck(config)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.position_table()
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out

    def position_table(self) -> Tensor:
        """The absolute position table at the grid's size, `[1, g, g, C]`."""
        if self.pos_embed.shape[1] == self.grid:
            return self.pos_embed
        table = self.pos_embed.permute(0, 3, 1, 2)
        size = (self.grid, self.grid)
        return F.interpolate(table, size=size, mode="bicubic").permute(0, 2, 3, 1)


class MsaTwoWayMlp(nn.Module):
    """`fc(relu(layers(x)))`: the decoder block's MLP under its own names."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU())])
        self.fc = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.fc(x)
        return out


class MsaTwoWayBlock(TwoWayAttentionBlock):
    """EfficientSAM's: the position code is added to the tokens for good, not only to queries and
    keys, and the first layer keeps its residual."""

    def __init__(self, config: SamConfig, first: bool) -> None:
        super().__init__(config, first)
        self.mlp = MsaTwoWayMlp(config.prompt_dim, config.decoder_mlp_dim)

    def attend_to_tokens(self, tokens: Tensor, tokens_pe: Tensor) -> Tensor:
        if not self.first:
            tokens = tokens + tokens_pe
        out: Tensor = tokens + self.self_attn(tokens, tokens, tokens)
        return out


class Msa(PromptableModel):
    """Medical SAM Adapter, for images, or for volumes where the config has several `slices`."""

    config: MsaConfig

    def __init__(self, config: MsaConfig) -> None:
        block = TwoWayAttentionBlock if config.sam_decoder else MsaTwoWayBlock
        super().__init__(config, MsaImageEncoder(config), block)

    def encode(self, x: Tensor) -> Tensor:
        """Image embedding; see `PromptableModel.encode`.

        With volumes x is a stack of `slices` slices; with a `chunk` also any multiple of it.
        """
        c = self.config
        fits = x.shape[0] % c.chunk == 0 if c.chunk else x.shape[0] == c.slices
        if c.slices > 1 and not fits:
            wanted = f"a multiple of {c.chunk}" if c.chunk else str(c.slices)
            raise ModelError(f"a stack of {x.shape[0]} slices; expected {wanted}")
        return super().encode(x)

    def forward(
        self, x: Tensor, point_coords: Tensor, point_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One prompt per image or slice.

        Args:
            x: `[B, 3, S, S]`, normalised.
            point_coords: `[B, P, 2]`, (x, y) in network px; point_labels: `[B, P]`.

        Returns:
            low-res logits `[B, K, 4 g, 4 g]`, predicted IoU `[B, K]`.
        """
        return self.decode(self.encode(x), point_coords, point_labels)
