"""A folded model of which only the sizes are known: for accounts of what a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from samedge.bundle import Variant
from samedge.fold.decoder import fold_decoder
from samedge.fold.folding import decoder_spec, folded_encoder, no_mask_embedding
from samedge.fold.model import FoldedModel
from samedge.fold.report import Notes
from samedge.models.build import build_model, model_shapes

if TYPE_CHECKING:
    from samedge.models import ModelConfig, PromptableModel


def unfolded_sizes(config: ModelConfig) -> PromptableModel:
    """The model of a config on the meta device: it takes no memory, and computes shapes alone."""
    tensors = {
        name: torch.empty(tuple(shape), device="meta")
        for name, shape in model_shapes(config).items()
    }
    return build_model(config, tensors, copy=False)


def folded_sizes(model: PromptableModel) -> FoldedModel:
    """Fold a model that is on the meta device (`unfolded_sizes`).

    Returns:
        The folded model with the sizes that it would have. Its weights are zero and share one
        number in memory; constants that no weight has a part in (an enlargement) are right.
    """
    tensors = {name: value.detach() for name, value in model.state_dict().items()}
    no_mask, notes, config = no_mask_embedding(model), Notes(), model.config
    with torch.device("meta"):
        encoder = folded_encoder(model, tensors, model.family, no_mask, notes)
        decoder = fold_decoder(tensors, decoder_spec(model, model.family), notes)
    for part in (encoder, decoder):
        _zero(part)
    variant = Variant(
        config.vit, config.img_size, config.grid, config.low_res, model.family.channels,
        config.prompt_dim,
    )  # fmt: skip
    return FoldedModel(model.family, variant, encoder, decoder, None)


def _zero(part: nn.Module) -> None:
    """Zeros instead of weights without values."""
    for module in part.modules():
        for name, value in module.named_parameters(recurse=False):
            if value.is_meta:
                zeros = torch.zeros(()).expand(value.shape)
                setattr(module, name, nn.Parameter(zeros, requires_grad=False))
