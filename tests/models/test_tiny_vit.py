"""TinyViT against a second writing of it: window by window, head by head, with the indices of the
original's own loop."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.models import LiteMedsamConfig, MobileSamConfig, tiny
from samedge.models.tiny_vit import distances
from tests.fold.oracle import random_model

Tensors = dict[str, Tensor]


class Plain:
    """The image encoder as functions of a state dict, float64."""

    def __init__(self, tensors: Tensors, config: MobileSamConfig) -> None:
        self.t = {k: v.double() for k, v in tensors.items()}
        self.config = config

    def encode(self, x: Tensor) -> Tensor:
        c, encoder = self.config, "image_encoder"
        stride = c.patch_stride
        x = self.conv(x, f"{encoder}.patch_embed.seq.0", stride)
        x = self.conv(F.gelu(x), f"{encoder}.patch_embed.seq.2", stride)
        for stage, depth in enumerate(c.depths):
            layer = f"{encoder}.layers.{stage}"
            for i in range(depth):
                here = f"{layer}.blocks.{i}"
                x = self.block(x, here, stage) if stage else F.gelu(x + self.three(x, here, 1))
            if stage + 1 < len(c.depths):
                smaller = c.grid if stage + 2 == len(c.depths) else x.shape[-1] // 2
                x = self.three(x, f"{layer}.downsample", x.shape[-1] // smaller)
        return self.neck(x, f"{encoder}.neck")

    def conv(self, x: Tensor, path: str, stride: int = 1) -> Tensor:
        t, weight = self.t, self.t[f"{path}.c.weight"]
        # A weight [n, 1, k, k] on an image of n channels is one filter for each.
        alone = weight.shape[1] == 1 and x.shape[1] == len(weight)
        groups = len(weight) if alone else 1
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)

        def column(name: str) -> Tensor:
            return t[f"{path}.bn.{name}"].reshape(-1, 1, 1)

        x = (x - column("running_mean")) / torch.sqrt(column("running_var") + 1e-5)
        return x * column("weight") + column("bias")

    def three(self, x: Tensor, path: str, stride: int) -> Tensor:
        x = F.gelu(self.conv(x, f"{path}.conv1"))
        x = F.gelu(self.conv(x, f"{path}.conv2", stride))
        return self.conv(x, f"{path}.conv3")

    def block(self, x: Tensor, path: str, stage: int) -> Tensor:
        window, heads = self.config.windows[stage], self.config.heads[stage]
        grid = x.shape[-1]
        tokens = x.permute(0, 2, 3, 1)
        attended = torch.zeros_like(tokens)
        for top, left in product(range(0, grid, window), repeat=2):
            part = tokens[:, top : top + window, left : left + window]
            rows, cols = part.shape[1:3]
            whole = part.new_zeros(len(x), window, window, part.shape[-1])
            whole[:, :rows, :cols] = part
            y = self.attention(whole.flatten(1, 2), f"{path}.attn", window, heads)
            y = y.reshape(whole.shape)[:, :rows, :cols]
            attended[:, top : top + window, left : left + window] = y
        x = x + attended.permute(0, 3, 1, 2)
        x = self.conv(x, f"{path}.local_conv")
        tokens = x.permute(0, 2, 3, 1)
        hidden = F.gelu(self.linear(self.norm(tokens, f"{path}.mlp.norm"), f"{path}.mlp.fc1"))
        return x + self.linear(hidden, f"{path}.mlp.fc2").permute(0, 3, 1, 2)

    def attention(self, x: Tensor, path: str, window: int, heads: int) -> Tensor:
        qkv = self.linear(self.norm(x, f"{path}.norm"), f"{path}.qkv")
        biases = self.t[f"{path}.attention_biases"]
        index = original_indices(window)
        size = x.shape[-1] // heads
        results = []
        for head, three in enumerate(qkv.split(3 * size, dim=-1)):
            q, k, v = three.split(size, dim=-1)
            scores = torch.einsum("nqd,nkd->nqk", q, k) / size**0.5 + biases[head][index]
            results.append(scores.softmax(-1) @ v)
        return self.linear(torch.cat(results, -1), f"{path}.proj")

    def linear(self, x: Tensor, path: str) -> Tensor:
        return x @ self.t[f"{path}.weight"].T + self.t[f"{path}.bias"]

    def norm(self, x: Tensor, path: str, eps: float = 1e-5) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + eps)
        return scaled * self.t[f"{path}.weight"] + self.t[f"{path}.bias"]

    def neck(self, x: Tensor, path: str) -> Tensor:
        for i, padding in ((0, 0), (2, 1)):
            x = F.conv2d(x, self.t[f"{path}.{i}.weight"], padding=padding)
            tokens = self.norm(x.permute(0, 2, 3, 1), f"{path}.{i + 1}", 1e-6)
            x = tokens.permute(0, 3, 1, 2)
        return x


def original_indices(window: int) -> Tensor:
    """As TinyViT's own loop numbers the distances: in the order in which they turn up."""
    points = list(product(range(window), range(window)))
    known: dict[tuple[int, int], int] = {}
    found = []
    for a, b in product(points, points):
        apart = (abs(a[0] - b[0]), abs(a[1] - b[1]))
        found.append(known.setdefault(apart, len(known)))
    return torch.tensor(found).view(len(points), len(points))


@pytest.mark.parametrize("window", [1, 2, 7, 14])
def test_distances_are_numbered_as_in_the_original(window: int) -> None:
    torch.testing.assert_close(distances(window), original_indices(window))


@pytest.mark.parametrize(
    "config",
    [
        tiny(MobileSamConfig),
        tiny(LiteMedsamConfig),
        tiny(LiteMedsamConfig, windows=(4, 8, 4, 2)),  # no padding
        tiny(MobileSamConfig, img_size=96, windows=(9, 3, 7, 9)),  # larger than the grid
    ],
    ids=lambda config: f"{config.img_size}, {config.windows}",
)
def test_the_encoder_by_hand(config: Any) -> None:
    model = random_model(config)
    x = torch.randn(2, 3, config.img_size, config.img_size)
    expected = Plain(model.state_dict(), config).encode(x.double())
    with torch.no_grad():
        got = model.encode(x)
    assert expected.abs().max() > 1
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=0)
