"""The mask decoder's two-way transformer; follows segment-anything.

Tokens are `[N, T, D]`, image keys `[N, g * g, D]`. LayerNorm has torch's default eps (1e-5).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samedge.models.common import MlpBlock
from samedge.models.config import ModelConfig


class Attention(nn.Module):
    """Multi-head attention whose inner width is `dim / downsample`."""

    q_proj: nn.Module
    v_proj: nn.Module

    def __init__(self, dim: int, num_heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def split(self, x: Tensor) -> Tensor:
        """`[N, T, C]` -> `[N, heads, T, C / heads]`."""
        n, t, c = x.shape
        return x.reshape(n, t, self.num_heads, c // self.num_heads).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        scores = q @ k.permute(0, 1, 3, 2) / math.sqrt(q.shape[-1])
        x = torch.softmax(scores, dim=-1) @ v
        out: Tensor = self.out_proj(x.transpose(1, 2).flatten(2))
        return out


class TwoWayAttentionBlock(nn.Module):
    """Tokens attend to tokens, to the image, pass an MLP; then the image attends to the tokens."""

    mlp: nn.Module

    def __init__(self, config: ModelConfig, first: bool) -> None:
        super().__init__()
        dim, heads, down = config.prompt_dim, config.decoder_heads, config.decoder_downsample
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, down)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MlpBlock(dim, config.decoder_mlp_dim, nn.ReLU)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, down)

    def attend_to_tokens(self, tokens: Tensor, tokens_pe: Tensor) -> Tensor:
        """Self-attention of the tokens, in front of its norm."""
        if self.first:  # no position code, and the result replaces the tokens: no residual
            out: Tensor = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + tokens_pe
            out = tokens + self.self_attn(q, q, tokens)
        return out

    def forward(
        self, tokens: Tensor, image: Tensor, tokens_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens `[N, T, D]` and image `[N, g*g, D]` exchange; each comes with its code."""
        tokens = self.norm1(self.attend_to_tokens(tokens, tokens_pe))

        q, k = tokens + tokens_pe, image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(q, k, image))
        tokens = self.norm3(tokens + self.mlp(tokens))

        q, k = tokens + tokens_pe, image + image_pe
        image = self.norm4(image + self.cross_attn_image_to_token(k, q, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """`decoder_depth` two-way blocks and a last attention of the tokens to the image."""

    def __init__(
        self, config: ModelConfig, block: type[TwoWayAttentionBlock] = TwoWayAttentionBlock
    ) -> None:
        super().__init__()
        dim = config.prompt_dim
        self.layers = nn.ModuleList(
            block(config, first=i == 0) for i in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = Attention(
            dim, config.decoder_heads, config.decoder_downsample
        )
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Args: image and its position code `[N, D, g, g]`, tokens `[N, T, D]`.

        Returns: tokens `[N, T, D]` and image keys `[N, g * g, D]`.
        """
        keys = image.flatten(2).permute(0, 2, 1)
        keys_pe = image_pe.flatten(2).permute(0, 2, 1)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, keys_pe)
        q, k = queries + tokens, keys + keys_pe
        queries = queries + self.final_attn_token_to_image(q, k, keys)
        return self.norm_final_attn(queries), keys
