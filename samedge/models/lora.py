"""Low-rank branches beside linear layers (LoRA, Hu et al. 2021), one class per official layout.

All add `B A` to a weight; they differ in where the two factors live and in a scale.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def merged_delta(a: Tensor, b: Tensor) -> Tensor:
    """What loralib's factors add to a weight, `B A / r`; the alpha of its branches is 1.

    Args:
        a: `lora_A` `[r * n, in]`, n branches below each other.
        b: `lora_B` `[rows, r]`, their outputs below each other.

    Returns:
        `[rows, in]`; for the query and value branches of a qkv layer (n = 2) `[rows / 2 * 3, in]`
        with zeros for the key.
    """
    rank = b.shape[1]
    n = a.shape[0] // rank
    parts = [y @ x for x, y in zip(a.chunk(n), b.chunk(n), strict=True)]
    if n == 2:
        parts.insert(1, torch.zeros_like(parts[0]))
    return torch.cat(parts) / rank


class LoraQkv(nn.Module):
    """SAMed's: branches for the query and value thirds of a qkv layer. No factor, no bias."""

    def __init__(self, qkv: nn.Linear, rank: int) -> None:
        super().__init__()
        dim = qkv.in_features
        self.qkv = qkv
        self.linear_a_q, self.linear_b_q = _down(dim, rank), _up(rank, dim)
        self.linear_a_v, self.linear_b_v = _down(dim, rank), _up(rank, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = q + self.linear_b_q(self.linear_a_q(x))
        v = v + self.linear_b_v(self.linear_a_v(x))
        return torch.cat((q, k, v), dim=-1)


class LoraProjection(nn.Module):
    """SAMed_s's, in the mask decoder: `proj(x) + w_b(w_a(x))`."""

    def __init__(self, proj: nn.Linear, rank: int) -> None:
        super().__init__()
        self.proj = proj
        self.w_a, self.w_b = _down(proj.in_features, rank), _up(rank, proj.out_features)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x) + self.w_b(self.w_a(x))
        return out


class LoraLinear(nn.Linear):
    """loralib's: `x (W + B A / r)^T + b`, for one weight or for parts of a stacked one.

    Args:
        in_features, out_features: of the layer.
        rank: r.
        groups: 0: one branch for the whole weight. 3: one for each of query, key and value of a
            qkv layer. 2: one for query and value.
    """

    def __init__(self, in_features: int, out_features: int, rank: int, groups: int = 0) -> None:
        super().__init__(in_features, out_features)
        count, rows = max(groups, 1), out_features
        if groups:
            rows = out_features // 3 * groups
        self.lora_A = nn.Parameter(torch.zeros(rank * count, in_features))
        self.lora_B = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight + merged_delta(self.lora_A, self.lora_B)
        return F.linear(x, weight, self.bias)


def _down(in_features: int, rank: int) -> nn.Linear:
    """The first factor; torch's own initialisation is the one LoRA uses."""
    return nn.Linear(in_features, rank, bias=False)


def _up(rank: int, out_features: int) -> nn.Linear:
    """The second factor, zero: training starts from the weights as they are."""
    layer = nn.Linear(rank, out_features, bias=False)
    nn.init.zeros_(layer.weight)
    return layer
