"""What goes to the browsers of a stream, and what comes from them."""

from __future__ import annotations

import time

import pytest

from samedge.errors import OutputError, SourceError
from samedge.stream.live.controls import Click, Hold, Record
from samedge.stream.live.states import Alarm, Kind, State
from samedge.stream.viewer import client as client_module
from samedge.stream.viewer.message import unpack
from tests.stream.viewer.clients import (
    FRAME,
    WAIT_S,
    closed,
    drawn,
    frame,
    frame_count,
    joined,
    listen,
    server_of,
    until,
)
from tests.stream.viewer.made import disc, found, viewer


class TestStream:
    def test_frames_masks_and_states_come_in_one_message(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, [found(FRAME, disc(FRAME, 50, 60, 20))], [State.LATE], drops=4)
            while not isinstance(message := one.recv(timeout=WAIT_S), bytes):
                pass
            header, _, (mask,) = unpack(message)
            assert (header["states"], header["drops"], header["new"]) == (["late"], 4, True)
            assert mask is not None
            assert int(mask.sum()) == header["objects"][0]["area_px"]

    def test_latency_is_from_the_capture_to_the_word_that_it_was_drawn(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, age_s=0.5)
            drawn(one, frame(one)["number"])
            until(lambda: stream.sink.describe()["drawn"] == 1)
            stream.show(FRAME)
            ((number, latency),) = frame(one)["drawn"]
            assert number == 0
            assert 500 <= latency < 5000
            assert stream.sink.describe()["latency_ms"]["max"] == pytest.approx(latency, abs=0.1)

    def test_what_a_hidden_page_draws_and_what_comes_again_has_no_latency(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME)
            drawn(one, frame(one)["number"], hidden=True)
            stream.show(FRAME, is_new=False)
            drawn(one, frame(one)["number"])
            stream.show(FRAME)
            last = frame(one)
            assert last["drawn"] == []
            assert stream.sink.describe()["drawn"] == 0

    def test_one_that_draws_slowly_gets_the_newest(self) -> None:
        with viewer() as stream, joined(stream) as slow:
            listen(slow, "hello")
            for number in range(2):  # so many may be under way
                stream.show(FRAME)
                assert frame(slow)["number"] == number
            stream.show(FRAME)
            assert frame_count(slow) == 0
            for _ in range(7):
                stream.show(FRAME)
            until(lambda: stream.sink.describe()["skipped"] == 7)
            drawn(slow, 1)
            last = frame(slow)
            assert (last["number"], last["skipped"]) == (9, 7)

    def test_nothing_is_encoded_while_nobody_looks_and_newcomers_see_the_last_frame(self) -> None:
        with viewer() as stream:
            for _ in range(3):
                stream.show(FRAME, states=[State.FROZEN])
            assert stream.sink.describe()["frames"] == 0
            with joined(stream) as first:
                listen(first, "hello")
                stream.sink.idle(State.FROZEN)
                header = frame(first)
                assert (header["number"], header["new"]) == (2, False)
                assert header["states"] == ["frozen"]
                with joined(stream) as second:
                    listen(second, "hello")
                    stream.sink.idle(State.FROZEN)
                    assert frame(second)["number"] == 2
                assert frame_count(first) == 0

    def test_the_state_is_told_while_no_frame_comes(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.sink.idle(State.STARTING)
            assert listen(one, "status")["status"]["states"] == ["starting"]
            stream.sink.idle(State.NO_SIGNAL)
            told = listen(one, "status")
            assert told["status"]["states"] == ["no signal"]
            assert told["sent_ms"] >= told["status"]["at_ms"]

    def test_states_of_the_last_frame_hold_beside_that_of_the_stream(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, states=[State.LOST, State.FROZEN])
            stream.sink.idle(State.LOST)
            assert listen(one, "status")["status"]["states"] == ["lost", "frozen"]
            stream.sink.idle(State.NO_SIGNAL)
            assert listen(one, "status")["status"]["states"] == ["no signal"]

    def test_alarms_reach_those_who_are_there_and_those_who_come(self) -> None:
        alarm = Alarm(Kind.SCENE, "the scene is another one", time.monotonic())
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, alarms=[alarm])
            assert [a["message"] for a in frame(one)["alarms"]] == [alarm.message]
            with joined(stream) as two:
                listen(two, "hello")
                stream.show(FRAME)
                assert [a["kind"] for a in frame(two)["alarms"]] == ["scene changed"]
            assert frame(one)["alarms"] == []

    def test_commands_reach_the_stream(self) -> None:
        with viewer() as stream, joined(stream) as one, joined(stream) as two:
            one.send('{"command": "click", "x": 3.5, "y": 4}')
            one.send('{"command": "hold", "on": true}')
            assert stream.commands(2) == [Click(3.5, 4.0), Hold(True)]
            two.send('{"command": "record", "on": true}')
            assert stream.commands() == [Record(True)]
            stream.sink.idle(State.HELD)
            assert listen(one, "status")["status"]["recording"] is True
            assert stream.sink.describe()["commands"] == 3

    @pytest.mark.parametrize(
        ("error", "why"),
        [
            (None, ""),
            (SourceError("the cable is out"), "the cable is out"),
            (ValueError("x"), "ValueError"),
        ],
    )
    def test_the_end_is_told(self, error: Exception | None, why: str) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME)
            stream.sink.close(error)
            assert listen(one, "end")["end"] == {"why": why, "failed": error is not None}
            assert closed(one) == client_module.GOING_AWAY
        assert not server_of(stream)._thread.is_alive()

    def test_a_server_that_died_ends_the_sink(self) -> None:
        with viewer() as stream:
            server_of(stream).stop("", failed=False)
            with pytest.raises(OutputError, match="server ended"):
                stream.show(FRAME)
            with pytest.raises(OutputError, match="server ended"):
                stream.sink.idle(State.LIVE)
