"""One message per frame: what is packed comes out again, and JSON takes all of it."""

from __future__ import annotations

import json
import math
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.sources.frame import Frame
from samedge.stream.live.item import LiveFrame, LiveObject, Status, Times
from samedge.stream.live.states import State
from samedge.stream.viewer.message import MOST_SIDE, Encoder, jpeg, state_names, unpack
from tests.stream.viewer.made import disc, found, frame_of, picture


def item_of(
    frame: Frame, objects: list[LiveObject] | None = None, expires_s: float = math.inf
) -> LiveFrame:
    states = frozenset({State.LOST, State.LATE})
    times = Times(captured=5.0)
    return LiveFrame(7, frame, True, tuple(objects or ()), states, (), times, expires_s, drops=3)


@given(
    st.integers(16, 70),
    st.integers(16, 70),
    st.lists(st.floats(0, 1), max_size=3),
    st.sampled_from(["grey", "colour", "deep"]),
    st.integers(0, 2**32 - 1),
)
def test_what_is_packed_comes_out_again(
    height: int, width: int, shares: list[float], kind: str, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    shape = (height, width, 3) if kind == "colour" else (height, width)
    pixels = np.full(shape, 20_000 if kind == "deep" else 78, np.uint16)
    frame = frame_of(pixels if kind == "deep" else pixels.astype(np.uint8))
    masks = [(generator.random((height, width)) < share).astype(np.uint8) for share in shares]
    objects = [found(frame, mask, k + 1) for k, mask in enumerate(masks)]
    objects.append(found(frame, None, 9, Status.LOST, reason="gone"))
    packed = Encoder().message(item_of(frame, objects), True, 6.0).packed(8.0, {"more": [1]})
    header, data, unpacked = unpack(packed)
    assert (header["number"], header["width"], header["height"]) == (7, width, height)
    assert header["states"] == ["lost", "late"]
    assert header["more"] == [1]
    for mask, again in zip(masks, unpacked, strict=False):
        assert again is not None
        np.testing.assert_array_equal(mask, again)
    assert unpacked[-1] is None
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape[:2] == (height, width)
    assert np.abs(decoded.astype(int) - 78).max() <= 1


def test_the_time_that_masks_have_left_is_that_of_the_sending() -> None:
    frame = frame_of(picture())
    message = Encoder().message(item_of(frame, expires_s=10.5), True, 6.0)
    left = [unpack(message.packed(now, {}))[0]["remaining_ms"] for now in (10.0, 10.25, 11.0)]
    assert left == [500.0, 250.0, 0.0]
    held = Encoder().message(item_of(frame), True, 6.0)
    assert unpack(held.packed(10.0, {}))[0]["remaining_ms"] is None


def test_colours_of_a_picture_stay() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[...] = (200, 20, 20)
    blue, green, back = cv2.imdecode(np.frombuffer(jpeg(red), np.uint8), cv2.IMREAD_COLOR)[16, 16]
    assert back > 190
    assert max(blue, green) < 40


def test_a_large_picture_is_scaled_down_and_its_masks_are_not() -> None:
    frame = frame_of(picture(1000, 4000))
    mask = disc(frame, 3000, 500, 100)
    packed = Encoder().message(item_of(frame, [found(frame, mask)]), True, 6.0).packed(6.0, {})
    header, data, (again,) = unpack(packed)
    assert (header["width"], header["height"]) == (4000, 1000)
    assert again is not None
    np.testing.assert_array_equal(again, mask)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape == (MOST_SIDE // 4, MOST_SIDE)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_unknown(bad: float) -> None:
    frame = frame_of(picture(), spacing_mm=(bad, 0.2))
    one = LiveObject(1, "a", (1, 2, 3), Status.FOUND, disc(frame, 50, 50, 9), bad, 9, bad)
    packed = Encoder().message(item_of(frame, [one]), True, 6.0).packed(6.0, {})
    (length,) = struct.unpack_from(">I", packed)
    text = packed[4 : 4 + length].decode()
    header = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert header["spacing_mm"] is None
    assert (header["objects"][0]["score"], header["objects"][0]["area_mm2"]) == (None, None)


def test_a_picture_that_comes_again_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, frame = Encoder(), frame_of(picture())
    first = encoder.message(item_of(frame), True, 6.0)
    monkeypatch.setattr(cv2, "imencode", lambda *_: pytest.fail("encoded again"))
    assert encoder.message(item_of(frame), False, 7.0).body == first.body


def test_states_come_by_urgency() -> None:
    assert state_names(frozenset({State.FROZEN, State.NO_SIGNAL})) == ["no signal", "frozen"]
    assert state_names(frozenset()) == ["live"]
