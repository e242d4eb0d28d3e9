"""Images with labels: boxes from labels, Dice, pictures; and folders that hold something else."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.families import LITEMEDSAM
from samedge.stream.labelled import box_around, labelled_pairs, segment_labelled
from tests.sources.media import FakeSession


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three bright discs; the labels of the last two are half of them."""
    root = tmp_path / "data"
    for name in ("img", "label"):
        (root / name).mkdir(parents=True)
    for i in range(3):
        disc = np.zeros((64, 80), np.uint8)
        cv2.circle(disc, (30 + 4 * i, 30), 15, 255, -1)
        cv2.imwrite(str(root / "img" / f"h{i}.png"), disc // 2 + 100)
        if i:
            disc[:30] = 0
        cv2.imwrite(str(root / "label" / f"h{i}.png"), disc)
    cv2.imwrite(str(root / "img" / "unlabelled.png"), disc)
    return root


def test_every_image_is_prompted_by_its_label_and_scored(folder: Path, tmp_path: Path) -> None:
    session = FakeSession(family=LITEMEDSAM)
    rows = segment_labelled(session, folder, tmp_path)  # type: ignore[arg-type]
    assert [row.name for row in rows] == ["h0", "h1", "h2"]
    assert rows[0].dice == 1
    # The lower half, its middle row included, against the whole.
    assert all(0.65 < row.dice < 0.72 for row in rows[1:])
    assert [list(asked["box"][0]) for asked in session.asked] == [
        [15, 15, 45, 45],
        [19, 30, 49, 45],
        [23, 30, 53, 45],
    ]
    told = json.loads((tmp_path / "labelled.json").read_text())
    assert [row["dice"] for row in told["images"]] == [row.dice for row in rows]
    for name in ("labelled_contact.png", "h0_overlay.png", "h2_overlay.png"):
        assert cv2.imread(str(tmp_path / name)) is not None


def test_evenly_spaced(folder: Path) -> None:
    assert [image.stem for image, _ in labelled_pairs(folder, 2)] == ["h0", "h2"]
    assert len(labelled_pairs(folder, 9)) == 3


def test_the_box_holds_the_last_pixels() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:6] = True
    assert box_around(mask) == (2, 1, 5, 3)


def test_other_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected folders img and label"):
        labelled_pairs(tmp_path)
    session = FakeSession(family=LITEMEDSAM)
    cv2.imwrite(str(folder / "label" / "h1.png"), np.full((64, 81), 255, np.uint8))
    with pytest.raises(SourceError, match=r"h1\.png has 80 x 64 px, its label 81 x 64"):
        segment_labelled(session, folder, tmp_path)  # type: ignore[arg-type]
    cv2.imwrite(str(folder / "label" / "h0.png"), np.zeros((64, 80), np.uint8))
    with pytest.raises(SourceError, match=r"label of h0\.png is empty"):
        segment_labelled(session, folder, tmp_path)  # type: ignore[arg-type]
