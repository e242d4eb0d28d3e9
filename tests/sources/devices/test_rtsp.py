"""RTSP, against a server of our own."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.sources.devices.rtsp import RtspSource
from samedge.sources.live_opening import open_live_source
from tests.sources.devices.rtsp_server import SIZE, RtspServer


def test_frames_come_with_their_times() -> None:
    with RtspServer() as server, RtspSource(f"rtsp://{server.address}") as source:
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 12:
                source.interrupt()
        assert len(frames) == 12
        assert {frame.pixels.shape for frame in frames} == {(*SIZE, 3)}
        assert [frame.index for frame in frames] == list(range(12))
        captured = [frame.captured_s or 0 for frame in frames]
        assert captured == sorted(captured)
        assert captured[-1] <= time.monotonic()
        steps = np.diff([frame.stamp_s or 0 for frame in frames])
        assert steps == pytest.approx(1 / 30, abs=1e-3)
        # The lower half is plain, and its level is the frame's number.
        found = [int(frame.pixels[70:, :, 0].mean()) for frame in frames]
        assert found[0] == pytest.approx(40, abs=3)  # where decoding can begin
        rising = np.diff(found) % 160
        assert rising == pytest.approx(20, abs=3)
        assert (source.name, source.stem) == (f"rtsp://{server.address}", "live")
        assert list(source) == []  # it was interrupted


def test_a_server_that_dies_and_comes_back() -> None:
    with RtspServer() as server, RtspSource(f"rtsp://{server.address}?timeout=1") as source:
        frames = iter(source)
        first = [next(frames) for _ in range(3)]
        server.die.set()
        with pytest.raises(SourceError, match="has ended the stream"):
            first.extend(frames)
        frames = iter(source)
        again = [next(frames) for _ in range(3)]
        assert again[0].index == first[-1].index + 1
        assert (again[0].time_s or 0) > (first[-1].time_s or 0)


def test_a_server_that_falls_silent() -> None:
    with RtspServer() as server, RtspSource(f"rtsp://{server.address}?timeout=0.5") as source:
        frames = iter(source)
        next(frames)
        server.flowing.clear()
        with pytest.raises(SourceError, match=r"has sent no picture for 0\.\d s"):
            list(frames)


def test_an_interrupt_ends_the_wait() -> None:
    """Also while it is connecting to somebody who does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        source = RtspSource(f"rtsp://127.0.0.1:{deaf.getsockname()[1]}/x")
        done = threading.Event()

        def read() -> None:
            assert list(source) == []
            done.set()

        threading.Thread(target=read, daemon=True).start()
        deaf.settimeout(5)
        with deaf.accept()[0]:
            source.interrupt()
            assert done.wait(30)


def test_passwords_are_never_shown(capfd: pytest.CaptureFixture[str]) -> None:
    secret = "hunter2"
    with RtspServer(f"someone:{secret}") as server:
        address = f"rtsp://someone:{secret}@{server.address}?token={secret}"
        with open_live_source(address) as source:
            frame = next(iter(source))
            said = f"{source.name}{source.stem}{source.describe()}{frame.source}{frame.name}"
            assert secret not in said
            assert "someone" not in said
        assert any(f"token={secret}" in line for line in server.requests)  # that is the server's
        with pytest.raises(SourceError, match="wants a name and a password") as refused:
            next(iter(RtspSource(f"rtsp://someone:{secret}x@{server.address}")))
        assert secret not in str(refused.value)
    for place in ("[::1]:99", "[::1]", "host:554", "host"):
        with RtspSource(f"RTSP://a:{secret}@{place}/x/y?z={secret}") as source:
            assert source.name == f"rtsp://{place.removesuffix(':554')}/x/y"
    for address in (
        f"rtsp://a:{secret}@:1x/",
        f"rtsp:{secret}",
        f"rtsp://a:{secret}@h/x?timeout=0",
    ):
        with pytest.raises(SourceError) as refused:
            open_live_source(address)
        assert secret not in str(refused.value)
    out, err = capfd.readouterr()
    assert secret not in out + err


def test_what_is_wrong_is_said() -> None:
    with RtspServer() as server:
        with pytest.raises(SourceError, match="no such stream"):
            next(iter(RtspSource(f"rtsp://127.0.0.1:{server.port}/other")))
        with pytest.raises(SourceError, match=r"transport is 'smoke'; expected tcp or udp"):
            RtspSource(f"rtsp://{server.address}?transport=smoke")
    with pytest.raises(SourceError, match="nobody listens"):
        next(iter(RtspSource(f"rtsp://{server.address}")))
    with pytest.raises(SourceError, match="does not take a rate"):
        open_live_source("rtsp://h/x", rate=5)
