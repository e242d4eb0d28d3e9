"""Image embedding and prompt tokens -> low-res logits and predicted IoU; follows SAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samedge.errors import ModelError
from samedge.models.common import LayerNorm2d, Mlp
from samedge.models.config import ModelConfig
from samedge.models.transformer import TwoWayAttentionBlock, TwoWayTransformer


class MaskDecoder(nn.Module):
    """Two-way transformer, upscaling by 4, and one hypernetwork MLP per mask token."""

    def __init__(
        self, config: ModelConfig, block: type[TwoWayAttentionBlock] = TwoWayAttentionBlock
    ) -> None:
        super().__init__()
        dim, masks = config.prompt_dim, config.num_mask_tokens
        self.num_mask_tokens = masks
        self.transformer = TwoWayTransformer(config, block)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(masks, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Mlp(dim, dim, dim // 8, 3) for _ in range(masks)
        )
        self.iou_prediction_head = Mlp(dim, config.iou_hidden_dim, masks, config.iou_depth)

    def forward(
        self,
        embedding: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        masks: tuple[int, ...],
    ) -> tuple[Tensor, Tensor]:
        """Decode N prompts.

        Args:
            embedding: `[1, D, g, g]` (shared by all prompts) or `[N, D, g, g]`.
            image_pe: `[1, D, g, g]`.
            sparse: `[N, T, D]`; dense: `[N, D, g, g]`.
            masks: which mask tokens to answer for.

        Returns:
            low-res logits `[N, K, 4 g, 4 g]` and predicted IoU `[N, K]`.
        """
        logits, iou = self.predict_masks(embedding, image_pe, sparse, dense)
        chosen = list(masks)
        return logits[:, chosen], iou[:, chosen]

    def own_tokens(self) -> Tensor:
        """`[1, 1 + masks, D]`: the IoU token and the mask tokens."""
        return torch.cat((self.iou_token.weight, self.mask_tokens.weight))[None]

    def predict_masks(
        self, embedding: Tensor, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All masks: logits `[N, num_mask_tokens, 4 g, 4 g]`, IoU `[N, num_mask_tokens]`."""
        n = sparse.shape[0]
        tokens = torch.cat((self.own_tokens().expand(n, -1, -1), sparse), dim=1)
        if embedding.shape[0] not in (1, n):
            raise ModelError(
                f"{embedding.shape[0]} image embeddings and {n} prompts; expected one embedding, "
                "or one per prompt"
            )
        if embedding.shape[0] != n:
            embedding = torch.repeat_interleave(embedding, n, dim=0)
        image = embedding + dense
        b, c, h, w = image.shape
        hidden, keys = self.transformer(image, image_pe.expand(b, -1, -1, -1), tokens)

        upscaled = self.output_upscaling(keys.transpose(1, 2).view(b, c, h, w))
        b, c, h, w = upscaled.shape
        weights = torch.stack(
            [mlp(hidden[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (weights @ upscaled.view(b, c, h * w)).view(b, -1, h, w)
        return masks, self.iou_prediction_head(hidden[:, 0])
