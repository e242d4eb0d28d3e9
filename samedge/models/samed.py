"""SAMed: SAM with low-rank branches and one mask token per class (Zhang & Liu 2023).

Query and value of every block in the encoder have a branch (`LoraQkv`); SAMed_s has them in the
mask decoder's attentions as well. There is no prompt: all masks of an image come at once. The
module tree has the keys of the original's `LoRA_Sam.sam`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from samedge.models.config import SamedConfig
from samedge.models.image_encoder import Attention, ImageEncoder
from samedge.models.lora import LoraProjection, LoraQkv
from samedge.models.sam import PromptableModel
from samedge.models.transformer import Attention as DecoderAttention


class Samed(PromptableModel):
    """SAMed, or SAMed_s where the config has a `decoder_rank`."""

    def __init__(self, config: SamedConfig) -> None:
        super().__init__(config, ImageEncoder(config))
        for module in self.image_encoder.modules():
            if isinstance(module, Attention):
                module.qkv = LoraQkv(_linear(module.qkv), config.lora_rank)
        if config.decoder_rank:
            for module in list(self.mask_decoder.modules()):
                if isinstance(module, DecoderAttention):
                    rank = config.decoder_rank
                    module.q_proj = LoraProjection(_linear(module.q_proj), rank)
                    module.v_proj = LoraProjection(_linear(module.v_proj), rank)

    @property
    def input_channels(self) -> tuple[int, ...]:
        return (1, self.config.in_channels)

    def encode(self, x: Tensor) -> Tensor:
        """Image embedding; see `PromptableModel.encode`. Grey images are repeated to RGB."""
        grey = x.ndim == 4 and x.shape[1] == 1
        return super().encode(x.repeat(1, self.config.in_channels, 1, 1) if grey else x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All classes of every image.

        Args:
            x: `[B, 1 or 3, S, S]`, 0..1.

        Returns:
            low-res logits `[B, K, 4 g, 4 g]` and logits at input size `[B, K, S, S]`, background
            first; a pixel belongs to the largest.
        """
        low_res, _ = self.decode(self.encode(x))
        size = (self.config.img_size, self.config.img_size)
        return low_res, F.interpolate(low_res, size=size, mode="bilinear", align_corners=False)


def _linear(module: nn.Module) -> nn.Linear:
    assert isinstance(module, nn.Linear)
    return module
