"""SAM weights poured into a SAMUS model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from samedge import models, open_checkpoint
from samedge.checkpoint.pour import resize_image_table
from samedge.errors import CheckpointError
from samedge.geometry.filters import bilinear_matrix

StateDict = dict[str, Tensor]
Save = Callable[..., Path]


@pytest.mark.parametrize("order", [1, -1])
def test_sam_overrides_samus(
    order: int, samus_tensors: StateDict, sam_tensors: StateDict, saved: Save
) -> None:
    paths = [saved(samus_tensors, "samus.pth"), saved(sam_tensors, "sam.pth")][::order]
    checkpoint = open_checkpoint(*paths)
    assert checkpoint.family.name == "samus"
    assert len(checkpoint.sha256) == 2
    resized = 0
    for name, tensor in checkpoint.tensors.items():
        if name not in sam_tensors:
            assert torch.equal(tensor, samus_tensors[name]), name
        elif tensor.shape == sam_tensors[name].shape:
            assert torch.equal(tensor, sam_tensors[name]), name
        else:
            expected = bilinear_matrix(15, 31) @ sam_tensors[name].numpy()
            np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-5)
            resized += 1
    assert resized == 4  # two global blocks, height and width
    assert "4 relative-position tables" in checkpoint.describe()
    assert checkpoint.build().config == models.tiny_samus_config()


def test_resized_tables_keep_their_columns() -> None:
    table = torch.arange(127.0)[:, None] + torch.arange(4.0) * 1000
    small = resize_image_table(table, 63)
    assert torch.allclose(small - small[:, :1], torch.arange(4.0) * 1000, atol=1e-3)


def test_another_width_is_refused(samus_tensors: StateDict, saved: Save) -> None:
    sam = models.build_sam(models.tiny_sam_config(embed_dim=48, img_size=256)).state_dict()
    with pytest.raises(CheckpointError, match="expected two checkpoints with the same ViT size"):
        open_checkpoint(saved(samus_tensors, "samus.pth"), saved(sam, "sam.pth"))


def test_two_of_a_kind_do_not_combine(samus_tensors: StateDict, saved: Save) -> None:
    path = saved(samus_tensors, "samus.pth")
    with pytest.raises(CheckpointError, match=r"do not combine: samus.pth .*samus.pth"):
        open_checkpoint(path, path)
