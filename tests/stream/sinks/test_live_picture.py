"""Live frames as pictures."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.drawing.colours import ALERT, FAINT, PAPER
from samedge.stream.live.item import LiveObject, Status
from samedge.stream.live.states import State
from samedge.stream.sinks.live_picture import live_picture, masked, states_in_words
from tests.stream.sinks.live_items import disc, found, item, picture

SIZE = (240, 320)


def frame(index: int = 0) -> object:
    return item(index, pixels=picture(index, SIZE)).frame


def test_pictures_of_a_stream_have_one_size() -> None:
    one = frame()
    lost = LiveObject(9, "vein", (9, 9, 9), Status.LOST)
    many = tuple(found(one, n, disc(SIZE, 30 * n, 100, 9)) for n in range(1, 8))
    shapes = {
        live_picture(item(0, frame=one, objects=objects, states=frozenset(states)), 1.0).shape
        for objects in ((), many, (lost,))
        for states in ((), State, (State.LIVE,))
    }
    assert len(shapes) == 1
    (height, width, _) = shapes.pop()
    assert (height > SIZE[0], width) == (True, SIZE[1])


@pytest.mark.parametrize(
    ("states", "ground"),
    [
        ({State.LIVE}, PAPER),
        ({State.FROZEN}, FAINT),
        ({State.HELD, State.PROMPT}, FAINT),
        ({State.LOST}, ALERT),
        ({State.LATE, State.FROZEN}, ALERT),
        ({State.NO_SIGNAL}, ALERT),
        ({State.DOUBTFUL}, ALERT),
    ],
)
def test_nobody_overlooks_a_state(states: set[State], ground: tuple[int, int, int]) -> None:
    shown = live_picture(item(0, frame=frame(), states=frozenset(states)), 1.0)
    assert tuple(shown[SIZE[0] + 1, 1]) == ground


def test_all_states_are_said_the_most_urgent_first() -> None:
    states = frozenset({State.LATE, State.LOST, State.NO_SIGNAL})
    assert states_in_words(item(0, states=states)) == "NO SIGNAL, LOST, LATE"


def test_every_notice_is_there() -> None:
    """However long they are: what has no room beside another one would be left out."""
    given = item(0, frame=frame())
    plain = live_picture(given, 1.0)
    noticed = live_picture(given, 1.0, "Trained on simulated images: not for any use on patients.")
    added = noticed.shape[0] - plain.shape[0]
    assert added > 8
    last = -round(added * 1.3)  # the last line is the same
    assert (noticed[last:] == plain[last:]).all()
    assert (noticed[last:] > 100).any()


def test_a_doubtful_mask_is_not_filled() -> None:
    one = frame()
    mask = disc(SIZE, 100, 100, 40)
    sure = masked(item(0, frame=one, objects=(found(one, 1, mask),)))
    doubt = masked(item(0, frame=one, objects=(found(one, 1, mask, status=Status.DOUBTFUL),)))
    assert (doubt[90:110, 90:110] == one.pixels[90:110, 90:110]).all()  # type: ignore[attr-defined]
    assert (sure[90:110, 90:110] != one.pixels[90:110, 90:110]).any()  # type: ignore[attr-defined]
    assert (doubt != one.pixels).any()  # type: ignore[attr-defined]


def test_the_frame_itself_stays_as_it_is() -> None:
    given = item(0, frame=frame())
    before = given.frame.pixels.copy()
    live_picture(given, 1.0)
    assert (given.frame.pixels == before).all()
    small = item(0, objects=())
    assert (masked(small, 3)[1::3, 1::3] == small.frame.pixels).all()


def test_names_of_any_kind() -> None:
    one = frame()
    for name in ("Ventrikel ä", "心室", "x" * 200, "a\nb", "\udcff"):
        live_picture(item(0, frame=one, objects=(found(one, name=name),)), 1.0, name)
    assert np.isfinite(live_picture(item(0, frame=one), 1e9)).all()
