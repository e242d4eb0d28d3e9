"""The layers of a folded TinyViT encoder: what `samedge.fold.layers` has none of.

Images are channels-last, as there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from samedge.fold.layers import Linear, Mlp, Neck, Norm, parameter
from samedge.kernels import reference as ops


class Conv(nn.Module):
    """Convolution with bias, padded to keep the size; weight [out, in / groups, k, k].

    `groups` is 1, or the number of channels: each by itself.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.weight, self.bias = parameter(weight), parameter(bias)
        self.stride, self.groups = stride, groups

    @property
    def size(self) -> int:
        """Side of the kernel."""
        return int(self.weight.shape[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.size == 1 and self.stride == 1 and self.groups == 1:
            # A product with tokens: faster than the convolution and with less rounding.
            return ops.linear(x, self.weight[:, :, 0, 0].t(), self.bias)
        y = F.conv2d(
            x.permute(0, 3, 1, 2),
            self.weight,
            self.bias,
            self.stride,
            self.size // 2,
            groups=self.groups,
        )
        return y.permute(0, 2, 3, 1)


class MbConv(nn.Module):
    """1 x 1 to more channels, 3 x 3 in each by itself, 1 x 1 back; a residual block."""

    def __init__(self, conv1: Conv, conv2: Conv, conv3: Conv) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv1, conv2, conv3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))) + x)


class Merge(nn.Module):
    """The way to the next stage: `MbConv` without the residual; `conv2` may have a stride."""

    def __init__(self, conv1: Conv, conv2: Conv, conv3: Conv) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv1, conv2, conv3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return out


class BiasedAttention(nn.Module):
    """Self-attention in windows with a constant bias for every head, query and key."""

    def __init__(
        self, qkv: Linear, proj: Linear, bias: torch.Tensor, heads: int, grid: int
    ) -> None:
        super().__init__()
        self.qkv, self.proj = qkv, proj
        self.bias = parameter(bias)  # [h, w * w, w * w]
        self.heads, self.grid = heads, grid

    @property
    def window(self) -> int:
        """Side of the square that attends to itself, in tokens."""
        return int(self.bias.shape[-1] ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [B, g, g, D]."""
        b, g, _, dim = x.shape
        qkv = self.qkv(x.reshape(b, g * g, dim))
        y = ops.biased_window_attention(qkv, self.bias, self.heads, g)
        out: torch.Tensor = self.proj(y)
        return out.reshape(b, g, g, dim)


class TinyBlock(nn.Module):
    """Attention in windows, a 3 x 3 convolution of each channel by itself, MLP."""

    def __init__(
        self, norm1: Norm, attn: BiasedAttention, local_conv: Conv, norm2: Norm, mlp: Mlp
    ) -> None:
        super().__init__()
        self.norm1, self.attn, self.local_conv = norm1, attn, local_conv
        self.norm2, self.mlp = norm2, mlp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.local_conv(x + self.attn(self.norm1(x)))
        out: torch.Tensor = x + self.mlp(self.norm2(x))
        return out


class FoldedTinyEncoder(nn.Module):
    """Image encoder: [B, C, S, S] network input -> [B, P, g, g] embedding.

    The no-mask embedding is part of it (of the neck's last bias). `blocks` are those of all
    stages, with the merges between them.
    """

    def __init__(
        self, patch_embed: list[Conv], blocks: list[MbConv | Merge | TinyBlock], neck: Neck
    ) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleList(patch_embed)
        self.blocks, self.neck = nn.ModuleList(blocks), neck

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.patch_embed
        x = second(F.gelu(first(x.permute(0, 2, 3, 1))))
        for block in self.blocks:
            x = block(x)
        out: torch.Tensor = self.neck(x)
        return out
