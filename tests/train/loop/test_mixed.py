"""Prompts of several kinds in one batch: each object is answered as it would be alone."""

from __future__ import annotations

import pytest
import torch

from samedge import models as m
from samedge.errors import ModelError
from samedge.train.data.items import PreparedItems
from samedge.train.data.preparation import MOST_CLICKS, Preparation
from samedge.train.loop.batches import collate
from samedge.train.loop.task import decode_batch_scored
from samedge.train.start import fresh_model
from tests.train.tiny_training import Discs

CONFIG = m.tiny(m.SamusConfig, prompts=("point", "box"))


def test_a_batch_is_decoded_by_numbers_of_prompts() -> None:
    items = PreparedItems(Discs(12), Preparation(CONFIG, "mixed"), seed=4)
    batch = collate([items.item(0, i) for i in range(12)])
    counts = batch["count"].tolist()
    assert {0, 1} < set(counts) <= set(range(MOST_CLICKS + 1))
    model = fresh_model(CONFIG, 1)
    with torch.no_grad():
        embedding = model.encode(batch["image"])
        logits, scores = decode_batch_scored(model, embedding, batch, "mixed")
        for i, count in enumerate(counts):
            prompts = {"boxes": batch["box"][i : i + 1]}
            if count:
                prompts = {"point_coords": batch["points"][i : i + 1, :count]}
                prompts["point_labels"] = batch["point_labels"][i : i + 1, :count]
            alone, score = model.decode(embedding[i : i + 1], **prompts)
            assert torch.allclose(logits[i], alone[0], atol=1e-5)
            assert torch.allclose(scores[i], score[0], atol=1e-5)


def test_families_without_boxes_get_clicks_only() -> None:
    items = PreparedItems(Discs(24), Preparation(m.tiny(m.SamusConfig), "mixed"), seed=4)
    counts = [int(items.item(0, i)["count"]) for i in range(24)]
    assert min(counts) >= 1
    assert max(counts) > 1


def test_clicks_that_are_meant_are_labelled_and_the_rest_is_not() -> None:
    items = PreparedItems(Discs(24), Preparation(CONFIG, "mixed"), seed=9)
    for i in range(24):
        item = items.item(3, i)
        count = int(item["count"])
        assert (item["point_labels"][:count] >= 0).all()
        assert (item["point_labels"][count:] == -1).all()
        mask = item["mask"]
        for (x, y), label in zip(item["points"][:count].int(), item["point_labels"], strict=False):
            assert mask[y, x] == label


def test_prompts_of_a_config_are_points_and_boxes() -> None:
    assert CONFIG.family.prompts == ("point", "box")
    assert m.tiny(m.SamusConfig).family.prompts == ("point",)
    for wrong in ((), ("mask",), ("box", "box")):
        with pytest.raises(ModelError, match="prompts are point or box or both"):
            m.tiny(m.SamusConfig, prompts=wrong)
