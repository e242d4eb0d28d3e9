"""Random models, and how far their folded halves are from them."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch

from samedge.families import Family
from samedge.fold import decoder_layers as fold_decoder_module
from samedge.fold import generator as fold_generator_module
from samedge.fold import layers as fold_layers_module
from samedge.fold import tiny_layers as fold_tiny_layers_module
from samedge.fold.decoder import fold_decoder
from samedge.fold.decoder_layers import FoldedDecoder
from samedge.fold.folding import decoder_spec, folded_encoder, no_mask_embedding
from samedge.fold.layers import FoldedEncoder
from samedge.fold.report import Notes
from samedge.fold.tiny_layers import FoldedTinyEncoder
from samedge.models import ModelConfig, PromptableModel, build_model
from samedge.models.synthetic import synthetic_tensor

Errors = dict[str, float]


def random_model(config: ModelConfig, seed: int = 1) -> PromptableModel:
    """A model in which every tensor matters: no bias or mean is zero, no norm the identity."""
    model = build_model(config)
    for key, tensor in model.state_dict().items():
        value = torch.from_numpy(synthetic_tensor(key, tensor.shape, seed))
        tensor.copy_(6 * value if key.endswith(("bias", "running_mean")) else value)
    return model


@contextmanager
def casts_to_float64():
    """SAM casts coordinates to float32; within this to float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        yield


def halves(
    model: PromptableModel, family: Family | None = None
) -> tuple[FoldedEncoder | FoldedTinyEncoder, FoldedDecoder]:
    """The folded halves, without the measurements that `samedge.fold` adds."""
    family = family or model.family
    tensors = model.state_dict()
    spec = decoder_spec(model, family)
    return (
        folded_encoder(model, tensors, family, no_mask_embedding(model), Notes()),
        fold_decoder(tensors, spec, Notes()),
    )


@contextmanager
def folding_in_float64():
    """Within this the folded weights are not rounded to float32: what is left is the algebra."""

    def parameter(x: torch.Tensor) -> torch.nn.Parameter:
        return torch.nn.Parameter(x.detach().double().contiguous().clone(), requires_grad=False)

    with pytest.MonkeyPatch.context() as patch:
        for module in (
            fold_layers_module,
            fold_tiny_layers_module,
            fold_decoder_module,
            fold_generator_module,
        ):
            patch.setattr(module, "parameter", parameter)
        yield


def three_channels(family: Family) -> Family:
    """A grey family's record as `samedge.fold(model, channels=3)` makes it."""
    return replace(family, channels=3, mean=family.mean * 3, std=family.std * 3)


def errors(
    model: PromptableModel, dtype: torch.dtype = torch.float32, family: Family | None = None
) -> Errors:
    """Largest absolute differences between the folded model and the eager one in float64.

    Args:
        model: eager, float32.
        dtype: what the folded model computes in.
        family: as folded; by custom the model's own.

    Returns:
        By name of the result; every prompt kind of the family, alone and together.
    """
    family = family or model.family
    eager = deepcopy(model).double()
    encoder, decoder = halves(model, family)
    with torch.no_grad(), casts_to_float64():
        pixels, scaled = _pixels(model, family)
        before = eager.encode(scaled)
        after = encoder(pixels.to(dtype))
        no_mask = no_mask_embedding(eager)
        added = 0 if no_mask is None else no_mask.reshape(1, -1, 1, 1)
        found = {"embedding": _distance(after - added, before)}
        for name, prompt in prompts(eager).items():
            # Prompts are given on one image; what finds its objects by itself does so in each.
            images = slice(1 if prompt else None)
            found |= _decoded(eager, decoder, before[images], after[images], name, prompt)
    return found


def _pixels(model: PromptableModel, family: Family) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images, or stacks of slices: what the folded encoder takes, and what the eager one does.

    Padded families get their mean subtracted in front, the others have it in the network.
    """
    size = model.config.img_size
    count = family.slices if family.whole_volume else 2 * family.slices
    random = torch.Generator().manual_seed(size)
    shape = (count, family.channels, size, size)
    levels = torch.randint(0, 256, shape, generator=random).double()
    if family.normalisation == "min_max":
        return levels / 255, levels / 255
    scale = family.value_scale
    if family.slices > 1:
        # Volumes of 0..1 lose a mean of 0..255 values, as in the original code, and become almost
        # flat: slices would hardly differ. The algebra holds for all values; take larger ones.
        levels = levels * scale
    mean = torch.tensor(family.mean, dtype=torch.float64).reshape(1, -1, 1, 1) * scale
    std = torch.tensor(family.std, dtype=torch.float64).reshape(1, -1, 1, 1) * scale
    seen = levels - mean if family.padded else levels
    scaled = (levels - mean) / std
    # A grey frame is repeated by the model itself, or by its own normalisation.
    inputs = model.config.in_channels
    if scaled.shape[1] not in model.input_channels:
        scaled = scaled.expand(-1, inputs, -1, -1)
    return seen, scaled


def prompts(eager: PromptableModel) -> dict[str, dict[str, Any]]:
    """Prompts for three objects, as `PromptableModel.decode` takes them, float64; none at all for a
    family without prompts."""
    random = torch.Generator().manual_seed(7)
    config, kinds = eager.config, eager.family.prompts
    n, size, low = 3, config.img_size, config.low_res
    points = {
        "point_coords": size * torch.rand(n, 2, 2, generator=random, dtype=torch.float64),
        "point_labels": torch.tensor([[1, 0], [0, 1], [1, -1]]),
    }
    corners = size * torch.rand(n, 4, generator=random, dtype=torch.float64)
    mask = 3 * torch.randn(n, 1, low, low, generator=random, dtype=torch.float64)
    cases: dict[str, dict[str, Any]] = {} if kinds else {"nothing": {}}
    if "point" in kinds:
        cases["points"] = points
    if "box" in kinds:
        cases["boxes"] = {"boxes": corners}
    if {"point", "box"} <= set(kinds):
        cases["points and boxes"] = {**points, "boxes": corners}
    if "mask" in kinds:
        cases["masks"] = {**points, "masks": mask}
        cases["one mask"] = {**points, "boxes": corners, "masks": mask[:1]}
    return cases


def folded_prompt(prompt: dict[str, Any], pad_point: str) -> dict[str, Any]:
    """The same prompts in the order and with the labels that a FoldedModel takes."""
    if not prompt:
        return {}
    boxes, coords, labels = prompt.get("boxes"), [], []
    n = len(prompt.get("point_coords", boxes))
    if "point_coords" in prompt:
        coords.append(prompt["point_coords"])
        labels.append(prompt["point_labels"])
        if boxes is None or pad_point == "always":
            coords.append(torch.zeros(n, 1, 2, dtype=torch.float64))
            labels.append(torch.full((n, 1), -1))
    if boxes is not None:
        coords.append(boxes.reshape(n, 2, 2))
        labels.append(torch.tensor([[2, 3]] * n))
    result = {"coords": torch.cat(coords, 1), "labels": torch.cat(labels, 1)}
    if "masks" in prompt:
        result |= {"mask": prompt["masks"], "has_mask": torch.ones(len(prompt["masks"]))}
    return result


def _decoded(
    eager: PromptableModel,
    decoder: FoldedDecoder,
    before: torch.Tensor,
    after: torch.Tensor,
    name: str,
    prompt: dict[str, Any],
) -> Errors:
    """Differences of logits and scores of every mask."""
    asked = dict(prompt)
    if "masks" in asked:
        asked["masks"] = asked["masks"].expand(3, -1, -1, -1)
    multimask = [False, True] if eager.family.multi_masks else [False]
    answers = [eager.decode(before, **asked, multimask=m) for m in multimask]
    expected, scores = (torch.cat([a[i] for a in answers], 1) for i in (0, 1))
    arguments = folded_prompt(prompt, eager.family.pad_point)
    for key, value in arguments.items():
        arguments[key] = value.to(after.dtype) if value.is_floating_point() else value
    got, got_scores = decoder(after, **arguments)
    return {
        f"logits of {name}": _distance(got, expected),
        f"scores of {name}": _distance(got_scores, scores),
    }


def _distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    assert got.shape == expected.shape
    return float((got.double() - expected).abs().max())
