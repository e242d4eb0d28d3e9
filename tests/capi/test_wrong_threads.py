"""Threads at one session, messages of each thread, and handles in great numbers."""

from __future__ import annotations

import ctypes
import threading
from ctypes import byref
from pathlib import Path

import pytest

from samedge.capi import library as binding
from samedge.capi import structs as s
from samedge.capi.library import Library
from samedge.capi.session import NativeModel, NativeSession
from tests.capi.calls import (
    BUNDLE,
    BUSY,
    HANDLE,
    Call,
    message,
)

pytestmark = pytest.mark.usefixtures("silent")


def test_two_threads_at_one_session(model: NativeModel, session: NativeSession) -> None:
    """One of them is served and right, the other is told and its buffers are as they were."""
    expected = Call()
    assert expected.segment(session) == s.OK
    statuses: list[set[int]] = [set(), set()]
    done = threading.Event()
    wrong: list[str] = []

    def work(number: int) -> None:
        for _ in range(3000):
            call = Call()
            status = call.segment(session)
            statuses[number].add(status)
            if status == s.OK:
                if call.arrays["masks"].tobytes() != expected.arrays["masks"].tobytes():
                    wrong.append("mask")
            elif not call.untouched():
                wrong.append("touched")
            elif "thread" not in message(model.library):
                wrong.append("message")
            if done.is_set():
                return
            if BUSY in statuses[0] | statuses[1] and s.OK in statuses[number]:
                done.set()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert statuses[0] | statuses[1] == {s.OK, BUSY}
    assert Call().segment(session) == s.OK


def test_destroyed_while_in_use(model: NativeModel) -> None:
    """It is freed between two calls or not at all."""
    library = model.library
    busy = False
    for _ in range(200):
        session = model.session()
        started, seen = threading.Event(), []

        def work(session: NativeSession, started: threading.Event, seen: list[int]) -> None:
            while True:
                call = Call()
                status = call.segment(session)
                started.set()
                seen.append(status)
                if status != s.OK:
                    return

        thread = threading.Thread(target=work, args=(session, started, seen))
        thread.start()
        started.wait()
        while (status := library.samedge_session_destroy(session.handle)) == BUSY:
            busy = True
        assert status == s.OK
        thread.join()
        assert seen[-1] in (HANDLE, BUSY)
        assert library.samedge_session_destroy(session.handle) == HANDLE
        if busy:
            break
    assert busy


def test_the_last_error_is_the_threads_own(library: Library) -> None:
    opened = ctypes.c_void_p()
    assert library.samedge_model_open(b"/nowhere/here", None, byref(opened)) == BUNDLE
    seen: list[bytes] = []

    def work() -> None:
        seen.append(library.samedge_last_error())
        library.samedge_model_close(12345)
        seen.append(library.samedge_last_error())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0] == b""
    assert b"model" in seen[1]
    message(library, "here")


def test_the_log_comes_from_every_thread(library: Library, tiny_bundle: Path) -> None:
    lines: list[tuple[int, int, str]] = []

    def logged(level: int, text: bytes, user: int | None) -> None:
        lines.append((threading.get_ident(), level, text.decode()))
        assert user == 4711

    callback = binding.LOG_CALLBACK(logged)
    library.check(library.samedge_set_log_callback(callback, 4711))
    try:
        threads = [
            threading.Thread(target=lambda: NativeModel(library, tiny_bundle, threads=1).close())
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        library.check(library.samedge_set_log_callback(binding.LOG_CALLBACK(), None))
    assert lines
    assert len({thread for thread, _, _ in lines}) == 3
    assert all(0 <= level <= 3 and text and "\n" not in text for _, level, text in lines)
    count = len(lines)
    NativeModel(library, tiny_bundle, threads=1).close()
    assert len(lines) == count


def test_a_hundred_thousand_handles(session: NativeSession) -> None:
    """None is given out twice, none is left, and memory does not grow."""
    library, handle, call = session.library, session.handle, Call()
    tracker, asked = ctypes.c_void_p(), byref(call.prompts)
    seen: set[int] = set()

    def round_of(count: int) -> None:
        for _ in range(count):
            library.samedge_tracker_create(handle, asked, None, byref(tracker))
            value = tracker.value
            assert value is not None
            assert library.samedge_tracker_destroy(tracker) == s.OK
            seen.add(value)

    round_of(1000)
    before = _resident()
    round_of(99_000)
    assert len(seen) == 100_000
    # The set of numbers itself takes some of it.
    assert _resident() - before < 40e6
    alive = []
    for _ in range(5000):
        library.check(library.samedge_tracker_create(handle, asked, None, byref(tracker)))
        alive.append(tracker.value)
    assert len(set(alive)) == 5000
    assert not seen & set(alive)
    for value in alive:
        assert library.samedge_tracker_destroy(value) == s.OK


def test_sessions_leave_nothing(model: NativeModel) -> None:
    for _ in range(20):
        model.session().close()
    before = _resident()
    for _ in range(200):
        model.session().close()
    assert _resident() - before < 20e6


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096.0
