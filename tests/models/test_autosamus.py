"""AutoSAMUS's prompt generator against plain computations, from its description in words."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from samedge import models
from samedge.errors import ModelError
from samedge.models.autosamus import CrossTransformer, OneMoreAttention

CONFIG = models.tiny(models.AutosamusConfig)


def randomise(module: nn.Module, seed: int = 0) -> None:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter) * 0.3)


@pytest.fixture(scope="module")
def autosamus() -> models.Autosamus:
    model = models.build_model(CONFIG)
    assert isinstance(model, models.Autosamus)
    randomise(model)
    return model


def attend(layer: OneMoreAttention, x: Tensor, other: Tensor) -> Tensor:
    """One sequence `[T, D]` to another, head by head; one more in every denominator."""
    q = x @ layer.to_q.weight.T
    k, v = (other @ part.T for part in layer.to_kv.weight.chunk(2))
    width = q.shape[1] // layer.num_heads
    heads = []
    for head in range(layer.num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[:, part] @ k[:, part].T / math.sqrt(width)
        shifted = (scores - scores.max(1, keepdim=True).values).exp()
        heads.append(shifted @ v[:, part] / (1 + shifted.sum(1, keepdim=True)))
    return torch.cat(heads, 1) @ layer.to_out[0].weight.T + layer.to_out[0].bias


@given(b=st.integers(1, 3), tokens=st.integers(1, 6), others=st.integers(1, 6))
@torch.no_grad()
def test_attention(b: int, tokens: int, others: int) -> None:
    layer = OneMoreAttention(CONFIG)
    randomise(layer)
    x, other = torch.randn(b, tokens, 32), torch.randn(b, others, 32)
    expected = torch.stack([attend(layer, x[i], other[i]) for i in range(b)])
    torch.testing.assert_close(layer(x, other), expected)


@torch.no_grad()
def test_attention_is_stable_for_large_scores() -> None:
    layer = OneMoreAttention(CONFIG)
    out = layer(torch.full((1, 2, 32), 1e4), torch.randn(1, 3, 32) * 1e4)
    assert out.isfinite().all()


@torch.no_grad()
def test_two_sequences() -> None:
    """Both attend to the state of the other before the layer; ReLU between the linear layers."""
    transformer = CrossTransformer(CONFIG)
    randomise(transformer)
    x, y = torch.randn(6, 32), torch.randn(5, 32)
    got_x, got_y = transformer(x[None], y[None])
    for to_x, to_y, feed_x, feed_y in transformer.layers:
        new_x = x + attend(to_x.fn, to_x.norm1(x), to_x.norm2(y))
        new_y = y + attend(to_y.fn, to_y.norm1(y), to_y.norm2(x))
        x, y = (
            new + feed.fn.net[3](feed.fn.net[0](feed.norm(new)).clamp(min=0))
            for new, feed in ((new_x, feed_x), (new_y, feed_y))
        )
    torch.testing.assert_close(got_x[0], x)
    torch.testing.assert_close(got_y[0], y)


@pytest.mark.parametrize("objects", [1, 6])
@pytest.mark.parametrize("b", [1, 3])
@torch.no_grad()
def test_shapes(b: int, objects: int) -> None:
    model = models.build_model(models.tiny(models.AutosamusConfig, object_tokens=objects))
    own = model.mask_decoder.own_tokens()
    assert own.shape == (1, 5, 32)
    image, first, rest = model.prompt_generator(torch.randn(b, 32, 8, 8), own)
    assert image.shape == (b, 32, 8, 8)
    assert first.shape == (b, 1, 32)
    assert rest.shape == (b, objects - 1 + 5, 32)


@torch.no_grad()
def test_generator(autosamus: models.Autosamus) -> None:
    """The updated own tokens are dropped; object tokens and the original ones meet the image."""
    generator = autosamus.prompt_generator
    embedding, own = torch.randn(2, 32, 8, 8), autosamus.mask_decoder.own_tokens()
    image, first, rest = generator(embedding, own)
    for index in range(2):
        objects = generator.object_token
        updated, _ = generator.cross_token_token(objects, own)
        objects = objects + updated @ generator.token_proj.weight.T + generator.token_proj.bias
        flat = embedding[index].reshape(1, 32, 64).transpose(1, 2)
        new, tokens = generator.cross_image_token(flat, torch.cat((objects, own), 1))
        torch.testing.assert_close(image[index], new[0].T.reshape(32, 8, 8))
        torch.testing.assert_close(first[index], tokens[0, :1])
        torch.testing.assert_close(rest[index], tokens[0, 1:])


@torch.no_grad()
def test_forward(autosamus: models.Autosamus) -> None:
    x = torch.rand(2, 1, 64, 64)
    low_res, full = autosamus(x)
    assert low_res.shape == (2, 1, 32, 32)
    upscaled = F.interpolate(low_res, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(full, upscaled)
    decoder, encoder = autosamus.mask_decoder, autosamus.prompt_encoder
    image, first, _ = autosamus.prompt_generator(autosamus.encode(x), decoder.own_tokens())
    dense = autosamus.feature_adapter(image)
    logits, _ = decoder.predict_masks(image, encoder.dense_pe(), first, dense)
    torch.testing.assert_close(low_res, logits[:, :1])


@torch.no_grad()
def test_images_do_not_see_each_other(autosamus: models.Autosamus) -> None:
    model = deepcopy(autosamus).double()  # batches of other sizes round differently
    x = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    together = model(x)[0]
    for index in range(2):
        torch.testing.assert_close(model(x[index : index + 1])[0][0], together[index])


@torch.no_grad()
def test_grey_is_three_equal_channels(autosamus: models.Autosamus) -> None:
    grey = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(autosamus(grey)[0], autosamus(grey.expand(-1, 3, -1, -1))[0])


def test_what_it_does_not_take(autosamus: models.Autosamus) -> None:
    embedding = torch.zeros(1, 32, 8, 8)
    with pytest.raises(ModelError, match="AutoSAMUS takes no point prompts; it takes: none"):
        autosamus.decode(embedding, torch.zeros(1, 1, 2), torch.ones(1, 1))
    with pytest.raises(ModelError, match="AutoSAMUS takes no mask prompts"):
        autosamus.decode(embedding, masks=torch.zeros(1, 1, 32, 32))
    with pytest.raises(ModelError, match=r"expected \[B, 1 or 3, 64, 64\]"):
        autosamus(torch.zeros(1, 1, 64, 32))
