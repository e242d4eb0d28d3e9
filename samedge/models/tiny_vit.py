"""TinyViT as MobileSAM and LiteMedSAM have it: convolutions first, then attention in windows.

Follows TinyViT (Wu et al. 2022) in the variant of MobileSAM (Zhang et al. 2023): the last merge
keeps the grid, and SAM's neck comes last. Between stages the image is `[B, C, H, W]`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samedge.kernels.chunks import few_at_a_time
from samedge.models.config import MobileSamConfig
from samedge.models.image_encoder import make_neck, window_partition, window_unpartition

BATCH_NORM_EPS = 1e-5
LAYER_NORM_EPS = 1e-5


class BatchNorm(nn.Module):
    """BatchNorm of `[B, C, H, W]` without a counter of batches, which no computation needs."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            BATCH_NORM_EPS,
        )


class ConvBatchNorm(nn.Module):
    """Convolution without bias, padded to keep the size, and BatchNorm."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        self.bn = BatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.c(x))
        return out


class TinyPatchEmbed(nn.Module):
    """Two convolutions with GELU between."""

    def __init__(self, config: MobileSamConfig) -> None:
        super().__init__()
        width, stride = config.widths[0], config.patch_stride
        size = 3 if stride > 1 else 1
        self.seq = nn.Sequential(
            ConvBatchNorm(config.in_channels, width // 2, size, stride),
            nn.GELU(),
            ConvBatchNorm(width // 2, width, size, stride),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.seq(x)
        return out


class MbConv(nn.Module):
    """1 x 1 to more channels, 3 x 3 in each by itself, 1 x 1 back; a residual block."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = ConvBatchNorm(width, hidden)
        self.conv2 = ConvBatchNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBatchNorm(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        return F.gelu(self.conv3(y) + x)


class PatchMerging(nn.Module):
    """From one stage to the next: as `MbConv` without the residual, with a stride."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBatchNorm(width, wider)
        self.conv2 = ConvBatchNorm(wider, wider, 3, stride, groups=wider)
        self.conv3 = ConvBatchNorm(wider, wider)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return out


class BiasedAttention(nn.Module):
    """Self-attention in windows, with a LayerNorm in front and a bias for every distance.

    `qkv` gives every head its query, key and value side by side.

    Args:
        dim: channels.
        num_heads: heads; must divide `dim`.
        window: side of a window, tokens; the bias depends on the distances in y and x alone.
    """

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.scale = (dim // num_heads) ** -0.5
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window * window))

    def forward(self, x: Tensor) -> Tensor:
        """x `[N, window, window, C]`."""
        n, h, w, c = x.shape
        qkv = self.qkv(self.norm(x)).view(n, h * w, self.num_heads, -1)
        q, k, v = qkv.transpose(1, 2).chunk(3, dim=-1)
        bias = self.attention_biases[:, distances(self.window).to(x.device)]

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            scores = (q @ k.transpose(-2, -1)) * self.scale + bias
            out: Tensor = scores.softmax(dim=-1) @ v
            return out

        y = few_at_a_time(attend, self.num_heads * (h * w) ** 2, q, k, v)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(n, h, w, c))
        return out


def distances(window: int) -> Tensor:
    """int64 `[w * w, w * w]`: column of `attention_biases` for every query and key.

    Columns are in the order in which the distances (|dy|, |dx|) first turn up when the keys are
    walked through row by row for one query after the other: those of the first query in order.
    """
    at = torch.arange(window)
    apart = (at[:, None] - at[None]).abs()
    index = apart[:, None, :, None] * window + apart[None, :, None, :]
    return index.reshape(window * window, window * window)


class TinyMlp(nn.Module):
    """LayerNorm and a two-layer MLP."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class TinyBlock(nn.Module):
    """Attention, a 3 x 3 convolution of each channel by itself, MLP.

    Windows are cut in front of the LayerNorm, so a padding token is the norm's bias.
    """

    def __init__(self, config: MobileSamConfig, stage: int) -> None:
        super().__init__()
        dim, window = config.widths[stage], config.windows[stage]
        self.window = window
        self.attn = BiasedAttention(dim, config.heads[stage], window)
        self.mlp = TinyMlp(dim, round(dim * config.mlp_ratio))
        self.local_conv = ConvBatchNorm(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """x `[B, C, H, W]`."""
        tokens = x.permute(0, 2, 3, 1)
        windows, padded = window_partition(tokens, self.window)
        size = (tokens.shape[1], tokens.shape[2])
        tokens = tokens + window_unpartition(self.attn(windows), self.window, padded, size)
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = tokens + self.mlp(tokens)
        return out.permute(0, 3, 1, 2)


class TinyStage(nn.Module):
    """Blocks, and the way to the next stage."""

    def __init__(self, config: MobileSamConfig, stage: int) -> None:
        super().__init__()
        width, depth = config.widths[stage], config.depths[stage]
        if stage == 0:
            hidden = round(width * config.expand_ratio)
            self.blocks = nn.ModuleList(MbConv(width, hidden) for _ in range(depth))
        else:
            self.blocks = nn.ModuleList(TinyBlock(config, stage) for _ in range(depth))
        self.downsample: nn.Module | None = None
        if stage + 1 < len(config.widths):
            stride = config.stage_grid(stage) // config.stage_grid(stage + 1)
            self.downsample = PatchMerging(width, config.widths[stage + 1], stride)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if self.downsample is not None:
            x = self.downsample(x)
        return x


class TinyImageEncoder(nn.Module):
    """Image `[B, 3, S, S]`, normalised -> image embedding `[B, D, g, g]`, float32."""

    def __init__(self, config: MobileSamConfig) -> None:
        super().__init__()
        self.img_size = config.img_size
        self.patch_embed = TinyPatchEmbed(config)
        self.layers = nn.ModuleList(TinyStage(config, i) for i in range(len(config.widths)))
        self.neck = make_neck(config)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        out: Tensor = self.neck(x)
        return out
