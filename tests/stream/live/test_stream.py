"""A live stream from the first frame to the last, as its user sees it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from samedge.errors import NotSupportedError, PromptError, SessionError
from samedge.stream.live.controls import Click, Drag, Hold, Points, Record, Remove, Rename
from samedge.stream.live.item import Status
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.states import Kind, State
from samedge.stream.live.stream import LiveStream
from tests.stream.live.parts import Collect, Model, Script, frame_of, number_of, picture

ALL = LiveSettings(every_frame=True, watchdog_s=20.0)


def pictures(count: int, pause: float = 0.0) -> list[Any]:
    return [
        step for i in range(count) for step in ((pause, picture(i)) if pause else (picture(i),))
    ]


def test_five_lines() -> None:
    with LiveStream(Model(), Script(pictures(5), live=False), ["center"], settings=ALL) as stream:
        found = [(item.number, item.frame.index, item.objects[0].area_px) for item in stream]
    assert [n for n, *_ in found] == list(range(len(found)))
    assert [index for _, index, _ in found][:5] == [0, 1, 2, 3, 4]
    assert all(area > 200 for *_, area in found)


def test_frame_and_mask_never_part_and_every_frame_is_accounted_for() -> None:
    sink, newest = Collect(), Collect(lambda _: time.sleep(0.01))
    newest.every_frame = False
    stream = LiveStream(
        Model(), Script(pictures(200, 0.001), live=False), ["center"], sinks=[sink, newest]
    )
    record = stream.run()
    for item in sink.items:
        (one,) = item.objects
        assert one.mask is not None
        want = item.frame.pixels > 127
        want[0] = False
        assert np.array_equal(one.mask != 0, want)
    counts = record.counts
    assert counts["captured"] == counts["accounted"] == 200
    assert counts["segmented"] + counts["replaced"] + counts["left"] == 200
    assert record.ended == "the source has ended"
    indices = [item.frame.index for item in sink.items if item.is_new]
    assert indices == sorted(set(indices))
    assert {number_of(i.frame.pixels) for i in sink.items} <= set(range(200))
    assert record.sinks[1]["dropped"] > 0
    for told in record.sinks:
        assert told["offered"] == told["written"] + told["dropped"]
    assert record.to_json()["counts"]["captured"] == 200


def test_the_newest_frame_wins_while_the_network_is_busy() -> None:
    started, go = threading.Event(), threading.Event()

    def busy(number: int) -> None:
        started.set()
        if number == 1:
            assert go.wait(20)

    steps = [picture(0), lambda: started.wait(20), *pictures(10)[1:], go.set, 0.3]
    sink = Collect()
    record = LiveStream(Model(busy), Script(steps, live=False), ["center"], sinks=[sink]).run()
    shown = [number_of(i.frame.pixels) for i in sink.items if i.is_new]
    assert shown == [0, 9]
    assert record.counts["replaced"] == 8


def test_stamps_of_the_source_go_through_unchanged_and_order_nothing() -> None:
    stamps = [5.0, 1e12, -3.0, 5.0, float("nan")]
    frames = [frame_of(picture(i), stamp_s=s) for i, s in enumerate(stamps)]
    sink = Collect()
    LiveStream(Model(), Script(frames, live=False), ["center"], sinks=[sink], settings=ALL).run()
    got = [i.frame.stamp_s for i in sink.items if i.is_new]
    assert np.array_equal(np.array(got, float), np.array(stamps), equal_nan=True)


def test_a_click_is_answered_on_the_next_frame_and_asked_of_every_one_after() -> None:
    model, sink = Model(), Collect()
    stream = LiveStream(model, Script(pictures(400, 0.005)), sinks=[sink]).start()
    waiting = sink.wait_for()
    assert waiting.states == {State.PROMPT}
    assert not waiting.objects
    stream.controls.send(Click(30.0, 20.0))
    stream.controls.send(Rename(1, "atrium"))
    found = sink.wait_for(lambda i: i.has_masks and i.objects[0].name == "atrium")
    assert found.objects[0].prompt == {"points": [[30.0, 20.0]], "labels": [1]}
    assert found.state is State.LIVE
    stream.controls.send(Click(5.0, 5.0, inside=False, object=1))
    more = sink.wait_for(lambda i: i.has_masks and len(i.objects[0].prompt["labels"]) == 2)
    assert more.objects[0].prompt["labels"] == [1, 0]
    stream.controls.send(Click(40.0, 20.0))
    two = sink.wait_for(lambda i: len(i.objects) == 2)
    assert [o.number for o in two.objects] == [1, 2]
    assert two.objects[0].colour != two.objects[1].colour
    stream.controls.send(Drag(1, 2, 30, 40, object=2))
    stream.controls.send(Remove(1))
    left = sink.wait_for(lambda i: len(i.objects) == 1, after=two)
    assert left.objects[0].number == 2
    stream.controls.send(Remove())
    sink.wait_for(lambda i: State.PROMPT in i.states, after=left)
    record = stream.finish()
    assert record.alarms["counts"].get("prompt refused", 0) == 1  # SAMUS takes no boxes


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (Click(64.0, 1.0), "outside the frame of 64 x 48"),
        (Click(1.0, 1.0, inside=False), "one inside it first"),
        (Click(1.0, 1.0, object=7), "no object 7"),
        (Remove(3), "no object 3"),
        (Rename(3, "x"), "no object 3"),
        (Drag(1, 1, 5, 5), "no box prompts"),
    ],
)
def test_what_does_not_fit_is_an_alarm_and_the_stream_goes_on(command: Any, text: str) -> None:
    sink = Collect()
    stream = LiveStream(Model(), Script(pictures(400, 0.005)), sinks=[sink]).start()
    stream.controls.send(command)
    item = sink.wait_for(lambda i: any(a.kind is Kind.PROMPT for a in i.alarms))
    assert text in item.alarms[0].message
    sink.wait_for(lambda i: i.is_new, after=item)
    stream.finish()


def test_all_points_at_once() -> None:
    sink = Collect()
    stream = LiveStream(Model(), Script(pictures(400, 0.005)), ["center"], sinks=[sink]).start()
    sink.wait_for(lambda i: i.has_masks)
    stream.controls.send(Points((((3.0, 4.0, True),), ((9.0, 9.0, True),)), ("left", "right")))
    item = sink.wait_for(lambda i: len(i.objects) == 2)
    assert [o.name for o in item.objects] == ["left", "right"]
    stream.finish()


def test_a_held_picture_stays_with_its_mask_and_still_answers_clicks() -> None:
    model, sink = Model(), Collect()
    settings = LiveSettings(expire_s=0.2)
    stream = LiveStream(
        model, Script(pictures(2000, 0.005)), ["center"], sinks=[sink], settings=settings
    ).start()
    sink.wait_for(lambda i: i.has_masks)
    stream.controls.send(Hold(True))
    held = sink.wait_for(lambda i: State.HELD in i.states)
    assert held.has_masks
    assert held.expires_s == float("inf")
    encoded = model.frames
    stream.controls.send(Click(9.0, 9.0))
    answer = sink.wait_for(lambda i: len(i.objects) == 2)
    assert not answer.is_new
    assert answer.frame is held.frame
    assert model.frames == encoded
    stream.controls.send(Hold(False))
    sink.wait_for(lambda i: i.is_new and i.states == {State.LIVE}, after=answer)
    record = stream.finish()
    assert record.counts["held"] > 0
    assert record.counts["captured"] == record.counts["accounted"]


def test_a_frozen_picture_is_encoded_once_and_its_mask_stays() -> None:
    model, sink = Model(), Collect()
    still = [
        s
        for i in range(60)
        for s in (0.01, frame_of(picture(1), stamp_s=float(i), captured_s=None))
    ]
    settings = LiveSettings(expire_s=0.2)
    stream = LiveStream(
        model, Script([picture(0), *still], live=False), ["center"], sinks=[sink], settings=settings
    )
    record = stream.run()
    frozen = [i for i in sink.items if State.FROZEN in i.states and i.is_new]
    assert len(frozen) > 30
    assert all(i.has_masks for i in frozen)
    assert model.frames <= 2
    assert record.counts["repeated"] >= len(frozen)
    assert not record.alarms["counts"]
    assert frozen[-1].frame.stamp_s == 59.0  # the newest one, with its own stamp


def test_the_same_buffer_again_is_a_fault() -> None:
    sink = Collect()
    again = frame_of(picture(1), stamp_s=7.0, captured_s=None)
    settings = LiveSettings(stall_s=0.1)
    stream = LiveStream(
        Model(),
        Script([s for _ in range(60) for s in (0.01, again)]),
        ["center"],
        sinks=[sink],
        settings=settings,
    ).start()
    item = sink.wait_for(lambda i: State.STALLED in i.states)
    assert item.state is State.STALLED
    record = stream.finish()
    assert record.alarms["counts"]["stalled source"] == 1


def test_another_size_asks_for_prompts_anew() -> None:
    sink = Collect()
    larger = [s for i in range(100) for s in (0.01, picture(i, 60, 80))]
    stream = LiveStream(
        Model(), Script([*pictures(5, 0.01), *larger]), ["center"], sinks=[sink]
    ).start()
    item = sink.wait_for(lambda i: i.frame.width == 80)
    assert State.PROMPT in item.states
    assert not item.objects
    stream.controls.send(Click(40.0, 30.0))
    sink.wait_for(lambda i: i.frame.width == 80 and i.has_masks)
    stream.finish()


def test_record_reaches_the_sinks() -> None:
    sink = Collect()
    stream = LiveStream(Model(), Script(pictures(400, 0.005)), sinks=[sink]).start()
    stream.controls.send(Record(True))
    sink.wait_for(lambda _: sink.records == [True])
    stream.finish()


def test_limits_of_frames_and_of_time() -> None:
    record = LiveStream(Model(), Script(pictures(50)), ["center"], settings=ALL, frames=7).run()
    assert record.counts["segmented"] == 7
    record = LiveStream(Model(), Script(pictures(5000, 0.005)), ["center"], duration_s=0.2).run()
    assert record.ended == "its time was over"


def test_a_family_with_classes_and_one_without_prompts() -> None:
    sink = Collect()
    LiveStream(
        Model(family="autosamus"), Script(pictures(5), live=False), sinks=[sink], settings=ALL
    ).run()
    assert all(i.has_masks for i in sink.items)
    model = Model()
    model.family = replace(model.family, slices=4)
    with pytest.raises(NotSupportedError, match="slices"):
        LiveStream(model, Script([]))


def test_wrong_use() -> None:
    with pytest.raises(PromptError, match="leave --track out"):
        LiveStream(Model(family="autosamus"), Script([]), track=True)
    with pytest.raises(SessionError, match="'auto' or"):
        LiveStream(Model(), Script([]), crop="all")
    with pytest.raises(SessionError, match="came with a session"):
        LiveStream(Model(), Script([]), threads=1)
    stream = LiveStream(Model(), Script(pictures(3), live=False))
    with pytest.raises(SessionError, match="not started"):
        _ = stream.record
    stream.run()
    with pytest.raises(SessionError, match="started already"):
        stream.start()


def test_tracked_objects_say_what_the_gate_said() -> None:
    model, sink = Model(), Collect()
    # The disc lies still, however many frames are dropped: each has another number.
    still = [step for i in range(4000) for step in (0.01, picture(i * 5 % 255))]
    stream = LiveStream(model, Script(still), ["center"], sinks=[sink], track=True).start()
    sink.wait_for(lambda i: i.has_masks and len(model.asked) > 3)
    model.score = 0.1
    doubtful = sink.wait_for(lambda i: State.DOUBTFUL in i.states)
    assert doubtful.objects[0].status is Status.DOUBTFUL
    assert not doubtful.label_map().any()
    assert doubtful.label_map(doubtful=True).any()
    lost = sink.wait_for(lambda i: State.LOST in i.states)
    assert lost.objects[0].mask is None
    assert "score" in lost.objects[0].reason
    assert any(a.kind is Kind.LOST for i in sink.items for a in i.alarms)
    model.score = 0.9
    sink.wait_for(lambda i: i.states == {State.LIVE}, after=lost)
    stream.finish()


def test_what_a_slow_sink_missed_is_told_with_the_next_frame() -> None:
    free = threading.Event()
    slow, quick = Collect(lambda _: free.wait(60)), Collect()
    slow.every_frame = False
    stream = LiveStream(Model(), Script(pictures(4000, 0.005)), sinks=[slow, quick]).start()
    stream.controls.send(Remove(3))
    stream.controls.send(Click(9.0, 9.0))
    told = quick.wait_for(lambda i: bool(i.alarms))
    quick.wait_for(lambda i: i.is_new, after=told)
    free.set()
    item = slow.wait_for(lambda i: bool(i.alarms))
    assert "no object 3" in item.alarms[0].message
    stream.finish()
    assert [c for i in slow.items for c in i.commands] == [Click(9.0, 9.0)]


def test_prompts_from_the_sources_other_side() -> None:
    """Slicer's points come through PLUS, with the frames."""
    source, sink = Script([]), Collect()

    def points() -> None:
        assert source.on_points is not None
        source.on_points((((9.0, 9.0, True),), ((20.0, 9.0, True),)), ("left", "right"))

    source._steps += [*pictures(5, 0.005), points, *pictures(2000, 0.005)]
    stream = LiveStream(Model(), source, sinks=[sink]).start()
    item = sink.wait_for(lambda i: len(i.objects) == 2)
    assert [o.name for o in item.objects] == ["left", "right"]
    stream.finish()
