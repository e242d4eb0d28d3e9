"""What a file leaves open is asked, until the user says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samedge import models, open_checkpoint
from samedge.checkpoint import Checkpoint, checkpoint_from_tensors
from samedge.errors import CheckpointError
from tests.checkpoint.tiny_files import whole

Save = Callable[..., Path]


def asked(checkpoint: Checkpoint, words: str) -> bool:
    """Whether there is such a question, also in all that is printed and recorded."""
    found = [question for question in checkpoint.questions if words in question]
    assert all(f"QUESTION   {question}" in checkpoint.describe() for question in found)
    assert checkpoint.summary()["questions"] == list(checkpoint.questions)
    recorded: Any = checkpoint.build().source
    assert recorded.get("questions", []) == list(checkpoint.questions)
    return bool(found)


def test_is_it_medsam(saved: Save) -> None:
    path = saved(whole(models.tiny(models.SamConfig), 2))
    assert asked(open_checkpoint(path), "--family medsam")
    for family in ("sam", "medsam"):
        assert not open_checkpoint(path, family=family).questions
    tensors = open_checkpoint(path).tensors
    assert not checkpoint_from_tensors(tensors).questions  # of a live model, whose class tells


@pytest.mark.parametrize("tokens", [2, 3, 9])
@pytest.mark.parametrize("family", ["sam", "medsam"])
def test_what_are_its_masks(tokens: int, family: str, saved: Save) -> None:
    path = saved(whole(models.tiny(models.SamConfig, num_mask_tokens=tokens), 2))
    unsaid = open_checkpoint(path, family=family)
    assert asked(unsaid, f"SAM has 4 mask tokens, and it {tokens}")
    assert "answers" not in unsaid.describe()  # they are no three answers to one prompt
    named = open_checkpoint(path, family=family, classes=tokens)
    assert not named.questions
    assert named.family.mask_tokens() == tuple(range(tokens))
    assert not named.family.multi_masks
    first = open_checkpoint(path, family=family, classes=1)
    assert (first.questions, first.family.classes) == ((), ())
    names = open_checkpoint(path, family=family, classes=["cup", "disc"]).family.classes
    assert names == ("cup", "disc")
    with pytest.raises(CheckpointError, match=f"num_mask_tokens={tokens}"):
        open_checkpoint(path, family=family, classes=tokens + 1)


@pytest.mark.parametrize("tokens", [1, 4])
def test_numbers_of_masks_that_leave_nothing_open(tokens: int, saved: Save) -> None:
    path = saved(whole(models.tiny(models.SamConfig, num_mask_tokens=tokens), 2))
    assert not open_checkpoint(path, family="sam").questions


def test_samed_saved_whole_may_have_sams_own_decoder(saved: Save) -> None:
    path = saved(whole(models.tiny(models.SamedConfig, num_mask_tokens=4), 3))
    assert asked(open_checkpoint(path), "with the background and 3 classes")
    assert not open_checkpoint(path, classes=3).questions
    other = saved(whole(models.tiny(models.SamedConfig, num_mask_tokens=3), 3))
    assert not open_checkpoint(other).questions
