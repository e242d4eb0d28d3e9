"""SAM's image encoder: a vision transformer with window and global attention, and its neck.

Follows segment-anything's `ImageEncoderViT` (Kirillov et al. 2023; the blocks are ViTDet's, Li et
al. 2022). Tokens are `[B, H, W, C]` between the patch embedding and the neck.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samedge.kernels.chunks import few_at_a_time
from samedge.models.common import LayerNorm2d, MlpBlock
from samedge.models.config import ModelConfig, SamConfig


class PatchEmbed(nn.Module):
    """Image `[B, 3, S, S]` -> tokens `[B, g, g, C]` by one convolution."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            config.in_channels,
            config.embed_dim,
            kernel_size=config.patch_size,
            stride=config.stride,
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x)
        return tokens.permute(0, 2, 3, 1)


class Attention(nn.Module):
    """Multi-head self-attention over an H x W grid with decomposed relative positions.

    `softmax(s q k^T + q Rh + q Rw) v`: the position terms use the unscaled query.

    Args:
        dim: channels.
        num_heads: heads; must divide `dim`.
        table_side: grid side that the two tables are stored for (`2 table_side - 1` rows).
    """

    tables = ("rel_pos_h", "rel_pos_w")  # their names
    qkv: nn.Module

    def __init__(self, dim: int, num_heads: int, table_side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.scale = head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        for name in self.tables:
            table = nn.Parameter(torch.zeros(2 * table_side - 1, head_dim))
            self.register_parameter(name, table)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, _ = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, b * self.num_heads, h * w, -1).unbind(0)
        table_h, table_w = (self.get_parameter(name) for name in self.tables)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            scores = (q * self.scale) @ k.transpose(-2, -1)
            scores = add_relative_positions(scores, q, table_h, table_w, (h, w))
            return scores.softmax(dim=-1) @ v

        x = few_at_a_time(attend, (h * w) ** 2, q, k, v).view(b, self.num_heads, h, w, -1)
        out: Tensor = self.proj(x.permute(0, 2, 3, 1, 4).reshape(b, h, w, -1))
        return out


class Block(nn.Module):
    """Transformer block on `[B, H, W, C]` tokens; `window_size` 0 means global attention."""

    def __init__(self, config: SamConfig, index: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.window_size = 0 if index in config.global_blocks else config.window_size
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, config.num_heads, config.table_side(index))
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MlpBlock(dim, config.mlp_dim, nn.GELU)

    def attend(self, x: Tensor) -> Tensor:
        """Attention on normalised tokens, in windows if this block has them."""
        if self.window_size == 0:
            out: Tensor = self.attn(x)
            return out
        h, w = x.shape[1:3]
        windows, padded = window_partition(x, self.window_size)
        return window_unpartition(self.attn(windows), self.window_size, padded, (h, w))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageEncoder(nn.Module):
    """Image `[B, 3, S, S]`, normalised -> image embedding `[B, D, g, g]`, float32."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.img_size = config.img_size
        self.patch_embed = PatchEmbed(config)
        side = config.pos_grid
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.embed_dim))
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth))
        self.neck = make_neck(config)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out


def make_neck(config: ModelConfig) -> nn.Sequential:
    """1x1 and 3x3 convolution, each with LayerNorm: `width` -> `prompt_dim` channels."""
    return nn.Sequential(
        nn.Conv2d(config.width, config.prompt_dim, kernel_size=1, bias=False),
        LayerNorm2d(config.prompt_dim),
        nn.Conv2d(config.prompt_dim, config.prompt_dim, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(config.prompt_dim),
    )


def window_partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Tokens `[B, H, W, C]` -> windows `[B * n, window, window, C]` and the padded (H, W).

    Padding, zeros at the right and bottom, is not masked afterwards: it takes part in the
    attention of the real tokens.
    """
    b, h, w, c = x.shape
    pad_h, pad_w = -h % window, -w % window
    if pad_h or pad_w:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    h, w = h + pad_h, w + pad_w
    x = x.view(b, h // window, window, w // window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window, window, c), (h, w)


def window_unpartition(
    windows: Tensor, window: int, padded: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """The way back from `window_partition`: tokens `[B, H, W, C]` without the padding."""
    h, w = padded
    b = windows.shape[0] * window * window // (h * w)
    x = windows.view(b, h // window, w // window, window, window, -1)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)
    if padded != size:
        x = x[:, : size[0], : size[1], :].contiguous()
    return x


def resize_table(table: Tensor, side: int) -> Tensor:
    """Relative-position table `[n, c]` -> `[2 side - 1, c]`, linear (align_corners=False)."""
    rows = 2 * side - 1
    if table.shape[0] == rows:
        return table
    return F.interpolate(table.T[None], size=rows, mode="linear")[0].T


def relative_rows(table: Tensor, side: int) -> Tensor:
    """`[side, side, c]`: entry (i, j) is the table row of query i and key j, `i - j + side - 1`."""
    positions = torch.arange(side, device=table.device)
    return resize_table(table, side)[positions[:, None] - positions[None, :] + side - 1]


def add_relative_positions(
    scores: Tensor, q: Tensor, table_h: Tensor, table_w: Tensor, size: tuple[int, int]
) -> Tensor:
    """Add both relative-position terms to attention scores.

    Args:
        scores: `[B, H * W, H * W]`; overwritten where no gradient is wanted, for at 4096 tokens
            nothing else is as large.
        q: unscaled queries `[B, H * W, c]`.
        table_h, table_w: stored tables `[n, c]`.
        size: (H, W).
    """
    h, w = size
    b, _, c = q.shape
    grid_q = q.reshape(b, h, w, c)
    rel_h = torch.einsum("bhwc,hkc->bhwk", grid_q, relative_rows(table_h, h))
    rel_w = torch.einsum("bhwc,wkc->bhwk", grid_q, relative_rows(table_w, w))
    add = torch.add if scores.requires_grad else Tensor.add_
    scores = scores.view(b, h, w, h, w)
    for term in (rel_h[:, :, :, :, None], rel_w[:, :, :, None, :]):
        scores = add(scores, term)
    return scores.view(b, h * w, h * w)
