"""The whole model: image encoder, prompt encoder, mask decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samedge.errors import ModelError
from samedge.families import Family
from samedge.models.config import MobileSamConfig, ModelConfig, SamConfig
from samedge.models.image_encoder import ImageEncoder
from samedge.models.mask_decoder import MaskDecoder
from samedge.models.prompt_encoder import PromptEncoder
from samedge.models.tiny_vit import TinyImageEncoder
from samedge.models.transformer import TwoWayAttentionBlock


class PromptableModel(nn.Module):
    """What all families share: `encode` an image once, `decode` prompts on its embedding.

    Attributes:
        family: the family record, with this network's input size.
        config: all sizes.
        source: hashes (`sha256`) and `format` of the files that the weights came from, and the
            `questions` that they leave open, if any.
    """

    def __init__(
        self,
        config: ModelConfig,
        image_encoder: nn.Module,
        decoder_block: type[TwoWayAttentionBlock] = TwoWayAttentionBlock,
    ) -> None:
        super().__init__()
        self.config = config
        self.family: Family = config.family
        self.source: dict[str, Any] = {"sha256": [], "format": "torch module"}
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config, decoder_block)

    def encode(self, x: Tensor) -> Tensor:
        """Image embedding of a network input.

        Args:
            x: `[B, C, S, S]` float, already scaled, normalised and padded as the family says.

        Returns:
            `[B, D, g, g]`.

        Raises:
            ModelError: wrong shape.
        """
        size, channels = self.config.img_size, self.input_channels
        if x.ndim != 4 or x.shape[1] not in channels or tuple(x.shape[2:]) != (size, size):
            numbers = " or ".join(map(str, dict.fromkeys(channels)))
            raise ModelError(
                f"network input of shape {list(x.shape)}; expected [B, {numbers}, {size}, {size}]"
            )
        embedding: Tensor = self.image_encoder(x)
        return embedding

    @property
    def input_channels(self) -> tuple[int, ...]:
        """Numbers of channels that `encode` takes."""
        return (self.config.in_channels,)

    def decode(
        self,
        embedding: Tensor,
        point_coords: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Masks of N prompts on one image, or on one image each.

        Args:
            embedding: `[1, D, g, g]` or `[N, D, g, g]`.
            point_coords: `[N, P, 2]`, (x, y) in network px; point_labels: `[N, P]`, 1 foreground,
                0 background, -1 padding.
            boxes: `[N, 4]`, (x0, y0, x1, y1) in network px.
            masks: low-res logits `[N, 1, 4 g, 4 g]`.
            multimask: the family's several answers instead of its single one.

        Returns:
            low-res logits `[N, K, 4 g, 4 g]`, predicted IoU `[N, K]`.

        Raises:
            ModelError: a prompt that the family does not take, or sizes that do not fit.
        """
        self._check_prompts(point_coords, point_labels, boxes, masks, multimask)
        config = self.config
        _check_shape("embedding", embedding, ("N", config.prompt_dim, config.grid, config.grid))
        points = None
        if point_coords is not None and point_labels is not None:
            points = (point_coords, point_labels)
        image, sparse, dense = self.prompted(embedding, points, boxes, masks)
        image_pe = self.prompt_encoder.dense_pe()
        wanted = self.family.mask_tokens(multimask)
        low_res, iou = self.mask_decoder(image, image_pe, sparse, dense, wanted)
        return low_res, iou

    def prompted(
        self,
        embedding: Tensor,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the mask decoder gets: image `[1 or N, D, g, g]`, sparse `[N, T, D]` and dense
        `[N, D, g, g]` embeddings. Without any prompt N is the number of images."""
        sparse, dense = self.prompt_encoder(points, boxes, masks)
        if points is None and boxes is None and masks is None:
            n = embedding.shape[0]
            sparse, dense = sparse.expand(n, -1, -1), dense.expand(n, -1, -1, -1)
        return embedding, sparse, dense

    def _check_prompts(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask: bool,
    ) -> None:
        if (point_coords is None) != (point_labels is None):
            raise ModelError("point_coords and point_labels come together; one is missing")
        given = {"point": point_coords, "box": boxes, "mask": masks}
        for kind, value in given.items():
            if value is not None and kind not in self.family.prompts:
                takes = ", ".join(self.family.prompts) or "none"
                raise ModelError(f"{self.family.title} takes no {kind} prompts; it takes: {takes}")
        if multimask and not self.family.multi_masks:
            raise ModelError(f"{self.family.title} gives one mask per prompt: multimask=False")
        side = self.config.low_res
        _check_shape("point_coords", point_coords, ("N", "P", 2))
        _check_shape("boxes", boxes, ("N", 4))
        _check_shape("masks", masks, ("N", 1, side, side))
        if point_coords is not None:
            _check_shape("point_labels", point_labels, tuple(point_coords.shape[:2]))
        counts = {kind: v.shape[0] for kind, v in given.items() if v is not None}
        if len(set(counts.values())) > 1:
            raise ModelError(f"prompts of different counts: {counts}; expected one count N for all")


def _check_shape(name: str, tensor: Tensor | None, wanted: tuple[int | str, ...]) -> None:
    """ModelError unless the tensor, if there is one, has this shape; text stands for any size."""
    if tensor is None:
        return
    shape = tuple(tensor.shape)
    fits = len(shape) == len(wanted) and all(
        isinstance(w, str) or s == w for s, w in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise ModelError(
            f"{name} of shape {list(shape)}; expected [{', '.join(str(w) for w in wanted)}]"
        )


class Sam(PromptableModel):
    """Segment Anything (Kirillov et al. 2023), with its own encoder or TinyViT (MobileSAM)."""

    def __init__(self, config: SamConfig | MobileSamConfig) -> None:
        if isinstance(config, MobileSamConfig):
            super().__init__(config, TinyImageEncoder(config))
        else:
            super().__init__(config, ImageEncoder(config))

    def forward(
        self,
        x: Tensor,
        point_coords: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """`decode(encode(x), ...)`: low-res logits `[N, K, 4 g, 4 g]`, IoU `[N, K]`."""
        return self.decode(self.encode(x), point_coords, point_labels, boxes, masks, multimask)


def initialise(module: nn.Module) -> None:
    """Weights for training from scratch: position tables as truncated normal, the rest torch's."""
    for name, parameter in module.named_parameters():
        if name.endswith(
            ("pos_embed", "rel_pos_h", "rel_pos_w", "rel_h", "rel_w", "attention_biases")
        ):
            with torch.no_grad():
                nn.init.trunc_normal_(parameter, std=0.02)
