"""AutoSAMUS: SAMUS that makes its own prompt (Lin et al. 2024).

A generator lets learned object tokens, the decoder's own tokens and the image exchange
information; the first object token becomes the prompt, the updated image goes on, and a small
network makes the dense prompt from it. The module tree has the official checkpoint's keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samedge.models.common import LayerNorm2d
from samedge.models.config import AutosamusConfig
from samedge.models.sam import PromptableModel
from samedge.models.samus import SamusImageEncoder


class OneMoreAttention(nn.Module):
    """Multi-head attention with one more in the denominator of its softmax:
    `exp(s - max s) / (1 + sum exp(s - max s))`."""

    def __init__(self, config: AutosamusConfig) -> None:
        super().__init__()
        dim, heads, head_dim = (
            config.prompt_dim,
            config.generator_heads,
            config.generator_head_dim,
        )
        inner = heads * head_dim
        self.num_heads = heads
        self.scale = head_dim**-0.5
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, dim))

    def split(self, x: Tensor) -> Tensor:
        """`[B, T, heads * d]` -> `[B, heads, T, d]`."""
        b, t, _ = x.shape
        return x.reshape(b, t, self.num_heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Tokens x `[B, T, D]` attend to other `[B, S, D]`."""
        q = self.split(self.to_q(x))
        k, v = (self.split(part) for part in self.to_kv(other).chunk(2, dim=-1))
        scores = q @ k.transpose(-2, -1) * self.scale
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        y = weights / (1 + weights.sum(-1, keepdim=True)) @ v
        out: Tensor = self.to_out(y.transpose(1, 2).flatten(2))
        return out


class NormedPair(nn.Module):
    """`fn(norm1(x), norm2(other))`."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2, self.fn = nn.LayerNorm(dim), nn.LayerNorm(dim), fn

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        out: Tensor = self.fn(self.norm1(x), self.norm2(other))
        return out


class FeedForward(nn.Module):
    """Two linear layers with ReLU between; the original has dropout (of 0) behind both."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(hidden_dim, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class Normed(nn.Module):
    """`fn(norm(x))`."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fn(self.norm(x))
        return out


class CrossTransformer(nn.Module):
    """Two sequences attend to each other, both from their state before the layer."""

    def __init__(self, config: AutosamusConfig) -> None:
        super().__init__()
        dim, hidden = config.prompt_dim, config.generator_mlp_dim

        def layer() -> nn.ModuleList:
            attentions = [NormedPair(dim, OneMoreAttention(config)) for _ in range(2)]
            return nn.ModuleList(
                [*attentions, *(Normed(dim, FeedForward(dim, hidden)) for _ in range(2))]
            )

        self.layers = nn.ModuleList(layer() for _ in range(config.generator_depth))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """x `[B, T, D]`, y `[B, S, D]` -> the same two."""
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            to_x, to_y, feed_x, feed_y = layer
            x, y = x + to_x(x, y), y + to_y(y, x)
            x, y = x + feed_x(x), y + feed_y(y)
        return x, y


class PromptGenerator(nn.Module):
    """Image embedding and the decoder's own tokens -> updated embedding and prompt tokens."""

    def __init__(self, config: AutosamusConfig) -> None:
        super().__init__()
        dim = config.prompt_dim
        self.object_token = nn.Parameter(torch.randn(1, config.object_tokens, dim))
        self.cross_token_token = CrossTransformer(config)
        self.token_proj = nn.Linear(dim, dim)
        self.cross_image_token = CrossTransformer(config)

    def forward(self, embedding: Tensor, own_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make prompts.

        Args:
            embedding: `[B, D, g, g]`.
            own_tokens: `[1, 1 + masks, D]`, the decoder's.

        Returns:
            updated embedding `[B, D, g, g]`; the first object token `[B, 1, D]`; the other
            tokens `[B, T, D]`, which nothing uses.
        """
        b, _, h, w = embedding.shape
        objects, _ = self.cross_token_token(self.object_token, own_tokens)
        objects = self.object_token + self.token_proj(objects)
        tokens = torch.cat((objects, own_tokens), dim=1).expand(b, -1, -1)
        image = embedding.flatten(2).transpose(1, 2)
        image, tokens = self.cross_image_token(image, tokens)
        return image.transpose(1, 2).reshape(b, -1, h, w), tokens[:, :1], tokens[:, 1:]


def make_feature_adapter(config: AutosamusConfig) -> nn.Sequential:
    """Four 3x3 convolutions with LayerNorm2d and GELU; the dense prompt `[B, D, g, g]`."""
    dim, narrow = config.prompt_dim, config.prompt_dim // config.feature_ratio
    widths = (dim, narrow, narrow, narrow, dim)
    layers: list[nn.Module] = []
    for i in range(4):
        conv = nn.Conv2d(widths[i], widths[i + 1], kernel_size=3, padding=1, bias=False)
        layers += [conv, LayerNorm2d(widths[i + 1]), nn.GELU()]
    return nn.Sequential(*layers)


class Autosamus(PromptableModel):
    """AutoSAMUS; grey images are repeated to three channels inside."""

    def __init__(self, config: AutosamusConfig) -> None:
        super().__init__(config, SamusImageEncoder(config))
        self.prompt_generator = PromptGenerator(config)
        self.feature_adapter = make_feature_adapter(config)

    @property
    def input_channels(self) -> tuple[int, ...]:
        return (1, self.config.in_channels)

    def prompted(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        image, sparse, _ = self.prompt_generator(embedding, self.mask_decoder.own_tokens())
        return image, sparse, self.feature_adapter(image)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The object of every image.

        Args:
            x: `[B, 1 or 3, S, S]`, 0..1.

        Returns:
            low-res logits `[B, 1, 4 g, 4 g]` and logits at input size `[B, 1, S, S]`.
        """
        low_res, _ = self.decode(self.encode(x))
        size = (self.config.img_size, self.config.img_size)
        return low_res, F.interpolate(low_res, size=size, mode="bilinear", align_corners=False)
