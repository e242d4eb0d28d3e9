"""SAMUS: SAM for ultrasound, with a CNN branch and adapters (Lin et al. 2023).

Two streams start from the image: tokens from an overlapping patch embedding, and a CNN. In the
global blocks the tokens attend to the CNN stream, which is refined in turn; after the last block
half of it is added to the tokens. The module tree has the official checkpoint's keys.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samedge.errors import ModelError
from samedge.kernels.chunks import few_at_a_time
from samedge.models.common import Adapter, LayerNorm2d
from samedge.models.config import SamusConfig
from samedge.models.image_encoder import Block, PatchEmbed, make_neck
from samedge.models.sam import PromptableModel


def _conv_norm_act(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_channels),
        nn.GELU(),
    ]


class ConvUnit(nn.Module):
    """3x3 convolution, LayerNorm2d, GELU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv_norm_act(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class DownUnit(nn.Module):
    """Max-pool by 2, then 3x3 convolution, LayerNorm2d, GELU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(
            nn.MaxPool2d(2), *_conv_norm_act(in_channels, out_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.maxpool_conv(x)
        return out


class CnnEmbed(nn.Module):
    """Image `[B, 3, S, S]` -> CNN stream `[B, g, g, C]`."""

    def __init__(self, config: SamusConfig) -> None:
        super().__init__()
        widths = (*config.cnn_channels, config.embed_dim)
        self.inc = ConvUnit(config.in_channels, widths[0])
        self.downs = nn.ModuleList(DownUnit(n, k) for n, k in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inc(x)
        for down in self.downs:
            x = down(x)
        return x.permute(0, 2, 3, 1)


class PositionAdapter(nn.Module):
    """Stored position table `[1, 2 g, 2 g, C]` -> `[1, g, g, C]`; independent of the image."""

    def __init__(self, config: SamusConfig) -> None:
        super().__init__()
        self.downs = nn.ModuleList([DownUnit(config.embed_dim, config.embed_dim)])

    def forward(self, table: Tensor) -> Tensor:
        table = table.permute(0, 3, 1, 2)
        for down in self.downs:
            table = down(table)
        return table.permute(0, 2, 3, 1)


class CrossAttention(nn.Module):
    """Tokens `[B, H, W, C]` attend to the CNN stream `[B, H, W, C]`, without positions."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> Tensor:
        """`[B, H, W, C]` -> `[B * heads, H * W, C / heads]`."""
        b, h, w, _ = x.shape
        x = x.reshape(b, h * w, self.num_heads, -1).permute(0, 2, 1, 3)
        return x.reshape(b * self.num_heads, h * w, -1)

    def forward(self, tokens: Tensor, branch: Tensor) -> Tensor:
        b, h, w, _ = tokens.shape
        q = self.split(self.q(tokens))
        k, v = self.split(self.k(branch)), self.split(self.v(branch))

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            scores: Tensor = (q * self.scale) @ k.transpose(-2, -1)
            return scores.softmax(dim=-1) @ v

        x = few_at_a_time(attend, (h * w) ** 2, q, k, v)
        x = x.view(b, self.num_heads, h, w, -1).permute(0, 2, 3, 1, 4)
        out: Tensor = self.proj(x.reshape(b, h, w, -1))
        return out


class SamusBlock(Block):
    """A SAM block; global ones have adapters and read and refine the CNN stream.

    `(tokens [B, H, W, C], branch [B, H, W, C]) -> the same two`.
    """

    def __init__(self, config: SamusConfig, index: int) -> None:
        super().__init__(config, index)
        if self.window_size == 0:
            dim = config.embed_dim
            self.MLP_Adapter = Adapter(dim, config.adapter_dim, skip=False)
            self.Space_Adapter = CrossAttention(dim, config.num_heads)
            self.refine_Adapter = ConvUnit(dim, dim)

    def forward(  # type: ignore[override]
        self, x: Tensor, branch: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.window_size:
            return super().forward(x), branch
        normed = self.norm1(x)
        normed = normed + self.Space_Adapter(normed, branch)
        x = x + self.attend(normed)
        normed = self.norm2(x)
        x = x + self.mlp(normed) + 0.5 * self.MLP_Adapter(normed)
        return x, self.refine_Adapter(branch.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SamusImageEncoder(nn.Module):
    """Image `[B, 1 or 3, S, S]`, 0..1 -> image embedding `[B, D, g, g]`, float32."""

    def __init__(self, config: SamusConfig) -> None:
        super().__init__()
        self.img_size, self.resized = config.img_size, config.resized
        self.in_channels = config.in_channels
        self.patch_embed = PatchEmbed(config)
        side = config.pos_grid
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.embed_dim))
        self.input_Adapter = Adapter(config.embed_dim, config.adapter_dim, skip=True)
        self.cnn_embed = CnnEmbed(config)
        self.post_pos_embed = PositionAdapter(config)
        self.blocks = nn.ModuleList(SamusBlock(config, i) for i in range(config.depth))
        self.neck = make_neck(config)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            x = x.repeat(1, self.in_channels, 1, 1)
        branch = self.cnn_embed(x)
        size = (self.resized, self.resized)
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        x = self.input_Adapter(self.patch_embed(x))
        x = x + self.post_pos_embed(self.pos_embed)
        for block in self.blocks:
            x, branch = block(x, branch)
        out: Tensor = self.neck((x + 0.5 * branch).permute(0, 3, 1, 2))
        return out


class Samus(PromptableModel):
    """SAMUS; grey images are repeated to three channels inside."""

    def __init__(self, config: SamusConfig) -> None:
        super().__init__(config, SamusImageEncoder(config))

    @property
    def input_channels(self) -> tuple[int, ...]:
        return (1, self.config.in_channels)

    def forward(
        self, x: Tensor, point_coords: Tensor, point_labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One prompt set, or several objects, per image, as the original's `forward`.

        Args:
            x: `[B, 1 or 3, S, S]`, 0..1.
            point_coords: `[B, P, 2]`, or `[B, N, P, 2]` for N objects; (x, y) in network px.
            point_labels: `[B, P]` or `[B, N, P]`.

        Returns:
            low-res logits `[B, 1 or N, 4 g, 4 g]` and logits at input size `[B, 1 or N, S, S]`.

        Raises:
            ModelError: shapes that do not fit.
        """
        if point_coords.ndim not in (3, 4) or point_coords.shape[0] != x.shape[0]:
            raise ModelError(
                f"points of shape {list(point_coords.shape)} for {x.shape[0]} images; expected "
                "[B, P, 2] or [B, N, P, 2]"
            )
        if point_labels.shape != point_coords.shape[:-1]:
            raise ModelError(
                f"labels of shape {list(point_labels.shape)} for points of shape "
                f"{list(point_coords.shape)}; expected {list(point_coords.shape[:-1])}"
            )
        embedding = self.encode(x)
        if point_coords.ndim == 3:
            point_coords, point_labels = point_coords[:, None], point_labels[:, None]
        objects = zip(point_coords.unbind(1), point_labels.unbind(1), strict=True)
        low_res = torch.cat([self.decode(embedding, xy, label)[0] for xy, label in objects], dim=1)
        size = (self.config.img_size, self.config.img_size)
        return low_res, F.interpolate(low_res, size=size, mode="bilinear", align_corners=False)
