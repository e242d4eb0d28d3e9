"""Verification on the self-test frames: margins, and red where it must be red."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.bundle import SelfTest
from samedge.errors import BundleError
from samedge.runtime import load, verify
from samedge.runtime.parity.verify import BROKEN, compare
from samedge.runtime.result import Result
from samedge.runtime.session import Session
from samedge.tolerances import LIMITS


def selftest(result: Result, frame: Any, points: Any, **changes: Any) -> SelfTest:
    fields: dict[str, Any] = {
        "name": "first",
        "frame": frame,
        "points": np.asarray(points, float).reshape(1, -1, 2),
        "labels": np.ones((1, len(points)), int),
        "box": None,
        "low_res_logits": result.low_res_logits,
        "masks": result.masks,
        "scores": result.scores,
    }
    return SelfTest(**fields | changes)


def reference(bundle: Any, frame: Any, **prompts: Any) -> Result:
    with load(bundle, precision="fp32", threads=1) as session:
        return session.segment(frame, **prompts)


def test_a_good_engine_passes_with_its_margin(samus_toy: Any, frame: Any) -> None:
    result = reference(samus_toy, frame, points=[(3, 4)])
    samus_toy.tests = [selftest(result, frame, [(3, 4)])]
    (row,) = verify(samus_toy, backend="openvino", precision="fp32", threads=1)
    assert row.passed
    assert row.frames == 1
    assert (row.backend, row.precision) == ("openvino", "fp32")
    assert row.max_logit_error == 0
    assert row.dice == 1
    assert row.margin > 1
    assert row.limit == pytest.approx(LIMITS["fp32"].logits, rel=1e-3)


def test_auto_verifies_all_native_precisions(samus_toy: Any, frame: Any) -> None:
    from samedge.runtime.openvino.backend import OPENVINO

    result = reference(samus_toy, frame, points=[(3, 4)])
    samus_toy.tests = [selftest(result, frame, [(3, 4)])]
    rows = verify(samus_toy, threads=1)
    native = tuple(name for name in OPENVINO.precisions() if name != "int8")
    assert tuple(row.precision for row in rows) == native  # the toy has no int8 graph


def test_multimask_frames_are_asked_for_as_such(sam_toy: Any, frame: Any) -> None:
    result = reference(sam_toy, frame, points=[(3, 4)], multimask=True)
    sam_toy.tests = [selftest(result, frame, [(3, 4)], multimask=True)]
    (row,) = verify(sam_toy, precision="fp32", threads=1)
    assert row.passed


def test_a_frame_is_encoded_once_for_all_its_prompts(
    samus_toy: Any, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for those of another frame, nor when it comes again after one."""
    other = 255 - frame
    asked = [(frame, (3, 4)), (frame.copy(), (9, 9)), (other, (3, 4)), (frame, (5, 5))]
    samus_toy.tests = [
        selftest(reference(samus_toy, f, points=[point]), f, [point]) for f, point in asked
    ]
    encoded = []
    original = Session.set_frame
    monkeypatch.setattr(
        Session, "set_frame", lambda self, f: (encoded.append(f), original(self, f))
    )
    (row,) = verify(samus_toy, backend="openvino", precision="fp32", threads=1)
    assert row.passed
    assert row.frames == 4
    assert len(encoded) == 3


def pair(**changes: Any) -> tuple[Result, SelfTest]:
    masks = np.zeros((1, 10, 20), np.uint8)
    masks[:, :5] = 1
    logits = np.linspace(-2, 2, 16, dtype=np.float32).reshape(1, 4, 4)
    scores = np.array([0.5], np.float32)
    test = selftest(Result(masks, scores, logits, np.zeros(1, np.int64), {}), None, [(1, 2)])
    fields: dict[str, Any] = {"masks": masks, "scores": scores, "low_res_logits": logits}
    fields |= changes
    return Result(object_index=np.zeros(1, np.int64), timing_ms={}, **fields), test


def test_numbers_of_the_comparison() -> None:
    _, test = pair()
    masks = test.masks.copy()
    masks[0, 0, :2] = 0
    result, _ = pair(masks=masks, low_res_logits=test.low_res_logits + np.float32(0.01))
    row = compare([(result, test)], "openvino", "fp32")
    assert row.max_logit_error == pytest.approx(0.01, rel=1e-4)
    assert row.flipped == pytest.approx(2 / 200)
    assert row.dice == pytest.approx(2 * 98 / 198)
    assert row.rms_ratio == pytest.approx(0.01 / np.sqrt((test.low_res_logits**2).mean()), rel=1e-3)
    assert row.margin == pytest.approx(0.01, rel=1e-3)
    assert not row.passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_never_passes(value: float) -> None:
    _, test = pair()
    logits = test.low_res_logits.copy()
    logits[0, 0, 0] = value
    result, _ = pair(low_res_logits=logits)
    row = compare([(result, test)], "openvino", "bf16")
    assert not row.passed
    assert row.max_logit_error == BROKEN
    assert row.margin < 1


def test_the_worst_frame_counts() -> None:
    good = pair()
    bad = pair(low_res_logits=good[1].low_res_logits + np.float32(0.1))
    assert compare([good, bad], "openvino", "bf16").max_logit_error == pytest.approx(0.1, rel=1e-3)


def test_nothing_to_verify_is_an_error(samus_toy: Any) -> None:
    with pytest.raises(BundleError, match="no self-test frames"):
        verify(samus_toy, precision="fp32", threads=1)


def test_other_shapes_are_an_error() -> None:
    result, test = pair(scores=np.zeros(3, np.float32))
    with pytest.raises(BundleError, match="shape"):
        compare([(result, test)], "openvino", "fp32")


def test_pixels_far_from_the_threshold_must_not_flip() -> None:
    logits = np.full((1, 32, 32), 0.5, np.float32)
    masks = np.ones((1, 64, 64), np.uint8)
    wrong = masks.copy()
    wrong[0, 3, 3] = 0
    scores = np.zeros(1, np.float32)
    result = Result(wrong, scores, logits, np.zeros(1, np.int64), {})
    test = selftest(Result(masks, scores, logits, result.object_index, {}), None, [(1, 2)])
    distance = np.full(masks.shape, 0.5, np.float32)
    bf16 = compare([(result, test)], "openvino", "bf16", lambda _: distance)
    assert bf16.passed
    row = compare([(result, test)], "openvino", "fp32", lambda _: distance)
    assert row.flipped_far == 1
    assert not row.passed


@pytest.mark.parametrize(("size", "passes"), [(1.0, False), (10.0, True)])
def test_limits_grow_with_large_logits_only(size: float, passes: bool) -> None:
    """An error of 5e-4 is rounding among logits of 10, and a fault among logits of 1."""
    logits = np.full((1, 8, 8), size, np.float32)
    frame = np.zeros((16, 16), np.uint8)
    masks, scores = np.ones((1, 16, 16), np.uint8), np.zeros(1, np.float32)
    index = np.zeros(1, np.int64)
    expected = Result(masks, scores, logits, index, {})
    got = Result(masks, scores, logits + np.float32(5e-4), index, {})
    row = compare([(got, selftest(expected, frame, [(3, 4)]))], "openvino", "fp32")
    assert row.passed is passes
    assert row.limit == pytest.approx(LIMITS["fp32"].logits * size)


def square(side: int, hole: int = 0) -> Any:
    """A mask of `side` x `side` px in a frame of 200 x 200, with `hole` pixels missing."""
    mask = np.zeros((1, 200, 200), np.uint8)
    mask[0, 10 : 10 + side, 10 : 10 + side] = 1
    mask[0, 10, 10 : 10 + hole] = 0
    return mask


def int8_row(mask: Any, reference: Any) -> dict[str, Any]:
    logits, scores = np.full((1, 8, 8), 0.5, np.float32), np.zeros(1, np.float32)
    result = Result(mask, scores, logits, np.zeros(1, np.int64), {})
    expected = Result(reference, scores, logits, result.object_index, {})
    test = selftest(expected, np.zeros((200, 200), np.uint8), [(1, 2)])
    return compare([(result, test)], "openvino", "int8")


def test_int8_is_judged_by_dice_with_its_margin() -> None:
    row = int8_row(square(50, hole=30), square(50))
    lost = 1 - 2 * 2470 / (2470 + 2500)
    assert row.dice == pytest.approx(1 - lost)
    assert row.dice_limit == LIMITS["int8"].dice
    assert row.margin == pytest.approx((1 - LIMITS["int8"].dice) / lost)
    assert row.passed
    worse = square(50)
    worse[0, 10:14, 10:60] = 0  # 8 % of the mask: half a percent of the frame's pixels
    row = int8_row(worse, square(50))
    assert row.flipped < row.flipped_limit
    assert not row.passed


def test_a_small_mask_may_lose_more_dice() -> None:
    """One pixel less around it is more of a small mask than of a large one."""
    small, large = int8_row(square(8, hole=4), square(8)), int8_row(square(40), square(40))
    assert small.dice < small.dice_limit
    assert small.passed
    assert large.margin > small.margin > 1
    assert not int8_row(square(4), square(8)).passed


def test_an_empty_reference_has_no_dice_to_lose() -> None:
    empty = np.zeros((1, 200, 200), np.uint8)
    assert int8_row(empty, empty).passed
    assert int8_row(square(3), empty).passed  # nine pixels of forty thousand
    assert not int8_row(square(50), empty).passed  # flipped says so


def test_float_precisions_have_no_dice_limit() -> None:
    row = compare([pair()], "openvino", "fp32")
    assert row.dice_limit == 0
    assert row.margin > 1e6
