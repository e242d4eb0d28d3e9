"""What does not fit a family is refused before an engine starts, with what would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError, SourceError
from samedge.families import AUTOSAMUS, MEDSAM, MSA, MSA_3D, SAM, SAMED, SAMUS, Family
from samedge.prompts.file import parse_prompts
from samedge.prompts.plan import PromptPlan
from samedge.sources.opening import open_source
from samedge.stream.options import SegmentOptions as Options
from samedge.stream.options import check_options, check_source

POINT = PromptPlan([(5, 5)])
WHOLE = replace(MSA_3D, whole_volume=True)
FILE = PromptPlan(file=parse_prompts("frame,x,y\n0,1,1\n", "p.csv"))


def volume(folder: Path, depth: int) -> Path:
    np.save(folder / "v.npy", np.zeros((depth, 16, 16), np.uint8))
    return folder / "v.npy"


@pytest.mark.parametrize(
    ("family", "depth", "limit", "words"),
    [
        (MSA_3D, 8, None, ""),
        (MSA_3D, 10, 8, ""),
        (MSA_3D, 8, 100, ""),
        (WHOLE, 4, None, ""),
        (SAM, 7, 3, ""),
        (MSA_3D, 10, None, r"10 slices.*multiple of 4 \(--frames 8, or a volume padded to 12\)"),
        (MSA_3D, 3, None, r"multiple of 4 \(a volume padded to 4\)"),
        (MSA_3D, 8, 6, r"6 slices.*multiple of 4 \(--frames 4"),
        (WHOLE, 8, None, "v.npy has 8 slices; Medical SAM Adapter 3-D takes volumes of exactly 4"),
        (WHOLE, 4, 2, "takes all 4 slices at once; leave --frames out"),
    ],
)
def test_numbers_of_slices(
    tmp_path: Path, family: Family, depth: int, limit: int | None, words: str
) -> None:
    source, options = open_source(volume(tmp_path, depth)), Options(limit=limit)
    if not words:
        check_source(family, source, POINT, options)
        return
    with pytest.raises(SourceError, match=words):
        check_source(family, source, POINT, options)


@given(st.integers(1, 40), st.one_of(st.none(), st.integers(1, 40)), st.integers(2, 7))
def test_the_remedy_fits(tmp_path: Path, depth: int, limit: int | None, slices: int) -> None:
    """What the message proposes is accepted."""
    family, source = replace(MSA_3D, slices=slices), open_source(volume(tmp_path, depth))
    try:
        check_source(family, source, POINT, Options(limit=limit))
    except SourceError as error:
        words = str(error)
        if "--frames " in words:
            fits = int(words.partition("--frames ")[2].partition(",")[0])
            check_source(family, source, POINT, Options(limit=fits))
        padded = int(words.partition("padded to ")[2].rstrip(")"))
        check_source(family, open_source(volume(tmp_path, padded)), POINT, Options())


def test_only_stacks_have_slices(tmp_path: Path, video: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((16, 16), np.uint8))
    for path, words in ((tmp_path / "a.png", "a single image"), (video, "a video")):
        with pytest.raises(SourceError, match=f"takes 4 slices.*is {words}; give a NIfTI volume"):
            check_source(MSA_3D, open_source(path), POINT, Options())
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), np.zeros((16, 16), np.uint8))
    check_source(MSA_3D, open_source(folder), POINT, Options())


def test_prompts_outside_of_a_volume(tmp_path: Path) -> None:
    source = open_source(volume(tmp_path, 2))
    far = PromptPlan([(1, 1)], file=parse_prompts("frame,x,y\n1,16,3\n", "p.csv"))
    with pytest.raises(PromptError, match="outside the frame of 16 x 16 px"):
        check_source(SAM, source, far, Options())
    with pytest.raises(PromptError, match="no prompt for 1 of 2 frames"):
        check_source(SAM, source, FILE, Options())
    check_source(SAM, source, FILE, Options(limit=1))


@pytest.mark.parametrize(
    ("family", "plan", "options", "words"),
    [
        (
            SAMED,
            PromptPlan(),
            Options(multimask=True),
            "one mask per class; leave --multimask out",
        ),
        (MSA_3D, POINT, Options(crop=(0, 0, 9, 9)), "leave --crop out"),
        (AUTOSAMUS, PromptPlan(), Options(track=True), "there is no prompt to move"),
        (
            MEDSAM,
            PromptPlan(boxes=[(0, 0, 9, 9)]),
            Options(track=True),
            "only points are moved",
        ),
        (MSA_3D, POINT, Options(track=True), "prompts of 4 slices at once"),
        (replace(MSA, classes=("a", "b")), POINT, Options(track=True), "several structures"),
        (SAMUS, FILE, Options(track=True), "--prompts says where the prompts are"),
    ],
)
def test_options_that_mean_nothing(
    family: Family, plan: PromptPlan, options: Options, words: str
) -> None:
    with pytest.raises(PromptError, match=words):
        check_options(family, plan, options)


def test_options_that_do() -> None:
    check_options(SAM, POINT, Options(crop="auto", multimask=True, track=True))
    check_options(SAMED, PromptPlan(), Options(crop=(0, 0, 9, 9)))
