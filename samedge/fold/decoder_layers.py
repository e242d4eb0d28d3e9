"""The layers of a folded mask decoder.

Several prompts on one image share the image's keys and values of the first layer; position codes
went through their projections once, when the model was folded; transposed convolutions whose
kernel equals their stride are matrix products, so nothing is rearranged before the final logits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from samedge.fold.generator import PromptGenerator
from samedge.fold.layers import Linear, Norm, parameter
from samedge.kernels import reference as ops

CODES = ("none", "scores", "tokens")


class PromptEncoder(nn.Module):
    """Points and box corners -> tokens. Labels: -1 padding, 0, 1 points, 2, 3 box corners."""

    def __init__(self, phase: Linear, labels: torch.Tensor) -> None:
        super().__init__()
        self.phase, self.labels = phase, parameter(labels)  # labels [5, P], row = label + 1

    def forward(self, coords: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        phase = self.phase(coords)
        code = torch.cat([phase.sin(), phase.cos()], dim=-1)
        return code * (labels >= 0)[..., None] + self.labels[labels.long() + 1]


class MaskPrompt(nn.Module):
    """Low-res logits [M, 1, L, L] -> what they add to the embedding, [M, g*g, P].

    The no-mask embedding is part of the image embedding, so it is subtracted here.
    """

    def __init__(self, lin1: Linear, norm1: Norm, lin2: Linear, norm2: Norm, lin3: Linear) -> None:
        super().__init__()
        self.lin1, self.norm1, self.lin2, self.norm2 = lin1, norm1, lin2, norm2
        self.lin3 = lin3

    def forward(self, mask: torch.Tensor, has_mask: torch.Tensor) -> torch.Tensor:
        m, _, size, _ = mask.shape
        g = size // 4
        # [m, y, a, c, x, b, d] -> [m, y, x, a, b, (c, d)]
        x = mask.reshape(m, g, 2, 2, g, 2, 2).permute(0, 1, 4, 2, 5, 3, 6).reshape(m, g * g, 4, 4)
        x = F.gelu(self.norm1(self.lin1(x))).reshape(m, g * g, -1)
        x = F.gelu(self.norm2(self.lin2(x)))
        out: torch.Tensor = self.lin3(x) * has_mask[:, None, None]
        return out


class TokenAttention(nn.Module):
    """Self-attention of the tokens; queries and keys in one matrix."""

    def __init__(self, qk: Linear, v: Linear, proj: Linear, heads: int) -> None:
        super().__init__()
        self.qk, self.v, self.proj, self.heads = qk, v, proj, heads

    def forward(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        q, k = self.qk(x).chunk(2, dim=-1)
        out: torch.Tensor = self.proj(ops.attention(q, k, self.v(values), self.heads))
        return out


class DecoderLayer(nn.Module):
    """One two-way layer.

    `image` holds, side by side, the image's keys and values for the tokens and its queries to
    the tokens; `image_code` what the dense position code adds to them. `code` says where the
    self-attention sees the tokens' own code: "none", in its queries and keys ("scores"), or in the
    tokens for good ("tokens"); `residual` whether its result is added to them or replaces them.
    """

    def __init__(
        self,
        self_attn: TokenAttention,
        norms: list[Norm],
        mlp: tuple[Linear, Linear],
        image: tuple[Linear, torch.Tensor],
        to_image: tuple[Linear, Linear],
        from_image: tuple[Linear, Linear, Linear],
        heads: int,
        code: str,
        residual: bool,
    ) -> None:
        super().__init__()
        assert code in CODES
        self.self_attn, self.heads = self_attn, heads
        self.code, self.residual = code, residual
        self.norm1, self.norm2, self.norm3, self.norm4 = norms
        self.lin1, self.lin2 = mlp
        self.image, self.image_code = image[0], parameter(image[1])
        self.to_image_q, self.to_image_proj = to_image
        self.from_image_k, self.from_image_v, self.from_image_proj = from_image

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, code: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.code == "tokens":
            x = x + code
        y = self.self_attn(x + code if self.code == "scores" else x, x)
        x = self.norm1(x + y if self.residual else y)
        k, v, q = (self.image(keys) + self.image_code).chunk(3, dim=-1)
        y = ops.attention(self.to_image_q(x + code), k, v, self.heads)
        x = self.norm2(x + self.to_image_proj(y))
        x = self.norm3(x + self.lin2(F.relu(self.lin1(x))))
        y = ops.attention(q, self.from_image_k(x + code), self.from_image_v(x), self.heads)
        return x, self.norm4(keys + self.from_image_proj(y))


class FinalAttention(nn.Module):
    """The last look of the tokens at the image."""

    def __init__(
        self,
        image: Linear,
        image_code: torch.Tensor,
        q: Linear,
        proj: Linear,
        norm: Norm,
        heads: int,
    ) -> None:
        super().__init__()
        self.image, self.image_code = image, parameter(image_code)
        self.q, self.proj, self.norm, self.heads = q, proj, norm, heads

    def forward(self, x: torch.Tensor, keys: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        k, v = (self.image(keys) + self.image_code).chunk(2, dim=-1)
        y = ops.attention(self.q(x + code), k, v, self.heads)
        out: torch.Tensor = self.norm(x + self.proj(y))
        return out


class MaskHead(nn.Module):
    """Upscaled image features times the hypernetworks' weights; predicted IoU."""

    def __init__(
        self,
        up1: Linear,
        norm: Norm,
        up2: Linear,
        hyper: list[list[Linear]],
        iou: list[Linear],
    ) -> None:
        super().__init__()
        self.up1, self.norm, self.up2 = up1, norm, up2
        self.hyper = nn.ModuleList(nn.ModuleList(layers) for layers in hyper)
        self.iou = nn.ModuleList(iou)

    def forward(
        self, tokens: torch.Tensor, masks: tuple[int, ...], keys: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        n, t, _ = keys.shape
        g = int(t**0.5)
        x = self.up1(keys).reshape(n, t, 4, -1)
        x = F.gelu(self.up2(F.gelu(self.norm(x)))).reshape(n, t * 16, -1)
        weights = torch.stack(
            [_relu_mlp(h, tokens[:, 1 + m]) for h, m in zip(self.hyper, masks, strict=True)], 1
        )  # fmt: skip
        k = weights.shape[1]
        logits = (weights @ x.transpose(1, 2)).reshape(n, k, g, g, 2, 2, 2, 2)
        # [n, k, y, x, a, b, c, d] -> rows (y, a, c), columns (x, b, d)
        logits = logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(n, k, 4 * g, 4 * g)
        return logits, _relu_mlp(self.iou, tokens[:, 0])


def _relu_mlp(layers: nn.Module, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(layers, nn.ModuleList)
    for i, layer in enumerate(layers):
        x = layer(x) if i == 0 else layer(F.relu(x))
    return x


class FoldedDecoder(nn.Module):
    """Prompts and embedding -> low-res logits and scores of every mask in `masks`.

    Attributes:
        prompt: None for families that take no points and boxes.
        mask_prompt: None for families that take no masks.
        generator: makes the prompt from the embedding; None where the user gives it.
        tokens: [1, 1 + all masks, P], IoU token first.
    """

    def __init__(
        self,
        prompt: PromptEncoder | None,
        mask_prompt: MaskPrompt | None,
        generator: PromptGenerator | None,
        tokens: torch.Tensor,
        layers: list[DecoderLayer],
        final: FinalAttention,
        head: MaskHead,
        masks: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.prompt, self.mask_prompt, self.generator = prompt, mask_prompt, generator
        self.tokens = parameter(tokens)
        self.layers, self.final, self.head = nn.ModuleList(layers), final, head
        self.masks = masks

    def forward(
        self,
        embedding: torch.Tensor,
        coords: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        has_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode.

        Args:
            embedding: [1 or N, P, g, g], no-mask embedding included; without prompts one object
                for each.
            coords: [N, points, 2], px of the network input; labels [N, points].
            mask: [1 or N, 1, 4g, 4g] logits, with has_mask [1 or N] (0 or 1).

        Returns:
            logits [N, K, 4g, 4g] and scores [N, K] for the K masks in `self.masks`.
        """
        keys = embedding.flatten(2).transpose(1, 2)
        if self.mask_prompt is not None and mask is not None and has_mask is not None:
            keys = keys + self.mask_prompt(mask, has_mask)
        code = self.tokens.expand(len(embedding) if coords is None else len(coords), -1, -1)
        if self.generator is not None:
            keys, found = self.generator(keys)
            code = torch.cat([code, found], 1)
        elif self.prompt is not None and coords is not None:
            code = torch.cat([code, self.prompt(coords, labels)], 1)
        x = code
        for layer in self.layers:
            x, keys = layer(x, keys, code)
        x = self.final(x, keys, code)
        logits, scores = self.head(x, self.masks, keys)
        return logits, scores
