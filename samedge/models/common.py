"""Parts shared by the encoders and the decoder."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of a `[B, C, H, W]` tensor, eps 1e-6.

    In training mode by torch's own LayerNorm, which keeps two numbers per pixel for the gradient
    instead of four images; rounding differs in the last digit. In eval mode step by step, as the
    original projects compute it.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            last = x.permute(0, 2, 3, 1)
            last = F.layer_norm(last, self.weight.shape, self.weight, self.bias, self.eps)
            return last.permute(0, 3, 1, 2)
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class MlpBlock(nn.Module):
    """`lin2(act(lin1(x)))`: the MLP of a transformer block."""

    def __init__(self, dim: int, hidden_dim: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden_dim)
        self.lin2 = nn.Linear(hidden_dim, dim)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


class Adapter(nn.Module):
    """`D_fc2(GELU(D_fc1(x)))`, plus x if `skip`."""

    def __init__(self, dim: int, hidden_dim: int, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.D_fc1 = nn.Linear(dim, hidden_dim)
        self.D_fc2 = nn.Linear(hidden_dim, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.D_fc2(self.act(self.D_fc1(x)))
        return x + out if self.skip else out


class Mlp(nn.Module):
    """`depth` linear layers with ReLU between them: hypernetwork and IoU head."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, depth: int) -> None:
        super().__init__()
        dims = [in_dim] + [hidden_dim] * (depth - 1) + [out_dim]
        self.layers = nn.ModuleList(nn.Linear(n, k) for n, k in pairwise(dims))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out
