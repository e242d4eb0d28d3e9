"""SAMed: all classes of an image at once, without a prompt."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from samedge import models
from samedge.errors import ModelError


@pytest.fixture(scope="module", params=[0, 2], ids=["samed", "samed_s"])
def samed(request: pytest.FixtureRequest) -> models.Samed:
    torch.manual_seed(0)
    model = models.build_model(models.tiny(models.SamedConfig, decoder_rank=request.param))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    assert isinstance(model, models.Samed)
    return model


@torch.no_grad()
def test_grey_is_three_equal_channels(samed: models.Samed) -> None:
    grey = torch.rand(2, 1, 128, 128)
    torch.testing.assert_close(samed.encode(grey), samed.encode(grey.expand(-1, 3, -1, -1)))


@torch.no_grad()
def test_forward(samed: models.Samed) -> None:
    x = torch.rand(2, 3, 128, 128)
    low_res, full = samed(x)
    assert low_res.shape == (2, 4, 32, 32)
    upscaled = F.interpolate(low_res, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(full, upscaled)
    for index in range(2):  # images do not see each other
        torch.testing.assert_close(samed(x[index : index + 1])[0][0], low_res[index])
    scores = samed.decode(samed.encode(x))[1]
    assert scores.shape == (2, 4)


@torch.no_grad()
def test_there_is_no_token_of_a_prompt(samed: models.Samed) -> None:
    embedding = torch.randn(2, 32, 8, 8)
    image, sparse, dense = samed.prompted(embedding, None, None, None)
    assert image is embedding
    assert sparse.shape == (2, 0, 32)
    no_mask = samed.prompt_encoder.no_mask_embed.weight[0]
    torch.testing.assert_close(dense, no_mask[None, :, None, None].expand(2, 32, 8, 8))


def test_what_it_does_not_take(samed: models.Samed) -> None:
    embedding = torch.zeros(1, 32, 8, 8)
    xy, labels = torch.zeros(1, 1, 2), torch.ones(1, 1)
    with pytest.raises(ModelError, match="SAMed takes no point prompts; it takes: none"):
        samed.decode(embedding, xy, labels)
    with pytest.raises(ModelError, match="SAMed takes no box prompts"):
        samed.decode(embedding, boxes=torch.zeros(1, 4))
    with pytest.raises(ModelError, match="one mask per prompt"):
        samed.decode(embedding, multimask=True)
    for shape in ((1, 2, 128, 128), (1, 3, 128, 64), (3, 128, 128), (1, 1, 64, 64)):
        with pytest.raises(ModelError, match=r"expected \[B, 1 or 3, 128, 128\]"):
            samed(torch.zeros(shape))


def test_names_of_classes() -> None:
    numbered = models.build_model(models.tiny(models.SamedConfig)).family
    assert numbered.classes == ("background", "class 1", "class 2", "class 3")
    assert numbered.exclusive
    assert numbered.mask_tokens() == (0, 1, 2, 3)
    named = ("background", "a", "b", "c")
    assert models.tiny(models.SamedConfig, classes=named).family.classes == named
