"""What goes wrong in a live stream: it goes on, or it ends with its error, and no mask is stale."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from samedge.errors import DeviceError, NonFiniteError, OutputError, SourceError
from samedge.stream.live import outlet
from samedge.stream.live.controls import Click
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.states import Kind, State
from samedge.stream.live.stream import LiveStream
from tests.stream.live.parts import Collect, Model, Script, frame_of, picture


def pictures(count: int, pause: float = 0.005) -> list[Any]:
    return [step for i in range(count) for step in (pause, picture(i))]


def test_a_source_that_dies_comes_back() -> None:
    source = Script(
        [*pictures(5), SourceError("unplugged"), 0.05, *pictures(5), "end", *pictures(5)]
    )
    sink = Collect()
    settings = LiveSettings(retry_s=0.01)
    stream = LiveStream(Model(), source, ["center"], sinks=[sink], settings=settings).start()
    sink.wait_for(lambda i: i.frame.index == 14)
    record = stream.finish()
    assert record.restarts >= 2
    assert record.alarms["counts"]["source failed"] >= 2
    assert "unplugged" in record.alarms["first"][0]["message"]
    assert record.counts["captured"] == record.counts["accounted"] == 15


def test_a_lost_source_is_given_up_when_that_was_asked() -> None:
    settings = LiveSettings(retry_s=0.01, retry_most_s=0.02, give_up_s=0.1)
    stream = LiveStream(Model(), Script(pictures(3)), ["center"], settings=settings)
    with pytest.raises(SourceError, match="script is over"):
        stream.run()
    assert stream.record.counts["captured"] == 3


def test_a_source_that_is_not_there_is_an_error_at_once() -> None:
    source = Script([SourceError("no such camera")])
    source.comes_later = False
    with pytest.raises(SourceError, match="no such camera"):
        LiveStream(Model(), source, ["center"]).run()


def test_no_signal_is_told_and_the_mask_goes_in_time() -> None:
    sink = Collect()
    settings = LiveSettings(signal_s=0.3, expire_s=0.15)
    stream = LiveStream(
        Model(), Script([*pictures(5), 30.0]), ["center"], sinks=[sink], settings=settings
    ).start()
    last = sink.wait_for(lambda i: i.frame.index == 4 and i.has_masks)
    gone = sink.wait_for(lambda i: not i.has_masks, after=last)
    assert gone.times.published - last.times.captured < 0.15 + 1.0  # a busy machine
    assert gone.frame is last.frame
    assert not gone.is_new
    signal = sink.wait_for(lambda i: State.NO_SIGNAL in i.states)
    assert not signal.has_masks
    assert signal.state is State.NO_SIGNAL
    record = stream.finish()
    assert record.alarms["counts"]["no signal"] == 1
    assert record.alarms["counts"]["expired mask"] == 1


def test_no_frame_at_all_is_no_signal_too() -> None:
    told = threading.Event()
    stream = LiveStream(
        Model(),
        Script([30.0]),
        ["center"],
        settings=LiveSettings(signal_s=0.05),
        on_alarm=lambda a: told.set() if a.kind is Kind.NO_SIGNAL else None,
    ).start()
    assert told.wait(20)
    assert State.NO_SIGNAL in stream.status.states
    stream.finish()


def test_a_mask_that_comes_too_late_is_not_shown() -> None:
    sink = Collect()
    model = Model(on_predict=lambda n: time.sleep(0.4) if n == 3 else None)
    settings = LiveSettings(deadline_s=0.1, expire_s=0.3)
    stream = LiveStream(
        model, Script(pictures(400)), ["center"], sinks=[sink], settings=settings
    ).start()
    late = sink.wait_for(lambda i: i.is_new and State.LATE in i.states)
    assert not late.has_masks
    for item in sink.items:  # nothing with masks was handed over after its time
        assert not item.has_masks or item.times.published < item.expires_s
    sink.wait_for(lambda i: i.states == {State.LIVE}, after=late)
    record = stream.finish()
    assert record.alarms["counts"]["late mask"] >= 1
    assert record.counts["late"] >= 1
    assert record.counts["expired"] >= 1


def test_an_inference_that_hangs_ends_the_stream() -> None:
    stuck = threading.Event()
    sink = Collect()
    model = Model(on_frame=lambda n: stuck.wait(60) if n == 3 else None)
    stream = LiveStream(
        model,
        Script(pictures(400)),
        ["center"],
        sinks=[sink],
        settings=LiveSettings(watchdog_s=0.3),
    )
    begin = time.monotonic()
    with pytest.raises(DeviceError, match=r"not come back for 0\.3 s"):
        stream.run()
    stuck.set()
    assert time.monotonic() - begin < 30
    assert isinstance(sink.closed[0], DeviceError)
    assert stream.record.alarms["counts"]["inference hangs"] == 1


def test_a_frame_that_the_model_fails_on_is_shown_without_a_mask() -> None:
    def fail(number: int) -> None:
        if number == 4:
            raise NonFiniteError("the network gave NaN")

    sink = Collect()
    stream = LiveStream(Model(fail), Script(pictures(400)), ["center"], sinks=[sink]).start()
    failed = sink.wait_for(lambda i: State.FAILED in i.states)
    assert not failed.has_masks
    sink.wait_for(lambda i: i.has_masks, after=failed)
    record = stream.finish()
    assert record.counts["failed"] == 1
    assert record.counts["captured"] == record.counts["accounted"]


def test_a_model_that_always_fails_ends_the_stream() -> None:
    def fail(_: int) -> None:
        raise DeviceError("the GPU is gone")

    stream = LiveStream(
        Model(fail), Script(pictures(400)), ["center"], settings=LiveSettings(failures=5)
    )
    with pytest.raises(DeviceError, match=r"5 frames one after the other.*GPU is gone"):
        stream.run()
    assert stream.record.counts["captured"] == stream.record.counts["accounted"]


def test_a_fault_of_ours_ends_the_stream_with_itself() -> None:
    def fault(number: int) -> None:
        if number == 3:
            raise ZeroDivisionError("a bug")

    stream = LiveStream(Model(fault), Script(pictures(400)), ["center"])
    with pytest.raises(ZeroDivisionError, match="a bug"):
        stream.run()
    assert stream.record.counts["captured"] == stream.record.counts["accounted"]


def test_a_sink_that_stalls_holds_nobody_up() -> None:
    free = threading.Event()
    slow, quick = Collect(lambda _: free.wait(60)), Collect()
    slow.name, slow.every_frame = "slow", False
    stream = LiveStream(Model(), Script(pictures(100)), ["center"], sinks=[slow, quick]).start()
    quick.wait_for(lambda i: i.frame.index > 60)
    assert len(slow.items) == 0
    free.set()
    slow.wait_for()
    record = stream.finish()
    told = {one["name"]: one for one in record.sinks}
    assert told["slow"]["dropped"] > 0
    assert told["slow"]["offered"] == told["slow"]["written"] + told["slow"]["dropped"]


def test_a_sink_that_fails_ends_alone_and_its_error_comes_at_the_end() -> None:
    def fail(item: Any) -> None:
        if item.frame.index >= 3:
            raise OutputError("the disk is full")

    bad, good = Collect(fail), Collect()
    stream = LiveStream(Model(), Script(pictures(400)), ["center"], sinks=[bad, good]).start()
    alarm = good.wait_for(lambda i: any(a.kind is Kind.SINK for a in i.alarms))
    good.wait_for(lambda i: i.is_new and i.has_masks, after=alarm)
    with pytest.raises(OutputError, match="disk is full"):
        stream.finish()
    assert len(bad.closed) == 1
    assert good.closed == [None]


def test_a_stream_whose_only_sink_fails_ends() -> None:
    def fail(_: Any) -> None:
        raise OutputError("the disk is full")

    stream = LiveStream(Model(), Script(pictures(4000)), ["center"], sinks=[Collect(fail)])
    with pytest.raises(OutputError, match="disk is full"):
        stream.run()


def test_a_sink_that_cannot_open_closes_the_others() -> None:
    class Bad(Collect):
        def open(self, about: Any) -> None:
            raise OutputError("the port is in use")

    good = Collect()
    source = Script(pictures(5))
    stream = LiveStream(Model(), source, ["center"], sinks=[good, Bad()])
    with pytest.raises(OutputError, match="port is in use"):
        stream.start()
    assert len(good.closed) == 1
    assert source.opened == 0


def test_a_recording_that_cannot_keep_up_says_so_and_the_stream_waits_for_none() -> None:
    free = threading.Event()
    slow = Collect(lambda _: free.wait(60))
    slow.every_frame, slow.backlog = True, 4
    quick = Collect()
    stream = LiveStream(Model(), Script(pictures(400)), ["center"], sinks=[slow, quick]).start()
    quick.wait_for(lambda i: any("cannot keep up" in a.message for a in i.alarms))
    free.set()
    record = stream.finish()
    assert record.sinks[0]["dropped"] > 0
    assert record.sinks[0]["written"] >= 4


def test_frames_that_the_network_refuses_are_counted() -> None:
    from samedge.errors import FrameError

    def refuse(number: int) -> None:
        if number == 2:
            raise FrameError("16 to 4096 px")

    sink = Collect()
    stream = LiveStream(Model(refuse), Script(pictures(400)), ["center"], sinks=[sink]).start()
    sink.wait_for(lambda i: i.has_masks and i.frame.index > 5)
    record = stream.finish()
    assert record.counts["refused"] == 1
    assert record.counts["captured"] == record.counts["accounted"]


def test_a_capture_time_from_the_future_does_not_freeze_the_stream() -> None:
    now = time.monotonic()
    frames = [frame_of(picture(i), captured_s=now + 1e6 * (i == 2)) for i in range(6)]
    sink = Collect()
    settings = LiveSettings(every_frame=True)
    LiveStream(
        Model(), Script(frames, live=False), ["center"], sinks=[sink], settings=settings
    ).run()
    assert [i.frame.index for i in sink.items if i.is_new] == list(range(6))
    assert all(i.frame.captured_s <= time.monotonic() for i in sink.items)


def test_channels_that_change_are_another_size() -> None:
    sink = Collect()
    colour = [s for i in range(100) for s in (0.01, np.repeat(picture(i)[..., None], 3, 2))]
    stream = LiveStream(Model(), Script([*pictures(5), *colour]), ["center"], sinks=[sink]).start()
    item = sink.wait_for(lambda i: i.frame.pixels.ndim == 3)
    assert State.PROMPT in item.states
    stream.controls.send(Click(30.0, 20.0))
    sink.wait_for(lambda i: i.has_masks, after=item)
    stream.finish()


def test_stopping_waits_for_no_one() -> None:
    source = Script([picture(0), 600.0])
    sink = Collect()
    stream = LiveStream(Model(), source, ["center"], sinks=[sink]).start()
    sink.wait_for(lambda i: i.has_masks)
    begin = time.monotonic()
    stream.finish()
    assert time.monotonic() - begin < 20
    assert sink.closed == [None]
    assert not [t for t in threading.enumerate() if t.name.startswith("samedge ")]


def test_a_source_that_waits_for_the_network_has_not_lost_its_signal() -> None:
    model = Model(on_frame=lambda _: time.sleep(0.15))
    settings = LiveSettings(every_frame=True, signal_s=0.1)
    source = Script([picture(i) for i in range(4)], live=False)
    record = LiveStream(model, source, ["center"], settings=settings).run()
    assert record.counts["segmented"] == 4
    assert not record.alarms["counts"]


def test_frames_that_wait_for_a_recording_take_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlet, "MOST_BYTES", 5 * picture(0).nbytes)
    free = threading.Event()
    slow, quick = Collect(lambda _: free.wait(60)), Collect()
    stream = LiveStream(Model(), Script(pictures(400)), ["center"], sinks=[slow, quick]).start()
    quick.wait_for(lambda i: any("cannot keep up" in a.message for a in i.alarms))
    free.set()
    record = stream.finish()
    told = record.sinks[0]
    assert told["offered"] == told["written"] + told["dropped"]
    assert told["dropped"] > 0
