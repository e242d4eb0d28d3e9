"""Wrong use is a status and a message: no crash, no half-written buffer, no earlier frame's mask.

Handles, pointers, structs and their sizes, and the order of calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref
from pathlib import Path
from typing import Any

import pytest

from samedge.capi import library as binding
from samedge.capi import structs as s
from samedge.capi.library import Library
from samedge.capi.session import NativeModel, NativeSession
from tests.capi.calls import (
    ABI,
    ARGUMENT,
    BUFFER,
    BUNDLE,
    HANDLE,
    HEIGHT,
    HUGE,
    NOT_SUPPORTED,
    PROMPT,
    STATE,
    WIDTH,
    Call,
    message,
    no_answer,
    picture,
)

pytestmark = pytest.mark.usefixtures("silent")


class Right:
    def __init__(self) -> None:
        self.call = Call()
        self.out = ctypes.c_void_p()
        self.text = ctypes.c_char_p()
        self.x, self.y = ctypes.c_double(), ctypes.c_double()
        self.floats = (ctypes.c_float * 4096)()
        self.verdicts = (ctypes.c_int32 * 4)()

    def arguments(self, name: str) -> tuple[Any, ...]:
        call = self.call
        prompts = (ctypes.POINTER(s.Prompts) * 1)(ctypes.pointer(call.prompts))
        results = (ctypes.POINTER(s.Result) * 1)(ctypes.pointer(call.result))
        frame, asked, result = byref(call.frame), byref(call.prompts), byref(call.result)
        return {
            "samedge_model_close": (),
            "samedge_model_get_info": (byref(s.ModelInfo()),),
            "samedge_class_name": (0, byref(self.text)),
            "samedge_self_test": (byref(s.SelfTestReport()),),
            "samedge_session_create": (byref(self.out),),
            "samedge_session_destroy": (),
            "samedge_set_frame": (frame,),
            "samedge_predict": (asked, result),
            "samedge_segment": (frame, asked, result),
            "samedge_segment_slices": (frame, prompts, results),
            "samedge_get_embedding": (self.floats, 4096),
            "samedge_get_contours": (0, byref(s.Contours())),
            "samedge_get_timing": (byref(s.Timing()),),
            "samedge_get_notes": (byref(self.text),),
            "samedge_tracker_create": (asked, None, byref(self.out)),
            "samedge_tracker_destroy": (),
            "samedge_track": (frame, 1.0, result, self.verdicts, 4),
            "samedge_tracker_lose": (),
            "samedge_tracker_reason": (0, byref(self.text)),
            "samedge_tracker_point": (0, byref(self.x), byref(self.y)),
        }[name]


OF_MODELS = ("model_close", "model_get_info", "class_name", "self_test", "session_create")
OF_TRACKERS = ("tracker_destroy", "track", "tracker_lose", "tracker_reason", "tracker_point")


def kind_of(name: str) -> str:
    """The handle that a function takes."""
    short = name.removeprefix("samedge_")
    return "model" if short in OF_MODELS else "tracker" if short in OF_TRACKERS else "session"


TAKES_HANDLE = [
    name
    for name, (_, arguments) in binding._SIGNATURES.items()
    if arguments and arguments[0] is ctypes.c_void_p
]


@pytest.fixture(scope="module")
def freed(model: NativeModel, tiny_bundle: Path) -> dict[str, int]:
    """Handles that were good once, of each kind."""
    library, call = model.library, Call()
    other = NativeModel(library, tiny_bundle, threads=1)
    session = other.session()
    tracker = ctypes.c_void_p()
    library.check(
        library.samedge_tracker_create(session.handle, byref(call.prompts), None, byref(tracker))
    )
    values = {
        "model": other.handle.value,
        "session": session.handle.value,
        "tracker": tracker.value,
    }
    library.check(library.samedge_tracker_destroy(tracker))
    session.close()
    other.close()
    return values


@pytest.mark.parametrize("name", TAKES_HANDLE)
def test_handles(name: str, model: NativeModel, session: NativeSession, freed: Any) -> None:
    library, right = model.library, Right()
    short, kind = name.removeprefix("samedge_"), kind_of(name)
    wrong = {
        "null": None,
        "freed": freed[kind],
        "memory": right.call.pixels.ctypes.data,
        "small": 1,
        "ones": 2**64 - 1,
        "another kind": session.handle.value if kind != "session" else model.handle.value,
        "another generation": freed[kind] ^ 1 << 30,
        "another place": freed[kind] ^ 1 << 12,
    }
    for what, handle in wrong.items():
        status = getattr(library, name)(handle, *right.arguments(name))
        harmless = what == "null" and short in ("model_close", "session_destroy", "tracker_destroy")
        assert status == (s.OK if harmless else HANDLE), what
        if not harmless:
            message(library, kind)
    assert right.call.untouched()
    assert session.segment(picture(), points=[(20, 15)]).masks.shape == (1, HEIGHT, WIDTH)


@pytest.mark.parametrize("name", sorted(binding._SIGNATURES))
def test_null_pointers(name: str, model: NativeModel, session: NativeSession) -> None:
    """Every pointer in turn is NULL: an error where it is needed, and no crash anywhere."""
    library, right = model.library, Right()
    optional = {
        "samedge_self_test": {1},
        "samedge_predict": set(),  # of a model without prompts
        "samedge_tracker_create": {2},
        "samedge_set_log_callback": {0, 1},
    }
    types = binding._SIGNATURES[name][1]
    tracker = ctypes.c_void_p()
    call = Call()
    library.check(
        library.samedge_tracker_create(session.handle, byref(call.prompts), None, byref(tracker))
    )
    assert call.segment(session) == s.OK
    given: list[Any]
    if name in TAKES_HANDLE:
        short = name.removeprefix("samedge_")
        handle = (
            model.handle
            if short in OF_MODELS
            else tracker
            if short in OF_TRACKERS
            else session.handle
        )
        given = [handle, *right.arguments(name)]
    else:
        given = {
            "samedge_model_options_default": [byref(s.ModelOptions()), 40],
            "samedge_tracker_options_default": [byref(s.TrackerOptions()), 96],
            "samedge_model_open": [b"/nowhere", None, byref(right.out)],
        }.get(name, [])
    for at, kind in enumerate(types):
        pointer = hasattr(kind, "contents") or kind is ctypes.c_char_p
        if not pointer or at >= len(given) or at in optional.get(name, ()):
            continue
        spoilt = [*given]
        spoilt[at] = None
        status = getattr(library, name)(*spoilt)
        if name == "samedge_model_open" and at == 1:
            assert status == BUNDLE  # NULL is the defaults
            continue
        assert status in (ARGUMENT, PROMPT), (at, status)
        message(library)
    assert right.call.untouched()
    library.check(library.samedge_tracker_destroy(tracker))


class Sized:
    """A struct with room for more than this library knows."""

    def __init__(self, struct: s.Sized, size: int, tail: int = 0) -> None:
        self.memory = ctypes.create_string_buffer(max(ctypes.sizeof(struct), min(size, 4096)))
        struct.struct_size = size
        ctypes.memmove(self.memory, byref(struct), ctypes.sizeof(struct))
        if tail:
            self.memory[ctypes.sizeof(struct) + 3] = tail
        self.pointer = ctypes.cast(self.memory, ctypes.POINTER(type(struct)))


STRUCT_OF = {
    "ModelInfo": "samedge_model_get_info",
    "SelfTestReport": "samedge_self_test",
    "Frame": "samedge_segment",
    "Prompts": "samedge_segment",
    "Result": "samedge_segment",
    "Contours": "samedge_get_contours",
    "Timing": "samedge_get_timing",
    "ModelOptions": "samedge_model_open",
    "TrackerOptions": "samedge_tracker_create",
}


def with_struct(
    kind: str, model: NativeModel, session: NativeSession, bundle: Path, call: Call
) -> tuple[s.Sized, Callable[[Any], int]]:
    """A good struct, and the call that takes it."""
    library, handle = model.library, session.handle
    frame, prompts, result = byref(call.frame), byref(call.prompts), byref(call.result)
    opened, path = ctypes.c_void_p(), str(bundle).encode()

    def open_and_close(options: Any) -> int:
        status = library.samedge_model_open(path, options, byref(opened))
        library.samedge_model_close(opened)
        return status

    def track(options: Any) -> int:
        status = library.samedge_tracker_create(handle, prompts, options, byref(opened))
        library.samedge_tracker_destroy(opened)
        return status

    return {
        "ModelInfo": (s.ModelInfo(), lambda p: library.samedge_model_get_info(model.handle, p)),
        "SelfTestReport": (
            s.SelfTestReport(),
            lambda p: library.samedge_self_test(model.handle, p),
        ),
        "Frame": (call.frame, lambda p: library.samedge_segment(handle, p, prompts, result)),
        "Prompts": (call.prompts, lambda p: library.samedge_segment(handle, frame, p, result)),
        "Result": (call.result, lambda p: library.samedge_segment(handle, frame, prompts, p)),
        "Contours": (s.Contours(), lambda p: library.samedge_get_contours(handle, 0, p)),
        "Timing": (s.Timing(), lambda p: library.samedge_get_timing(handle, p)),
        "ModelOptions": (s.ModelOptions(threads=1), open_and_close),
        "TrackerOptions": (s.TrackerOptions(), track),
    }[kind]


@pytest.mark.parametrize("kind", sorted(STRUCT_OF))
def test_struct_sizes(
    kind: str, model: NativeModel, session: NativeSession, tiny_bundle: Path
) -> None:
    library, call = model.library, Call()
    assert call.segment(session) == s.OK
    call = Call()
    struct, work = with_struct(kind, model, session, tiny_bundle, call)
    full = ctypes.sizeof(struct)
    for size in (0, 1, 4, full - 1, full - 8, 65537, 2**32 - 1):
        assert work(Sized(struct, size).pointer) == ARGUMENT, size
        message(library, "struct_size", str(size), str(full))
        if kind in ("Frame", "Prompts", "Result"):
            assert call.untouched()
            no_answer(session)
    assert Call().segment(session) == s.OK
    assert work(Sized(struct, full + 24, tail=1).pointer) == ABI
    message(library, "newer")
    assert Call().segment(session) == s.OK
    assert work(Sized(struct, full + 24).pointer) == s.OK


@pytest.mark.parametrize("kind", ["ModelOptions", "TrackerOptions"])
def test_defaults(kind: str, library: Library) -> None:
    struct = getattr(s, kind)
    function = {
        "ModelOptions": library.samedge_model_options_default,
        "TrackerOptions": library.samedge_tracker_options_default,
    }[kind]
    memory = ctypes.create_string_buffer(b"\xff" * 4096, 4096)
    pointer, full = ctypes.cast(memory, ctypes.POINTER(struct)), ctypes.sizeof(struct)
    for size in (0, 4, full - 1, 2**63):
        assert function(pointer, size) == ARGUMENT
        assert set(memory.raw) == {255}
    assert function(pointer, full) == s.OK
    assert pointer.contents.struct_size == full
    assert not any(memory.raw[4:full])
    assert set(memory.raw[full:]) == {255}
    assert function(pointer, full + 16) == s.OK
    assert pointer.contents.struct_size == full + 16


@pytest.mark.parametrize(
    "options",
    [
        {"backend": 4}, {"backend": -1}, {"backend": HUGE},
        {"precision": 5}, {"precision": -1},
        {"hint": 2}, {"hint": -1},
        {"threads": -1}, {"threads": -HUGE - 1},
        {"device": -1}, {"device": HUGE},
    ],
)  # fmt: skip
def test_options(options: dict[str, int], library: Library, tiny_bundle: Path) -> None:
    chosen, opened = s.ModelOptions(**options), ctypes.c_void_p(77)
    path = str(tiny_bundle).encode()
    status = library.samedge_model_open(path, byref(chosen), byref(opened))
    assert status in (ARGUMENT, NOT_SUPPORTED)
    assert opened.value is None
    assert len(message(library)) > 20


@pytest.mark.parametrize("backend", ["tensorrt", "triton"])
def test_backends_that_are_not_there(backend: str, library: Library, tiny_bundle: Path) -> None:
    opened = ctypes.c_void_p(77)
    chosen = s.ModelOptions(backend=s.BACKENDS[backend])
    path = str(tiny_bundle).encode()
    if library.samedge_backend_check(s.BACKENDS[backend]) == s.OK:
        pytest.skip("there is such a device")
    message(library)
    assert library.samedge_model_open(path, byref(chosen), byref(opened)) == NOT_SUPPORTED
    assert opened.value is None
    assert backend in message(library).lower()


@pytest.mark.parametrize("number", [-1, 4, HUGE])
def test_unknown_backends(number: int, library: Library) -> None:
    assert library.samedge_backend_check(number) == ARGUMENT


def test_out_of_order(session: NativeSession) -> None:
    call, library, handle = Call(), session.library, session.handle
    assert library.samedge_predict(handle, byref(call.prompts), byref(call.result)) == STATE
    message(library, "samedge_set_frame")
    assert library.samedge_get_embedding(handle, (ctypes.c_float * 4096)(), 4096) == STATE
    no_answer(session)
    assert call.untouched()
    session.set_frame(picture())
    no_answer(session)
    text = ctypes.c_char_p()
    library.check(library.samedge_get_notes(handle, byref(text)))
    assert library.samedge_class_name(session.model.handle, 0, byref(text)) == ARGUMENT
    assert text.value is None


def test_there_is_no_answer_after_a_failure(session: NativeSession) -> None:
    """Of each kind of call that computes; the frame stays where only prompts were wrong."""
    library, handle = session.library, session.handle
    for spoil in ("prompts", "result", "predict"):
        assert Call().segment(session) == s.OK
        call = Call()
        if spoil == "result":
            call.result.masks_capacity = 3
        else:
            call.prompts.point_count = -1
        if spoil == "predict":
            asked, result = byref(call.prompts), byref(call.result)
            assert library.samedge_predict(handle, asked, result) == PROMPT
        else:
            assert call.segment(session) in (PROMPT, BUFFER)
        no_answer(session)
        assert call.untouched()
    good = Call()
    assert library.samedge_set_frame(handle, byref(good.frame)) == s.OK
    bad = Call()
    bad.prompts.point_count = -1
    assert library.samedge_predict(handle, byref(bad.prompts), byref(bad.result)) == PROMPT
    assert library.samedge_predict(handle, byref(good.prompts), byref(good.result)) == s.OK


def test_trackers(session: NativeSession) -> None:
    library, handle = session.library, session.handle
    call, tracker = Call(), ctypes.c_void_p(77)
    nothing = s.Prompts(objects=1)
    assert library.samedge_tracker_create(handle, byref(nothing), None, byref(tracker)) == PROMPT
    assert tracker.value is None
    outside = (ctypes.c_int32 * 1)(0)
    call.prompts.labels = outside
    asked = byref(call.prompts)
    assert library.samedge_tracker_create(handle, asked, None, byref(tracker)) == PROMPT
    call.prompts.labels = None
    for field in ("score", "area_jump", "steady_s"):
        for value in (float("nan"), -1.0):
            options = s.TrackerOptions(**{field: value})
            status = library.samedge_tracker_create(handle, asked, byref(options), byref(tracker))
            assert status == ARGUMENT, (field, value)
            message(library, field)
    library.check(library.samedge_tracker_create(handle, asked, None, byref(tracker)))
    verdicts = (ctypes.c_int32 * 1)(9)
    frame, result = byref(call.frame), byref(call.result)
    track = library.samedge_track
    assert track(tracker, frame, float("nan"), result, verdicts, 1) == ARGUMENT
    assert track(tracker, frame, 1.0, result, verdicts, 0) == BUFFER
    assert verdicts[0] == 9
    assert call.untouched()
    assert track(tracker, frame, 1.0, result, verdicts, 1) == s.OK
    assert verdicts[0] in (0, 1, 2)
    text, x, y = ctypes.c_char_p(), ctypes.c_double(), ctypes.c_double()
    for index in (1, -1, HUGE):
        assert library.samedge_tracker_reason(tracker, index, byref(text)) == ARGUMENT
        assert library.samedge_tracker_point(tracker, index, byref(x), byref(y)) == ARGUMENT
    library.check(library.samedge_tracker_destroy(tracker))
