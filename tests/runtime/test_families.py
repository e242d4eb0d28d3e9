"""Sessions on exported tiny models of every family against the eager model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.errors import FrameError, NotSupportedError, PromptError, SessionError
from samedge.geometry.mask_values import class_map
from samedge.progress import Step
from samedge.runtime import verify
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.parity.verify import verify_session
from samedge.runtime.session import Session
from tests.runtime.cases import CONFIGS, IMAGES, LIMIT, STACKS, Case, grey, random_pixels, rgb
from tests.runtime.watched import Watched

Cases = Callable[[str], Case]
CROP = (20, 10, 100, 70)
WITHOUT_PROMPTS = ["samed", "autosamus"]


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("frame", [grey(), rgb(), grey()[:40], grey().T])
def test_segment(cases: Cases, name: str, frame: Any) -> None:
    case = cases(name)
    prompts = case.prompts() if frame.shape[0] == 90 else {}
    if not prompts and case.family.prompts:
        prompts = {"points": [(12, 14)], "labels": [1]}
        if "point" not in case.family.prompts:
            prompts = {"box": [5, 6, 30, 31]}
    result = case.check(frame, **prompts)
    count = max(len(case.family.classes), 1)
    assert result.masks.shape == (count, *frame.shape[:2])
    assert result.scores.shape == (count,)


@pytest.mark.parametrize("name", IMAGES)
def test_a_crop(cases: Cases, name: str) -> None:
    case = cases(name)
    points = {"points": [(50, 40)], "labels": [1]} if "point" in case.family.prompts else {}
    box = {"box": [30, 20, 80, 60]} if "box" in case.family.prompts and not points else {}
    result = case.check(grey(), crop=CROP, **points, **box)
    outside = np.ones((90, 120), bool)
    outside[10:70, 20:100] = False
    foreground = result.masks[1:] if case.family.exclusive else result.masks
    assert not foreground[:, outside].any()
    if case.family.exclusive:
        assert result.masks[0, outside].all()
        assert not result.class_map[outside].any()


@pytest.mark.parametrize("name", IMAGES)
def test_one_frame_encoded_once(cases: Cases, name: str) -> None:
    """Prompts on a frame that is there already give what `segment` gives."""
    case = cases(name)
    watched = Watched(OPENVINO)
    with Session(case.bundle, watched, LoadOptions(cache=False), "test") as session:
        session.set_frame(rgb(3))
        for seed in (1, 2):
            prompts = case.prompts(seed)
            result = session.predict(**prompts)
            assert result.timing_ms["encode"] == 0
            case.compare(result, rgb(3), **prompts)
    assert [graph for graph, *_ in watched.runs].count("encoder") == 1


def test_several_boxes(cases: Cases) -> None:
    case = cases("medsam")
    boxes = [[10, 20, 90, 80], [5, 6, 70, 60], [0, 0, 120, 90]]
    result = case.check(rgb(), box=boxes)
    assert result.object_index.tolist() == [0, 1, 2]
    assert result.class_names == ()
    for box, logits in zip(boxes, result.low_res_logits, strict=True):
        alone = case.session.predict(box=box)
        np.testing.assert_allclose(alone.low_res_logits[0], logits, atol=1e-5)


@pytest.mark.parametrize("given", [{"points": [(1, 2)]}, {"mask": np.zeros((32, 32))}])
def test_boxes_only(cases: Cases, given: dict[str, Any]) -> None:
    case = cases("medsam")
    with pytest.raises(PromptError, match="it takes: box"):
        case.session.segment(rgb(), **given)
    with pytest.raises(PromptError, match="no prompt was given; MedSAM takes: box"):
        case.session.segment(rgb())
    with pytest.raises(PromptError, match="one mask per object"):
        case.session.segment(rgb(), box=[1, 2, 30, 40], multimask=True)


@pytest.mark.parametrize("name", WITHOUT_PROMPTS)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"points": [(1, 2)]}, "points prompt; it takes: none, and finds its objects by itself"),
        ({"box": [1, 2, 30, 40]}, "box prompt; it takes: none"),
        ({"mask": np.zeros((32, 32))}, "mask prompt; it takes: none"),
        ({"labels": [1]}, "labels came without points"),
    ],
)
def test_prompts_for_a_family_without(
    cases: Cases, name: str, given: dict[str, Any], words: str
) -> None:
    session = cases(name).session
    with pytest.raises(PromptError, match=words):
        session.segment(grey(), **given)
    assert session.predict().masks.shape[1:] == (90, 120)


def test_multimask_with_classes(cases: Cases) -> None:
    for name in ("samed", "structures"):
        with pytest.raises(PromptError, match="one mask per class"):
            cases(name).session.segment(grey(), multimask=True)
    with pytest.raises(PromptError, match="one mask per object"):
        cases("autosamus").session.segment(grey(), multimask=True)


@pytest.mark.parametrize("frame", [grey(1), rgb(2)])
def test_classes_agree(cases: Cases, frame: Any) -> None:
    """One answer in four forms: class map, masks, class numbers, names."""
    case = cases("samed")
    result = case.check(frame)
    classes = len(case.family.classes)
    assert result.class_names == case.family.classes
    assert result.class_names[0] == "background"
    assert result.class_index.tolist() == list(range(classes))
    assert result.object_index.tolist() == [0] * classes
    assert result.class_map.dtype == np.uint8
    assert result.class_map.shape == frame.shape[:2]
    for index, mask in zip(result.class_index, result.masks, strict=True):
        np.testing.assert_array_equal(mask, result.class_map == index)
    assert len(np.unique(result.class_map)) > 1
    _, values = case.eager(frame)
    near = np.sort(values, axis=0)
    sure = near[-1] - near[-2] > LIMIT
    np.testing.assert_array_equal(result.class_map[sure], class_map(values)[sure])


def test_structures_of_several_objects(cases: Cases) -> None:
    """Each object has a mask of each structure; a pixel may belong to both or none."""
    case = cases("structures")
    points, labels = [[(10, 20)], [(50, 60)], [(100, 30)]], [[1], [1], [0]]
    result = case.check(rgb(), points=points, labels=labels)
    assert result.class_map is None
    assert result.class_names == ("cup", "disc")
    assert result.object_index.tolist() == [0, 0, 1, 1, 2, 2]
    assert result.class_index.tolist() == [0, 1] * 3
    assert result.best(1) in (2, 3)
    overlap = result.masks.reshape(3, 2, 90, 120).sum(1)
    assert {0, 1, 2} == set(np.unique(overlap))


def test_objects_of_different_length_with_structures(cases: Cases) -> None:
    """Groups are put back in the objects' order, structures within each."""
    case = cases("structures")
    objects = [[(10, 20), (40, 50)], [(50, 60)], [(7, 8), (9, 10)]]
    together = case.session.segment(rgb(), points=objects)
    for i, points in enumerate(objects):
        logits, _ = case.eager(rgb(), points=points, labels=[1] * len(points))
        mine = together.object_index == i
        np.testing.assert_allclose(together.low_res_logits[mine], logits, atol=LIMIT)


def test_families_without_classes_have_class_zero(cases: Cases) -> None:
    result = cases("sam").session.segment(rgb(), points=[(9, 9)], multimask=True)
    assert result.class_index.tolist() == [0, 0, 0]
    assert result.class_names == ()
    assert result.class_map is None


def test_frames_of_16_bits(cases: Cases) -> None:
    """No bit of them is lost, and 65535 is as bright as 255."""
    case = cases("samed")
    deep = random_pixels(90, 120, dtype=np.uint16)
    case.check(deep)
    first = case.session.segment(deep).low_res_logits
    coarse = case.session.segment(deep & 0xFF00).low_res_logits
    assert (first != coarse).any()
    same = case.session.segment(grey().astype(np.uint16) * 257)
    shallow = case.session.segment(grey())
    np.testing.assert_allclose(same.low_res_logits, shallow.low_res_logits, atol=LIMIT)
    case.check(deep[:, :, None][..., 0], crop=CROP)


@pytest.mark.parametrize("name", ["sam", "medsam", "msa", "samus", "autosamus"])
def test_families_that_round_take_8_bits(cases: Cases, name: str) -> None:
    with pytest.raises(FrameError, match=r"came as uint16.*window it"):
        cases(name).session.set_frame(random_pixels(90, 120, dtype=np.uint16))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (random_pixels(90, 120, 3, dtype=np.uint16), "colours have 8 bits"),
        (grey().astype(np.float32), "convert it: frame.round"),
        (grey().astype(np.float32) / 255, r"0\.\.1|\* 255"),
        (np.full((90, 120), np.nan), "NaN"),
        (random_pixels(90, 120, 4), "drop the alpha channel"),
        (random_pixels(4, 90, 120, 3), "one frame at a time"),
        (random_pixels(90, 15), "at least 16|from 16"),
        (None, "NoneType"),
    ],
)
def test_bad_frames_of_a_deep_family(cases: Cases, frame: Any, words: str) -> None:
    session = cases("samed").session
    with pytest.raises(FrameError, match=words):
        session.segment(frame)
    with pytest.raises(SessionError, match="set_frame"):
        session.predict()


@pytest.mark.parametrize(
    "crop", [5, "abcd", (1, 2, 3), [[1, 2], [3, 4]], (0, 0, 30.5, 40), (0,) * 4]
)
def test_bad_crops(cases: Cases, crop: Any) -> None:
    with pytest.raises(FrameError, match="crop"):
        cases("samed").session.segment(grey(), crop=crop)


def test_crops_of_any_kind_of_whole_numbers(cases: Cases) -> None:
    session = cases("samed").session
    results = [session.segment(grey(), crop=crop) for crop in (CROP, list(CROP), np.array(CROP))]
    for result in results[1:]:
        np.testing.assert_array_equal(result.low_res_logits, results[0].low_res_logits)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_verify(cases: Cases, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32",))
    case = cases(name)
    (row,) = verify(case.bundle, threads=1, cache=False)
    assert row.passed, row
    assert row.margin > 1
    assert row.flipped_far == 0
    assert row.frames == len(case.bundle.selftest())
    assert 0 < row.max_logit_error < row.limit


@pytest.mark.parametrize("name", list(CONFIGS))
def test_verify_sees_one_wrong_answer(cases: Cases, name: str) -> None:
    """The masks of the last object (or slice, or class) alone, their logits, or their score."""
    case = cases(name)
    test = case.bundle.selftest()[-1]
    for field in ("masks", "low_res_logits", "scores"):
        wrong = getattr(test, field).copy()
        wrong[-1] = 1 - wrong[-1]
        row = verify_session(case.session, [replace(test, **{field: wrong})])
        assert not row.passed, field


@pytest.mark.parametrize("name", list(CONFIGS))
def test_describe_and_embedding(cases: Cases, name: str) -> None:
    case = cases(name)
    assert case.session.describe()["family"] == case.family.name
    if case.family.slices > 1:
        stack = random_pixels(case.family.slices, 40, 50)
        case.session.segment_slices(stack, [{"points": [(3, 4)]}] * case.family.slices)
    else:
        case.session.set_frame(grey())
    embedding = case.session.embedding()
    config = CONFIGS[name]
    assert embedding.shape == (case.family.slices, config.prompt_dim, config.grid, config.grid)
    embedding[:] = 0
    assert case.session.embedding().any()


@pytest.mark.parametrize("name", ["samed", "volume"])
def test_two_threads_at_once(cases: Cases, name: str) -> None:
    """The second is refused, whatever it calls; the first one's answer is right."""
    case = cases(name)
    stack = random_pixels(case.family.slices, 90, 120)
    prompts = [case.prompts(i) for i in range(case.family.slices)]
    entered, leave = threading.Event(), threading.Event()

    def wait(_graph: str) -> None:
        entered.set()
        assert leave.wait(20)

    session = Session(case.bundle, Watched(OPENVINO, wait), LoadOptions(cache=False), "test")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend(session.segment_slices(stack, prompts)))
    thread.start()
    assert entered.wait(20)
    calls = (
        lambda: session.segment_slices(stack, prompts),
        lambda: session.segment_volume(stack),
        lambda: session.segment(stack[0]),
        lambda: session.predict(),
        lambda: session.embedding(),
        lambda: session.close(),
    )
    try:
        for call in calls:
            with pytest.raises(SessionError, match="another thread"):
                call()
    finally:
        leave.set()
        thread.join(20)
        session.close()
    assert len(results) == case.family.slices
    frame = stack if case.family.slices > 1 else stack[0]
    for index, (result, prompt) in enumerate(zip(results, prompts, strict=True)):
        case.compare(result, frame, index=index, **prompt)


@pytest.mark.parametrize("name", ["samed", *STACKS])
def test_close_during_a_volume(cases: Cases, name: str) -> None:
    """Between two groups of slices; the rest is refused, and nothing hangs."""
    case = cases(name)
    session = samedge.load(case.bundle, precision="fp32", threads=1, cache=False)
    groups = 1 if case.family.whole_volume else 3
    volume = random_pixels(groups * case.family.slices, 90, 120)
    seen: list[int] = []

    def progress(step: Step, /) -> None:
        seen.append(step.done)
        session.close()

    if groups == 1:
        session.segment_volume(volume, **case.prompts(), progress=progress)
    else:
        with pytest.raises(SessionError, match="closed"):
            session.segment_volume(volume, **case.prompts(), progress=progress)
    assert seen == [case.family.slices]
    for call in (
        lambda: session.segment_volume(volume, **case.prompts()),
        lambda: session.predict(),
        lambda: session.embedding(),
    ):
        with pytest.raises(SessionError, match="closed"):
            call()
    session.close()


def test_gpu_volumes_name_the_way_over(cases: Cases) -> None:
    class Cuda:
        __cuda_array_interface__ = ((4, 20, 30), "|u1")

    with pytest.raises(NotSupportedError, match="asnumpy"):
        cases("volume").session.segment_volume(Cuda(), points=[(1, 2)])
