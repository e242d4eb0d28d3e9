"""Volumes: stacks and slice by slice, their results as one, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from samedge.errors import FrameError, PromptError, SessionError
from samedge.families import MSA_3D, SAMED, SAMUS, Family
from samedge.progress import Step
from samedge.runtime.result import STAGES, Result
from samedge.runtime.volumes import check_depth, stacked, without_doubles
from tests.runtime.cases import LIMIT, SIZE, STACKS, Case, random_pixels

Cases = Callable[[str], Case]
POINT, OTHER = (10, 20), (33, 44)
BOX = [1, 2, 30, 40]

# Depths and results -------------------------------------------------------------------------------

CHUNKS = replace(MSA_3D, slices=4, whole_volume=False)
WHOLE = replace(MSA_3D, slices=4, whole_volume=True)


@pytest.mark.parametrize(("family", "depth"), [(CHUNKS, 4), (CHUNKS, 12), (WHOLE, 4), (SAMUS, 7)])
def test_depths_that_fit(family: Family, depth: int) -> None:
    check_depth(family, depth)


@pytest.mark.parametrize(
    ("family", "depth", "words"),
    [
        (CHUNKS, 6, "takes 4 at a time: give a multiple of that, for instance the first 4$"),
        (CHUNKS, 11, "the first 8$"),
        (CHUNKS, 3, "give a multiple of that$"),
        (WHOLE, 8, "was exported for 4: export the checkpoint again with --slices 8"),
        (WHOLE, 2, "--slices 2"),
    ],
)
def test_depths_that_do_not(family: Family, depth: int, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        check_depth(family, depth)


def result(objects: int, classes: int = 0, seed: int = 0) -> Result:
    """As a session answers: `classes` exclusive classes, or one mask per object."""
    rng = np.random.default_rng(seed)
    count = classes or objects
    index = rng.integers(0, classes, (20, 30)).astype(np.uint8) if classes else None
    masks = rng.integers(0, 2, (count, 20, 30), np.uint8)
    if index is not None:
        masks = np.asarray(index == np.arange(classes)[:, None, None], np.uint8)
    return Result(
        masks=masks,
        scores=rng.random(count, np.float32),
        low_res_logits=rng.standard_normal((count, 8, 8), np.float32),
        object_index=np.zeros(count, np.int64) if classes else np.arange(objects),
        timing_ms={"encode": 2.0, "total": 3.0},
        class_index=np.arange(classes),
        class_names=tuple("abcdefgh"[:classes]),
        class_map=index,
    )


@pytest.mark.parametrize("classes", [0, 5])
def test_results_become_a_volume(classes: int) -> None:
    slices = [result(3, classes, seed) for seed in range(4)]
    volume = stacked(slices)
    count = classes or 3
    assert volume.masks.shape == (count, 4, 20, 30)
    assert volume.masks.dtype == np.uint8
    assert volume.scores.shape == (count, 4)
    assert volume.low_res_logits.shape == (count, 4, 8, 8)
    assert (volume.timing_ms["encode"], volume.timing_ms["total"]) == (8.0, 12.0)
    assert tuple(volume.timing_ms) == STAGES
    assert volume.class_names == slices[0].class_names
    for at, one in enumerate(slices):
        np.testing.assert_array_equal(volume.masks[:, at], one.masks)
        np.testing.assert_array_equal(volume.scores[:, at], one.scores)
        if classes:
            np.testing.assert_array_equal(volume.class_map[at], one.class_map)
    assert (volume.class_map is None) == (not classes)


def test_masks_that_the_class_map_tells_are_not_kept() -> None:
    slices = [result(1, 5, seed) for seed in range(3)]
    lean = stacked([without_doubles(one) for one in slices])
    np.testing.assert_array_equal(lean.masks, stacked(slices).masks)
    assert not without_doubles(slices[0]).masks.size
    assert without_doubles(result(2)).masks.size


def test_slices_of_different_objects_are_no_volume() -> None:
    with pytest.raises(
        PromptError, match=r"different numbers of masks \(\[1, 2\]\).*segment_slices"
    ):
        stacked([result(1), result(2)])


# Sessions -----------------------------------------------------------------------------------------


def prompts_for(case: Case) -> list[dict[str, Any]]:
    """Another prompt for each slice that the model takes together."""
    return [case.prompts(seed) for seed in range(case.family.slices)]


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_segment_slices(cases: Cases, name: str, shape: tuple[int, ...]) -> None:
    """Every slice with its own prompt, against the eager model on the whole stack."""
    case = cases(name)
    stack = random_pixels(case.family.slices, *SIZE, *shape)
    prompts = prompts_for(case)
    results = case.session.segment_slices(stack, prompts)
    for index, (one, prompt) in enumerate(zip(results, prompts, strict=True)):
        case.compare(one, stack, index=index, **prompt)
    assert results[0].timing_ms["encode"] > 0
    assert all(one.timing_ms["encode"] == 0 for one in results[1:])


@pytest.mark.parametrize("name", STACKS)
def test_several_objects_in_a_slice(cases: Cases, name: str) -> None:
    case = cases(name)
    stack = random_pixels(case.family.slices, *SIZE)
    prompts: list[dict[str, Any]] = [{"points": [[POINT], [OTHER]], "labels": [[1], [0]]}]
    prompts += [case.prompts()] * (case.family.slices - 1)
    first, *_ = case.session.segment_slices(stack, prompts)
    assert first.object_index.tolist() == [0, 1]
    case.compare(first, stack, **prompts[0])


@pytest.mark.parametrize("name", STACKS)
def test_slices_of_16_bits_and_a_crop(cases: Cases, name: str) -> None:
    case = cases(name)
    stack = random_pixels(case.family.slices, *SIZE, dtype=np.uint16)
    prompts = [{"points": [(50, 40)], "labels": [1]}] * case.family.slices
    crop = (20, 10, 100, 70)
    for index, one in enumerate(case.session.segment_slices(stack, prompts, crop)):
        case.compare(one, stack, crop, index=index, **prompts[index])
        assert not one.masks[..., :10, :].any()


@pytest.mark.parametrize("name", ["samed", "medsam", "samus"])
def test_slices_of_a_model_of_images(cases: Cases, name: str) -> None:
    """One slice at a time."""
    case = cases(name)
    (one,) = case.session.segment_slices(random_pixels(1, *SIZE), [case.prompts()])
    case.compare(one, random_pixels(*SIZE), **case.prompts())
    with pytest.raises(FrameError, match="2 slices came; expected 1"):
        case.session.segment_slices(random_pixels(2, *SIZE), [case.prompts()])


def test_a_volume_in_groups(cases: Cases) -> None:
    """Groups do not see each other: a volume is what its groups are."""
    case = cases("volume")
    volume = random_pixels(6, *SIZE)
    seen: list[Step] = []
    points = [[(10 + i, 20)] for i in range(6)]
    found = case.session.segment_volume(volume, points, progress=seen.append)
    assert [(step.done, step.of) for step in seen] == [(2, 6), (4, 6), (6, 6)]
    assert found.masks.shape == (1, 6, *SIZE)
    for at in range(0, 6, 2):
        prompts = [{"points": p} for p in points[at : at + 2]]
        group = case.session.segment_slices(volume[at : at + 2], prompts)
        for i, one in enumerate(group):
            np.testing.assert_array_equal(found.low_res_logits[:, at + i], one.low_res_logits)
            np.testing.assert_array_equal(found.masks[:, at + i], one.masks)
            np.testing.assert_array_equal(found.scores[:, at + i], one.scores)


def test_a_whole_volume(cases: Cases) -> None:
    case = cases("whole")
    volume = random_pixels(3, *SIZE)
    found = case.session.segment_volume(volume, points=[POINT, OTHER], labels=[1, 0])
    prompt = {"points": [POINT, OTHER], "labels": [1, 0]}
    for index in range(3):
        logits, _ = case.eager(volume, index=index, **prompt)
        np.testing.assert_allclose(found.low_res_logits[:, index], logits, atol=LIMIT)
    for depth in (2, 4, 6):
        with pytest.raises(FrameError, match=f"--slices {depth}"):
            case.session.segment_volume(random_pixels(depth, *SIZE), points=[POINT])


def test_a_volume_slice_by_slice_with_classes(cases: Cases) -> None:
    case = cases("samed")
    volume = random_pixels(3, *SIZE, dtype=np.uint16)
    found = case.session.segment_volume(volume)
    assert found.class_map.shape == (3, *SIZE)
    assert found.class_names == case.family.classes == SAMED.classes[:4]
    assert found.masks.shape == (4, 3, *SIZE)
    assert found.scores.shape == (4, 3)
    for index, frame in enumerate(volume):
        one = case.session.segment(frame)
        np.testing.assert_array_equal(found.class_map[index], one.class_map)
        np.testing.assert_array_equal(found.masks[:, index], one.masks)


def test_a_volume_with_a_box_per_slice(cases: Cases) -> None:
    case = cases("medsam")
    volume = random_pixels(2, *SIZE, 3)
    boxes = [[1, 2, 30, 40], [50, 10, 110, 85]]
    found = case.session.segment_volume(volume, box=boxes)
    for index, box in enumerate(boxes):
        case.compare(case.session.segment(volume[index], box=box), volume[index], box=box)
        one = case.session.predict(box=box)
        np.testing.assert_array_equal(found.low_res_logits[:, index], one.low_res_logits)


def test_ragged_points_of_a_volume(cases: Cases) -> None:
    """Slices may have different numbers of points, not of objects."""
    case = cases("samus")
    volume = random_pixels(2, *SIZE)
    points = [[POINT], [POINT, OTHER]]
    found = case.session.segment_volume(volume, points)
    for index, own in enumerate(points):
        logits, _ = case.eager(volume[index], points=own, labels=[1] * len(own))
        np.testing.assert_allclose(found.low_res_logits[:, index], logits, atol=LIMIT)
    with pytest.raises(PromptError, match="different numbers of masks"):
        case.session.segment_volume(volume, [[[POINT], [OTHER]], [[POINT]]])


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (random_pixels(20, 30), r"as uint8 with shape \[20, 30\]; expected uint8 \[D, H, W\]"),
        (random_pixels(4, 40, 50, 2), r"shape \[4, 40, 50, 2\]"),
        (random_pixels(0, 40, 50), r"shape \[0, 40, 50"),
        (random_pixels(2, 40, 50, 3, dtype=np.uint16), r"as uint16 with shape \[2, 40, 50, 3\]"),
        (random_pixels(2, 40, 50).astype(np.float32), "the slices came as float32"),
        (np.full((2, 40, 50), np.nan), "NaN"),
        (random_pixels(2, 40, 50) > 3, "multiply it by 255"),
        (random_pixels(2, 40, 50).astype(np.int16) * 10, "window it"),
        (random_pixels(2, 40, 50).astype(np.int16), r"convert it: frame\.astype"),
        (random_pixels(2, 8, 50), "8 px"),
        (random_pixels(3, 40, 50), "takes 2 at a time"),
        ("volume.nii", "the slices came as a str"),
        ([[1, 2], [3]], "cannot be read as an array"),
    ],
)
def test_refused_volumes_say_what_to_do(cases: Cases, volume: Any, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        cases("volume").session.segment_volume(volume, points=[(1, 2)])


def test_a_family_that_rounds_says_nothing_of_16_bits(cases: Cases) -> None:
    session = cases("samus").session
    with pytest.raises(FrameError, match="window it") as caught:
        session.segment_volume(random_pixels(2, 40, 50, dtype=np.uint16), points=[(1, 2)])
    assert "or uint16" not in str(caught.value)
    with pytest.raises(FrameError, match="or uint16") as caught:
        cases("samed").session.segment_volume(random_pixels(2, 40, 50).astype(float))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, PromptError, "no prompt was given"),
        ({"points": [[(1, 2)]] * 3}, PromptError, "points for 3 slices came with a volume of 2"),
        ({"points": [(1, 2)], "labels": [1, 0]}, PromptError, r"labels of shape \[2\]"),
        ({"points": [(500, 2)]}, PromptError, "outside the frame"),
        ({"points": [(np.nan, 2)]}, PromptError, "NaN"),
        ({"box": BOX}, PromptError, "box prompt"),
        ({"labels": [1]}, PromptError, "labels came without points"),
        ({"points": [(1, 2)], "crop": (0, 0, 999, 40)}, FrameError, "crop"),
    ],
)
def test_refused_prompts_of_a_volume(
    cases: Cases, given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        cases("volume").session.segment_volume(random_pixels(2, 40, 50), **given)


@pytest.mark.parametrize("name", STACKS)
def test_frames_for_a_model_of_volumes(cases: Cases, name: str) -> None:
    session = cases(name).session
    for call in (session.set_frame, lambda frame: session.segment(frame, points=[(1, 2)])):
        with pytest.raises(FrameError, match=r"slices of a volume at once; call segment_volume"):
            call(random_pixels(*SIZE))
    slices = session.family.slices
    session.segment_slices(random_pixels(slices, *SIZE), [{"points": [POINT]}] * slices)
    with pytest.raises(SessionError, match="call segment_slices"):
        session.predict(points=[POINT])


def test_a_stack_that_fails_leaves_nothing_behind(cases: Cases) -> None:
    session = cases("volume").session
    prompts = [{"points": [POINT]}] * 2
    session.segment_slices(random_pixels(2, *SIZE), prompts)
    with pytest.raises(FrameError):
        session.segment_slices(random_pixels(3, *SIZE), prompts)
    with pytest.raises(SessionError, match="no frame"):
        session.embedding()
