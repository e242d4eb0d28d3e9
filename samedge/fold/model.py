"""FoldedModel: the one inference network that every family ends in."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from samedge.bundle import SelfTest, Variant
from samedge.families import Family
from samedge.fold.decoder_layers import FoldedDecoder
from samedge.fold.layers import FoldedEncoder
from samedge.fold.report import FoldReport
from samedge.fold.tiny_layers import FoldedTinyEncoder


class FoldedModel(nn.Module):
    """Folded encoder and decoder in float32, for inference only.

    Attributes:
        family: record of the family, as folded (channels, sizes).
        variant: sizes.
        report: what was folded, and the error against the unfolded model.
        selftests: synthetic frames, prompts, and what the unfolded float32 model makes of them.
        source: hashes and format of the checkpoint, for a manifest.
        half_weights: its large weights are all float16 numbers (`samedge.fold.half`).
        no_mask: [P] the no-mask embedding that `encode` has added to its result; zero where the
            model makes a dense prompt of its own.
    """

    report: FoldReport
    selftests: list[SelfTest]
    source: dict[str, Any]
    no_mask: torch.Tensor
    half_weights: bool = False

    def __init__(
        self,
        family: Family,
        variant: Variant,
        encoder: FoldedEncoder | FoldedTinyEncoder,
        decoder: FoldedDecoder,
        no_mask: torch.Tensor | None,
    ) -> None:
        super().__init__()
        self.family, self.variant = family, variant
        self.encoder, self.decoder = encoder, decoder
        added = torch.zeros(variant.prompt_dim) if no_mask is None else no_mask.detach().clone()
        self.register_buffer("no_mask", added.to(torch.float32))
        self.eval()

    def release(self) -> None:
        """Free the weights. What is known about the model stays; it computes no more."""
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.data = torch.empty(0)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Image embedding.

        Args:
            pixels: float32 [B, C, S, S], what `samedge.geometry.network_input` makes: grey
                levels of the resized frame, 0..255; for a padded family with a mean, less that
                mean inside the valid area (zero on padding); for "min_max" 0..1. The rest of the
                normalisation is part of the weights. B is any number, or for a family of volumes a
                multiple of the slices that belong together.

        Returns:
            [B, P, g, g], with the no-mask embedding already added.
        """
        out: torch.Tensor = self.encoder(pixels)
        return out

    @torch.no_grad()
    def decode(
        self,
        embedding: torch.Tensor,
        coords: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        has_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Low-res logits [N, K, L, L] and scores [N, K]; see FoldedDecoder.forward."""
        logits, scores = self.decoder(embedding, coords, labels, mask, has_mask)
        return logits, scores
