"""Tracking in libsamedge, mask by mask, is that of `samedge.prompts`."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_float, c_int32, c_uint8, c_void_p
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge.capi.structs import VERDICTS, TrackerOptions
from samedge.prompts.gate import (
    GatedTracker,
    GateSettings,
    Question,
    border_share,
    centre,
    iou,
)
from samedge.prompts.tracking import interior_point

Mask = NDArray[np.uint8]
SIDE = 4  # of logits


@pytest.fixture(scope="module")
def inside(internals: ctypes.CDLL) -> ctypes.CDLL:
    """With the types of the functions that are called here."""
    for name, result, arguments in (
        ("interior_point", c_int32, [POINTER(c_uint8), c_int32, c_int32, POINTER(c_int32)]),
        ("iou", c_double, [POINTER(c_uint8), POINTER(c_uint8), c_int32, c_int32]),
        ("centre", None, [POINTER(c_uint8), c_int32, c_int32, POINTER(c_double)]),
        ("border_share", c_double, [POINTER(c_uint8), c_int32, c_int32, POINTER(c_int32)]),
        ("gate", c_void_p, [POINTER(c_double), POINTER(c_int32), c_int32, POINTER(c_double),
                            POINTER(TrackerOptions), c_int32]),
        ("gate_free", None, [c_void_p]),
        ("gate_update", c_int32, [c_void_p, POINTER(c_uint8), c_int32, c_int32, c_double,
                                  POINTER(c_float), c_double, POINTER(c_int32)]),
        ("gate_lose", None, [c_void_p, ctypes.c_char_p]),
        ("gate_reason", ctypes.c_char_p, [c_void_p]),
        ("gate_ask", c_int32, [c_void_p, POINTER(c_double), POINTER(c_int32), POINTER(c_int32),
                               POINTER(c_float)]),
    ):  # fmt: skip
        function = getattr(internals, f"internal_{name}")
        function.restype, function.argtypes = result, arguments
    return internals


def at(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(POINTER(kind))


def random_mask(rng: np.random.Generator, height: int, width: int) -> Mask:
    """Noise of any density, blobs, lines, or both."""
    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        mask |= (rng.random((height, width)) < rng.random() ** 2).astype(np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        middle = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (int(rng.integers(0, width // 2 + 1)), int(rng.integers(0, height // 2 + 1)))
        cv2.ellipse(mask, middle, axes, float(rng.integers(0, 180)), 0, 360, 1, -1)
    if rng.random() < 0.2:
        mask *= np.uint8(rng.integers(1, 256))  # anything that is not 0 counts
    return np.ascontiguousarray(mask)


def test_interior_points_of_thousands_of_masks(inside: ctypes.CDLL) -> None:
    rng, found = np.random.default_rng(1), np.zeros(2, np.int32)
    empty = 0
    for _ in range(3000):
        height, width = rng.integers(1, 48, 2)
        mask = random_mask(rng, int(height), int(width))
        there = inside.internal_interior_point(at(mask, c_uint8), height, width, at(found, c_int32))
        point = interior_point(mask)
        assert (tuple(found.tolist()) if there else None) == point, mask.tolist()
        empty += point is None
    assert 0 < empty < 1500


def test_interior_points_at_frame_size(inside: ctypes.CDLL) -> None:
    rng, found = np.random.default_rng(2), np.zeros(2, np.int32)
    whole = np.ones((611, 803), np.uint8)
    for mask in (whole, *(random_mask(rng, 480, 640) for _ in range(60))):
        height, width = mask.shape
        there = inside.internal_interior_point(at(mask, c_uint8), height, width, at(found, c_int32))
        assert (tuple(found.tolist()) if there else None) == interior_point(mask)


def test_what_is_measured_of_masks(inside: ctypes.CDLL) -> None:
    """To the last digit: the numbers behind it are whole."""
    rng, xy = np.random.default_rng(3), np.zeros(2)
    for _ in range(1500):
        height, width = (int(n) for n in rng.integers(1, 70, 2))
        one, other = random_mask(rng, height, width), random_mask(rng, height, width)
        ones = np.asarray(one != 0, np.uint8), np.asarray(other != 0, np.uint8)
        got = inside.internal_iou(at(one, c_uint8), at(other, c_uint8), height, width)
        assert got == iou(*ones)
        xs = sorted(rng.choice(width + 1, 2, replace=False).tolist())
        ys = sorted(rng.choice(height + 1, 2, replace=False).tolist())
        for area in ((0, 0, width, height), (xs[0], ys[0], xs[1], ys[1])):
            box = np.array(area, np.int32)
            got = inside.internal_border_share(at(one, c_uint8), height, width, at(box, c_int32))
            assert got == border_share(one, area), (one.tolist(), area)
        if one.any():
            inside.internal_centre(at(one, c_uint8), height, width, at(xy, c_double))
            assert tuple(xy.tolist()) == centre(ones[0])


class Pair:
    """Both trackers of one object; each step has to come to the same."""

    def __init__(
        self, inside: ctypes.CDLL, question: Question, settings: dict[str, Any], use_logits: bool
    ) -> None:
        self.inside = inside
        self.python = GatedTracker(question, GateSettings(**settings), use_logits)
        points = np.ascontiguousarray(question.points, np.float64)
        labels = np.ascontiguousarray(question.labels, np.int32)
        box = None if question.box is None else at(question.box, c_double)
        options = TrackerOptions(**settings)
        self.native = inside.internal_gate(
            at(points, c_double), at(labels, c_int32), len(labels), box, ctypes.byref(options),
            SIDE * SIDE if use_logits else 0,
        )  # fmt: skip
        self.number = 0
        self.check()

    def show(self, mask: Mask, score: float, time_s: float, area: tuple[int, ...]) -> str:
        self.number += 1
        logits = np.full((SIDE, SIDE), self.number, np.float32)
        expected = self.python.update(mask, score, logits, time_s, area)  # type: ignore[arg-type]
        got = self.inside.internal_gate_update(
            self.native, at(mask, c_uint8), *mask.shape, score, at(logits, c_float), time_s,
            at(np.array(area, np.int32), c_int32),
        )  # fmt: skip
        assert (VERDICTS[got], self.reason()) == (expected.value, self.python.reason)
        self.check()
        return expected.value

    def lose(self) -> None:
        self.python.lose("another one")
        self.inside.internal_gate_lose(self.native, b"another one")
        self.check()

    def reason(self) -> str:
        return str(self.inside.internal_gate_reason(self.native).decode())

    def check(self) -> None:
        points, labels = np.zeros((16, 2)), np.zeros(16, np.int32)
        box, logit = c_int32(), c_float()
        count = self.inside.internal_gate_ask(
            self.native, at(points, c_double), at(labels, c_int32), ctypes.byref(box),
            ctypes.byref(logit),
        )  # fmt: skip
        asked = self.python.ask()
        assert self.reason() == self.python.reason
        assert points[:count].tolist() == asked.points.tolist()
        assert labels[:count].tolist() == asked.labels.tolist()
        assert bool(box.value) == (asked.box is not None)
        assert logit.value == (-1 if asked.logits is None else asked.logits[0, 0])

    def close(self) -> None:
        self.inside.internal_gate_free(self.native)


def heart(time_s: float, rng: np.random.Generator, drawn: float) -> Mask:
    """A beating disc that sometimes is not there, or something else in its place."""
    mask = np.zeros((96, 128), np.uint8)
    if drawn < 0.06:
        return random_mask(rng, 96, 128)
    if drawn < 0.1:
        return mask
    beat = 16 + 4 * np.sin(7 * time_s)
    x, y = 60 + rng.integers(-5, 6), 48 + rng.integers(-5, 6)
    if drawn > 0.96:
        x += 40  # a neighbour
    cv2.ellipse(mask, (int(x), int(y)), (int(beat * 1.2), int(beat)), 20, 0, 360, 1, -1)
    return mask


NAMES = ["default", "strict", "steady", "short", "patient"]
STEPS_S = [1 / 60, 1 / 30, 1 / 12, 0.5, -0.2]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"score": 0.7, "score_drop": 0.05, "score_spread": 1.5, "area_jump": 1.3, "min_area": 400},
    {"overlap": 0.85, "steady": 0.9, "found_s": 0.15, "hold_s": 0.4},
    {"border": 0.05, "fresh_s": 0.05, "steady_s": 0.3},
    {"hold_s": 0.6, "steady": 0.9, "score": 0.1, "score_drop": 0.9, "score_spread": 2.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
@pytest.mark.parametrize("use_logits", [True, False])
def test_the_same_verdicts_reasons_and_questions(
    inside: ctypes.CDLL, settings: dict[str, Any], use_logits: bool
) -> None:
    seen: set[str] = set()
    reasons: set[str] = set()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        points = np.array([[60.0, 48.5], [5, 5], [100, 90]])[: 1 + seed % 3]
        labels = np.array([1, 0, 0])[: len(points)]
        box = np.array([40.0, 30, 80, 70]) if seed % 2 else None
        question = Question(points, labels, box)
        pair = Pair(inside, question, settings, use_logits)
        now, hidden = 100.0, 0
        for _ in range(250):
            now += float(rng.choice(STEPS_S, p=[0.2, 0.45, 0.3, 0.04, 0.01]))
            hidden = int(rng.integers(3, 40)) if rng.random() < 0.02 else max(hidden - 1, 0)
            mask = heart(now, rng, 0.08 if hidden else float(rng.random()))
            spread = 0.05 if rng.random() < 0.9 else 0.15
            score = float(np.float32(rng.normal(0.88, spread)))
            area = (0, 0, 128, 96) if seed % 2 else (30, 20, 128, 90)
            seen.add(pair.show(mask, score, now, area))
            reasons.add(pair.reason().split(" ")[0])
            if rng.random() < 0.003:
                pair.lose()
        pair.close()
    assert seen == set(VERDICTS), seen
    assert len(reasons) >= 5, reasons


@given(st.data())
def test_masks_and_sizes_of_all_kinds(inside: ctypes.CDLL, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pair = Pair(inside, Question(np.array([[3.0, 4]]), np.array([1])), {"min_area": 3}, True)
    now = 0.0
    size = (16, 20)
    for _ in range(30):
        if rng.random() < 0.1:
            size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
        mask = random_mask(rng, *size)
        now += float(rng.random() / 10)
        score = float(rng.choice([0.9, 0.6, np.nan, np.inf]))
        pair.show(mask, score, now, (0, 0, size[1], size[0]))
    pair.close()
