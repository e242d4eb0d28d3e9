"""Points, boxes and masks -> sparse tokens and a dense embedding; follows segment-anything."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samedge.models.common import LayerNorm2d
from samedge.models.config import ModelConfig


class PositionEmbedding(nn.Module):
    """Position code of 2-D coordinates by random spatial frequencies (Tancik et al. 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def encode(self, unit_xy: Tensor) -> Tensor:
        """Coordinates `[..., 2]`, (x, y) in 0..1 -> `[..., D]`."""
        phase = (2 * unit_xy - 1) @ self.positional_encoding_gaussian_matrix
        phase = 2 * math.pi * phase
        return torch.cat((phase.sin(), phase.cos()), dim=-1)

    def forward(self, side: int) -> Tensor:
        """Code of the cell centres of a `side` x `side` grid: `[D, side, side]`."""
        matrix = self.positional_encoding_gaussian_matrix
        centres = (torch.arange(side, device=matrix.device, dtype=matrix.dtype) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self.encode(torch.stack((x, y), dim=-1)).permute(2, 0, 1)


class PromptEncoder(nn.Module):
    """Prompts in network px -> (sparse `[N, T, D]`, dense `[N, D, g, g]`)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, channels = config.prompt_dim, config.mask_channels
        self.img_size, self.grid = config.img_size, config.grid
        self.embed_dim = dim
        self.pad_without_box_only = config.family.pad_point == "no_box"
        self.pe_layer = PositionEmbedding(dim)
        # Background point, foreground point, first and second box corner.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.Conv2d(channels // 4, channels, kernel_size=2, stride=2),
            LayerNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def kind_weights(self) -> list[Tensor]:
        """`[1, D]` each: background point, foreground point, first and second box corner."""
        return [p for embedding in self.point_embeddings for p in embedding.parameters()]

    def dense_pe(self) -> Tensor:
        """Position code of the image tokens, `[1, D, g, g]`."""
        code: Tensor = self.pe_layer(self.grid)
        return code[None]

    def embed_points(self, xy: Tensor, labels: Tensor, pad: bool) -> Tensor:
        """Points `[N, P, 2]` with labels 1, 0 or -1 (not a point) -> `[N, P (+ 1), D]`."""
        xy = xy + 0.5  # px centres
        if pad:
            xy = torch.cat((xy, xy.new_zeros(xy.shape[0], 1, 2)), dim=1)
            labels = torch.cat((labels, -labels.new_ones(labels.shape[0], 1)), dim=1)
        code = self.pe_layer.encode((xy / self.img_size).float())
        label = labels[..., None]
        negative, positive, _, _ = self.kind_weights()
        code = torch.where(label == -1, self.not_a_point_embed.weight, code)
        code = torch.where(label == 0, code + negative, code)
        return torch.where(label == 1, code + positive, code)

    def embed_boxes(self, boxes: Tensor) -> Tensor:
        """Boxes `[N, 4]` (x0, y0, x1, y1) -> `[N, 2, D]`."""
        corners = (boxes + 0.5).reshape(-1, 2, 2)
        code = self.pe_layer.encode((corners / self.img_size).float())
        return code + torch.cat(self.kind_weights()[2:])

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts.

        Args:
            points: coordinates `[N, P, 2]` in network px, (x, y), and labels `[N, P]`.
            boxes: `[N, 4]` in network px.
            masks: low-res logits `[N, 1, 4 g, 4 g]`; replace the no-mask embedding.

        Returns:
            sparse `[N, T, D]`; T = 0 without points and boxes; dense `[N, D, g, g]`.
        """
        tokens = []
        if points is not None:
            pad = boxes is None or not self.pad_without_box_only
            tokens.append(self.embed_points(*points, pad=pad))
        if boxes is not None:
            tokens.append(self.embed_boxes(boxes))
        n = tokens[0].shape[0] if tokens else 1 if masks is None else masks.shape[0]
        weight = self.no_mask_embed.weight
        sparse = torch.cat(tokens, dim=1) if tokens else weight.new_zeros(n, 0, self.embed_dim)
        if masks is not None:
            dense: Tensor = self.mask_downscaling(masks)
        else:
            dense = weight.reshape(1, -1, 1, 1).expand(n, -1, self.grid, self.grid)
        return sparse, dense
