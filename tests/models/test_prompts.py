"""Prompts: tokens, order, padding, batches, and what each family refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from samedge import models
from samedge.errors import ModelError

XY = torch.tensor([[[10.0, 20.0], [30.0, 5.0]]])
LABELS = torch.tensor([[1, 0]])
BOX = torch.tensor([[4.0, 8.0, 40.0, 50.0]])


@pytest.fixture(scope="module")
def sam() -> models.Sam:
    torch.manual_seed(0)
    return models.build_sam(models.tiny_sam_config())


@pytest.fixture(scope="module")
def samus() -> models.Samus:
    torch.manual_seed(0)
    return models.build_samus(models.tiny_samus_config())


@pytest.fixture(scope="module")
def embedding(sam: models.Sam) -> Tensor:
    with torch.inference_mode():
        return sam.encode(torch.randn(1, 3, 128, 128))


def code_of(model: models.PromptableModel, x: float, y: float) -> Tensor:
    """The position code by its formula."""
    unit = torch.tensor([x + 0.5, y + 0.5]) / model.config.img_size
    matrix = model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    phase = 2 * math.pi * ((2 * unit - 1) @ matrix)
    return torch.cat((phase.sin(), phase.cos()))


def test_point_tokens(sam: models.Sam) -> None:
    encoder = sam.prompt_encoder
    with torch.no_grad():
        tokens, dense = encoder((XY, LABELS), None, None)
        assert tokens.shape == (1, 3, 32)  # two points and a padding token
        positive = code_of(sam, 10, 20) + encoder.point_embeddings[1].weight[0]
        negative = code_of(sam, 30, 5) + encoder.point_embeddings[0].weight[0]
        torch.testing.assert_close(tokens[0, 0], positive)
        torch.testing.assert_close(tokens[0, 1], negative)
        torch.testing.assert_close(tokens[0, 2], encoder.not_a_point_embed.weight[0])
        torch.testing.assert_close(dense[0, :, 3, 4], encoder.no_mask_embed.weight[0])


def test_no_padding_beside_a_box(sam: models.Sam) -> None:
    encoder = sam.prompt_encoder
    with torch.no_grad():
        tokens, _ = encoder((XY, LABELS), BOX, None)
        assert tokens.shape == (1, 4, 32)  # two points, two corners
        corner = code_of(sam, 40, 50) + encoder.point_embeddings[3].weight[0]
        torch.testing.assert_close(tokens[0, 3], corner)


def test_dense_code_samples_cell_centres(sam: models.Sam) -> None:
    centre = code_of(sam, 16 * 3 + 7.5, 16 * 5 + 7.5)  # column 3, row 5; + 0.5 px inside
    torch.testing.assert_close(sam.prompt_encoder.dense_pe()[0, :, 5, 3], centre)


def test_mask_replaces_the_no_mask_embedding(sam: models.Sam) -> None:
    mask = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        tokens, dense = sam.prompt_encoder(None, None, mask)
        torch.testing.assert_close(dense, sam.prompt_encoder.mask_downscaling(mask))
    assert tokens.shape == (1, 0, 32)


def test_prompts_share_an_embedding(sam: models.Sam, embedding: Tensor) -> None:
    boxes = torch.cat((BOX, BOX + 20))
    with torch.inference_mode():
        together, iou = sam.decode(embedding, boxes=boxes, multimask=True)
        one_by_one = [sam.decode(embedding, boxes=b[None], multimask=True)[0] for b in boxes]
    assert together.shape == (2, 3, 32, 32)
    assert iou.shape == (2, 3)
    torch.testing.assert_close(together, torch.cat(one_by_one))


def test_single_and_several_masks_are_different_tokens(sam: models.Sam, embedding: Tensor) -> None:
    with torch.inference_mode():
        single, _ = sam.decode(embedding, XY, LABELS)
        several, _ = sam.decode(embedding, XY, LABELS, multimask=True)
    assert single.shape == (1, 1, 32, 32)
    assert not torch.isclose(several, single).all()


def test_samus_objects_on_the_channel_axis(samus: models.Samus) -> None:
    torch.manual_seed(1)
    x = torch.rand(2, 1, 64, 64)
    xy, labels = torch.rand(2, 3, 2, 2) * 64, torch.randint(0, 2, (2, 3, 2))
    with torch.inference_mode():
        low_res, full = samus(x, xy, labels)
        assert low_res.shape == (2, 3, 32, 32)
        assert full.shape == (2, 3, 64, 64)
        for image in range(2):
            for item in range(3):
                one, _ = samus(
                    x[image : image + 1],
                    xy[image : image + 1, item],
                    labels[image : image + 1, item],
                )
                torch.testing.assert_close(low_res[image, item], one[0, 0], atol=1e-5, rtol=0)


def test_samus_grey_is_three_equal_channels(samus: models.Samus) -> None:
    grey = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(samus.encode(grey), samus.encode(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("size", [{"img_size": 128}, {"img_size": 64, "window_size": 3}])
def test_samus_at_other_sizes(size: dict[str, int]) -> None:
    model = models.build_samus(models.tiny_samus_config(**size))
    side = size["img_size"]
    with torch.inference_mode():
        low_res, full = model(torch.rand(1, 1, side, side), XY[:, :1], LABELS[:, :1])
    assert low_res.shape[-1] == side // 2
    assert full.shape[-1] == side


def test_wrong_input_shape(sam: models.Sam, samus: models.Samus) -> None:
    with pytest.raises(ModelError, match=r"expected \[B, 3, 128, 128\]"):
        sam.encode(torch.zeros(1, 1, 128, 128))
    with pytest.raises(ModelError, match=r"expected \[B, 1 or 3, 64, 64\]"):
        samus.encode(torch.zeros(1, 1, 64, 32))


def test_prompts_that_samus_does_not_take(samus: models.Samus) -> None:
    embedding = torch.zeros(1, 32, 8, 8)
    with pytest.raises(ModelError, match="SAMUS takes no box prompts; it takes: point"):
        samus.decode(embedding, boxes=BOX)
    with pytest.raises(ModelError, match="SAMUS takes no mask prompts"):
        samus.decode(embedding, XY, LABELS, masks=torch.zeros(1, 1, 32, 32))
    with pytest.raises(ModelError, match="one mask per prompt"):
        samus.decode(embedding, XY, LABELS, multimask=True)
    with pytest.raises(ModelError, match=r"expected .* \[B, N, P, 2\]"):
        samus(torch.zeros(2, 1, 64, 64), XY, LABELS)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"point_coords": XY[0]}, r"point_coords of shape \[2, 2\]; expected \[N, P, 2\]"),
        ({"point_coords": XY.repeat(1, 1, 2)}, r"\[1, 2, 4\]; expected \[N, P, 2\]"),
        ({"point_labels": LABELS[0]}, r"point_labels of shape \[2\]; expected \[1, 2\]"),
        ({"point_labels": LABELS[:, :1]}, r"point_labels of shape \[1, 1\]; expected \[1, 2\]"),
        ({"boxes": BOX[0]}, r"boxes of shape \[4\]; expected \[N, 4\]"),
        ({"boxes": BOX[:, None]}, r"boxes of shape \[1, 1, 4\]; expected \[N, 4\]"),
        ({"masks": torch.zeros(1, 1, 64, 64)}, r"masks of .*; expected \[N, 1, 32, 32\]"),
        ({"masks": torch.zeros(1, 32, 32)}, r"masks of shape \[1, 32, 32\]; expected"),
        ({"embedding": torch.zeros(32, 8, 8)}, r"embedding of .*; expected \[N, 32, 8, 8\]"),
        ({"embedding": torch.zeros(1, 32, 16, 16)}, r"embedding of .*; expected \[N, 32, 8, 8\]"),
    ],
)
def test_shapes_are_told(
    given: dict[str, Tensor], says: str, sam: models.Sam, embedding: Tensor
) -> None:
    usual = {"embedding": embedding, "point_coords": XY, "point_labels": LABELS}
    with pytest.raises(ModelError, match=says):
        sam.decode(**{**usual, **given})


def test_samus_labels_of_another_shape(samus: models.Samus) -> None:
    x = torch.zeros(1, 1, 64, 64)
    for labels in (LABELS[:, :1], LABELS[0], LABELS[None]):
        with pytest.raises(ModelError, match=r"labels of shape .*; expected \[1, 2\]"):
            samus(x, XY, labels)
    with pytest.raises(ModelError, match=r"labels of shape \[1, 2\] for .*; expected \[1, 2, 2\]"):
        samus(x, XY[:, None].repeat(1, 2, 1, 1), LABELS)


def test_networks_of_one_channel() -> None:
    """Patch embeddings that were trained anew for grey images."""
    for config_type in (models.SamusConfig, models.AutosamusConfig, models.SamedConfig):
        model = models.build_model(models.tiny(config_type, in_channels=1))
        size = model.config.img_size
        assert model.encode(torch.zeros(1, 1, size, size)).shape == (1, 32, 8, 8)
        with pytest.raises(ModelError, match=rf"expected \[B, 1, {size}, {size}\]"):
            model.encode(torch.zeros(1, 3, size, size))


def test_prompts_that_do_not_fit_each_other(sam: models.Sam, embedding: Tensor) -> None:
    with pytest.raises(ModelError, match="one is missing"):
        sam.decode(embedding, XY)
    with pytest.raises(ModelError, match="different counts"):
        sam.decode(embedding, XY, LABELS, boxes=BOX.repeat(2, 1))
    with pytest.raises(ModelError, match="3 image embeddings and 2 prompts"):
        sam.decode(embedding.repeat(3, 1, 1, 1), boxes=BOX.repeat(2, 1))
