"""Wrong use is a status and a message: no crash, no half-written buffer, no earlier frame's mask.

Everything goes through the functions of samedge.h, on a real bundle and its real engines.
"""

from __future__ import annotations

import ctypes
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from ctypes import byref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.capi import library as binding
from samedge.capi import structs as s
from samedge.capi.library import Library
from samedge.capi.session import NativeModel, NativeSession

ARGUMENT, HANDLE, BUSY, STATE, BUNDLE, FRAME, PROMPT, BUFFER, NOT_SUPPORTED = range(-1, -10, -1)
ABI = -14
WIDTH, HEIGHT, LOW_RES = 40, 30, 32
HUGE = 2**31 - 1


@pytest.fixture(scope="module")
def model(library: Library, tiny_bundle: Path) -> Iterator[NativeModel]:
    with NativeModel(library, tiny_bundle, threads=1) as opened:
        yield opened


@pytest.fixture
def session(model: NativeModel) -> Iterator[NativeSession]:
    made = model.session()
    yield made
    if made.handle:
        made.close()


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 255, (height, width), np.uint8)


class Call:
    """The arguments of a call that is right, to be spoilt in one place."""

    def __init__(self) -> None:
        self.pixels = picture()
        self.frame = s.Frame(format=1, width=WIDTH, height=HEIGHT, pixels=self.pixels.ctypes.data)
        self.points = (ctypes.c_double * 2)(20.0, 15.0)
        self.prompts = s.Prompts(points=self.points, point_count=1)
        self.arrays = {
            "masks": np.full(WIDTH * HEIGHT, 0xA5, np.uint8),
            "scores": np.full(1, np.nan, np.float32),
            "object_index": np.full(1, -9, np.int32),
            "class_index": np.full(1, -9, np.int32),
            "boxes": np.full(4, -9, np.int32),
            "areas": np.full(1, -9, np.int64),
            "low_res_logits": np.full(LOW_RES**2, np.nan, np.float32),
        }
        self.before = {name: array.tobytes() for name, array in self.arrays.items()}
        self.result = s.Result()
        for name, array in self.arrays.items():
            kind = dict(s.Result._fields_)[name]
            setattr(self.result, name, ctypes.cast(array.ctypes.data, kind))
            setattr(self.result, capacity_of(name), array.size)

    def segment(self, session: NativeSession) -> int:
        return session.library.samedge_segment(
            session.handle, byref(self.frame), byref(self.prompts), byref(self.result)
        )

    def untouched(self) -> bool:
        return all(array.tobytes() == self.before[name] for name, array in self.arrays.items())


def capacity_of(name: str) -> str:
    return "low_res_capacity" if name == "low_res_logits" else f"{name}_capacity"


def message(library: Library, *words: str) -> str:
    """What was said, which is never nothing."""
    said = library.samedge_last_error().decode()
    assert said
    for word in words:
        assert word in said
    return said


def no_answer(session: NativeSession) -> None:
    """Nothing of an earlier frame can be had."""
    library, contours = session.library, s.Contours()
    assert library.samedge_get_contours(session.handle, 0, byref(contours)) == STATE


# Functions by the kind of handle that they take first, with arguments that are right otherwise.
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
    assert session.segment(picture(), points=[20, 15]).masks.shape == (1, HEIGHT, WIDTH)


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


FRAMES: list[tuple[str, dict[str, Any], int]] = [
    *(("side", {side: v}, FRAME) for side in ("width", "height") for v in
      (0, -1, 1, 15, 4097, HUGE, -HUGE - 1)),
    ("both sides", {"width": HUGE, "height": HUGE}, FRAME),
    *(("format", {"format": v}, FRAME) for v in (0, 8, -1, 99, HUGE)),
    ("no pixels", {"pixels": None}, FRAME),
    *(("stride", {"stride": v}, FRAME) for v in (1, WIDTH - 1, -WIDTH, -1, -(2**63), 2**63 - 1)),
    ("stride of RGB", {"format": 3, "stride": 3 * WIDTH - 1}, FRAME),
    *(("memory", {"memory": v}, FRAME) for v in (-1, 2, HUGE)),
    ("CUDA on a CPU", {"memory": 1}, NOT_SUPPORTED),
    ("odd NV12", {"format": 7, "width": WIDTH - 1}, FRAME),
    ("chroma stride", {"format": 7, "chroma_stride": 3}, FRAME),
    *(("slices", {"slices": v}, FRAME) for v in (2, -1, HUGE, -HUGE - 1)),
    ("grey16", {"format": 2}, FRAME),
    *(("crop", {"crop": v}, FRAME) for v in
      ((0, 0, WIDTH + 1, HEIGHT), (-1, 0, 20, 20), (20, 0, 10, 20), (0, 0, 0, 20),
       (HUGE, HUGE, -HUGE, -HUGE), (0, 0, 15, 15))),
]  # fmt: skip


@pytest.mark.parametrize(("what", "changes", "status"), FRAMES)
def test_frames(what: str, changes: dict[str, Any], status: int, session: NativeSession) -> None:
    first = Call()
    assert first.segment(session) == s.OK
    call = Call()
    for name, value in changes.items():
        setattr(call.frame, name, (ctypes.c_int32 * 4)(*value) if name == "crop" else value)
    allowed = {status} | ({ARGUMENT} if what in ("no pixels", "memory", "format") else set())
    assert call.segment(session) in allowed
    said = message(session.library)
    assert len(said) > 20
    assert call.untouched()
    no_answer(session)
    library = session.library
    assert library.samedge_predict(session.handle, byref(call.prompts), byref(call.result)) == STATE
    floats = (ctypes.c_float * 4096)()
    assert library.samedge_get_embedding(session.handle, floats, 4096) == STATE
    # The frame by itself, and a good one after it.
    assert library.samedge_set_frame(session.handle, byref(call.frame)) in allowed
    again = Call()
    assert again.segment(session) == s.OK
    assert again.arrays["masks"].tobytes() == first.arrays["masks"].tobytes()


def _prompts(**fields: Any) -> dict[str, Any]:
    return fields


MANY = (ctypes.c_double * 16)(*([20.0, 15.0] * 8))
LABELS = (ctypes.c_int32 * 8)(*([1] * 8))
WRONG_LABELS = (ctypes.c_int32 * 8)(*([7] * 8))
COUNTS = (ctypes.c_int32 * 2)(1, 1)
NEGATIVE = (ctypes.c_int32 * 2)(3, -1)
OVERFLOW = (ctypes.c_int32 * 2)(HUGE, HUGE)
NAN = (ctypes.c_double * 2)(float("nan"), 3.0)
FAR = (ctypes.c_double * 2)(1e300, 3.0)
LOGITS = (ctypes.c_float * LOW_RES**2)()
PROMPTS: list[tuple[str, dict[str, Any]]] = [
    ("no prompt", _prompts(points=None, point_count=0)),
    ("no points", _prompts(point_count=0)),
    ("a null pointer with a count", _prompts(points=None, point_count=3)),
    ("negative count", _prompts(point_count=-1)),
    ("huge count", _prompts(point_count=HUGE)),
    ("negative objects", _prompts(objects=-1)),
    ("huge objects", _prompts(objects=HUGE)),
    ("too many objects", _prompts(objects=1025)),
    ("not equally many", _prompts(objects=2, points=MANY, point_count=3)),
    ("another sum", _prompts(objects=2, points=MANY, point_count=3, points_per_object=COUNTS)),
    ("negative share", _prompts(objects=2, points=MANY, point_count=2, points_per_object=NEGATIVE)),
    ("overflow", _prompts(objects=2, points=MANY, point_count=-2, points_per_object=OVERFLOW)),
    ("unknown label", _prompts(labels=WRONG_LABELS)),
    ("NaN", _prompts(points=NAN)),
    ("far away", _prompts(points=FAR)),
    ("multimask", _prompts(multimask=1)),
    ("boxes for points", _prompts(boxes=MANY)),
    ("masks for points", _prompts(masks=LOGITS, mask_count=1)),
    ("mask count without masks", _prompts(mask_count=1)),
    ("negative mask count", _prompts(mask_count=-1, masks=LOGITS)),
    ("huge mask count", _prompts(mask_count=HUGE, masks=LOGITS)),
]


@pytest.mark.parametrize(("what", "fields"), PROMPTS)
def test_prompts(what: str, fields: dict[str, Any], session: NativeSession) -> None:
    assert Call().segment(session) == s.OK
    call = Call()
    # Room for the many objects that are claimed, where the library may look at their masks.
    for name, value in fields.items():
        setattr(call.prompts, name, value)
    for name in call.arrays:  # as many objects as they come
        setattr(call.result, name, None)
    assert call.segment(session) == PROMPT
    assert len(message(session.library)) > 20
    no_answer(session)
    assert Call().segment(session) == s.OK


@pytest.mark.parametrize("name", sorted(Call().arrays))
@pytest.mark.parametrize("short", ["by one", "zero"])
def test_small_buffers(name: str, short: str, session: NativeSession) -> None:
    call = Call()
    full = call.arrays[name].size
    setattr(call.result, capacity_of(name), full - 1 if short == "by one" else 0)
    assert call.segment(session) == BUFFER
    message(session.library, name, str(full))
    assert call.untouched()
    assert (call.result.count, call.result.width, call.result.height) == (1, WIDTH, HEIGHT)
    assert call.result.low_res == LOW_RES
    no_answer(session)
    library = session.library
    library.check(library.samedge_set_frame(session.handle, byref(call.frame)))
    asked, result = byref(call.prompts), byref(call.result)
    assert library.samedge_predict(session.handle, asked, result) == BUFFER
    assert call.untouched()
    setattr(call.result, capacity_of(name), full)
    assert library.samedge_predict(session.handle, asked, result) == s.OK
    assert not call.untouched()


def test_what_is_not_wanted_is_null(session: NativeSession) -> None:
    call = Call()
    for name in call.arrays:
        setattr(call.result, name, None)
        setattr(call.result, capacity_of(name), 0)
    assert call.segment(session) == s.OK
    assert call.untouched()
    assert len(session.contours(0)) >= 0


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("mask_stride", WIDTH - 1, BUFFER),
        ("mask_stride", -WIDTH, BUFFER),
        ("mask_stride", 2**63 - 1, BUFFER),
        ("mask_stride", WIDTH + 1, BUFFER),  # more memory than there is
        ("mask_value", -1, ARGUMENT),
        ("mask_value", 256, ARGUMENT),
    ],
)
def test_layout_of_masks(field: str, value: int, status: int, session: NativeSession) -> None:
    call = Call()
    setattr(call.result, field, value)
    assert call.segment(session) == status
    assert call.untouched()
    no_answer(session)


@pytest.mark.parametrize("what", ["points", "starts", "holes"])
def test_small_buffers_of_contours(what: str, session: NativeSession) -> None:
    call = Call()
    frame = np.full((HEIGHT, WIDTH), 128, np.uint8)
    call.frame.pixels = frame.ctypes.data
    assert call.segment(session) == s.OK
    if not call.arrays["masks"].any():
        pytest.skip("the mask is empty")
    asked = s.Contours()
    library = session.library
    library.check(library.samedge_get_contours(session.handle, 0, byref(asked)))
    count, points = asked.contour_count, asked.point_count
    memory = {
        "points": (ctypes.c_int32 * (2 * points))(*([-9] * 2 * points)),
        "starts": (ctypes.c_int32 * count)(*([-9] * count)),
        "holes": (ctypes.c_uint8 * count)(*([9] * count)),
    }
    before = {name: bytes(array) for name, array in memory.items()}
    for name, array in memory.items():
        setattr(asked, name, array)
        setattr(asked, f"{name}_capacity", len(array) - (name == what))
    asked.contour_count = asked.point_count = 0
    assert library.samedge_get_contours(session.handle, 0, byref(asked)) == BUFFER
    assert (asked.contour_count, asked.point_count) == (count, points)
    assert {name: bytes(array) for name, array in memory.items()} == before
    setattr(asked, f"{what}_capacity", len(memory[what]))
    assert library.samedge_get_contours(session.handle, 0, byref(asked)) == s.OK
    assert memory["starts"][0] == 0


@pytest.mark.parametrize("index", [-1, 1, HUGE, -HUGE - 1])
def test_a_mask_that_there_is_not(index: int, session: NativeSession) -> None:
    assert Call().segment(session) == s.OK
    contours = s.Contours()
    library = session.library
    assert library.samedge_get_contours(session.handle, index, byref(contours)) == ARGUMENT
    message(library, str(index))
    assert library.samedge_get_contours(session.handle, 0, byref(contours)) == s.OK


def test_small_room_for_an_embedding(session: NativeSession) -> None:
    session.set_frame(picture())
    size = session.model.info.embedding_size
    memory = np.full(size, -9, np.float32)
    pointer = memory.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    library = session.library
    for capacity in (0, size - 1):
        assert library.samedge_get_embedding(session.handle, pointer, capacity) == BUFFER
        assert (memory == -9).all()
    assert library.samedge_get_embedding(session.handle, pointer, size) == s.OK
    assert not (memory == -9).any()


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


@pytest.mark.parametrize("path", [b"", b"/nowhere", b"\xff\xfe", b"x" * 70000, b"a\nb\x1b[2J"])
def test_paths(path: bytes, library: Library) -> None:
    opened = ctypes.c_void_p(77)
    assert library.samedge_model_open(path, None, byref(opened)) == BUNDLE
    assert opened.value is None
    said = library.samedge_last_error().decode("utf-8")
    assert said
    assert len(said) < 2000
    assert not any(ord(letter) < 32 for letter in said)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_truncated_bundles(kind: str, library: Library, tiny_bundle: Path, tmp_path: Path) -> None:
    opened = ctypes.c_void_p()

    def refused(path: Path, what: str) -> None:
        assert library.samedge_model_open(str(path).encode(), None, byref(opened)) == BUNDLE, what
        assert opened.value is None
        message(library)

    if kind == "zip":
        whole = zipped(tiny_bundle, tmp_path / "whole.samedge").read_bytes()
        short = tmp_path / "short.samedge"
        for part in range(40):
            short.write_bytes(whole[: len(whole) * part // 40])
            refused(short, f"{part}/40")
        short.write_bytes(whole[:-1])
        refused(short, "one byte")
        return
    copy = tmp_path / "copy.samedge"
    shutil.copytree(tiny_bundle, copy)
    for path in sorted(p for p in copy.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for part in range(40):
            path.write_bytes(whole[: len(whole) * part // 40])
            refused(copy, f"{path.name} {part}/40")
        path.unlink()
        refused(copy, path.name)
        path.write_bytes(whole)
    library.check(library.samedge_model_open(str(copy).encode(), None, byref(opened)))
    library.check(library.samedge_model_close(opened))


def zipped(bundle: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(bundle).as_posix())
    return target


@pytest.mark.parametrize("how", ["deleted", "changed", "emptied"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_bundle_that_goes_away(
    how: str, kind: str, library: Library, tiny_bundle: Path, tmp_path: Path
) -> None:
    """What is open goes on, with new sessions and the self-test; it cannot be opened again."""
    copy = tmp_path / "copy.samedge"
    if kind == "zip":
        zipped(tiny_bundle, copy)
    else:
        shutil.copytree(tiny_bundle, copy)
    with NativeModel(library, copy, threads=1) as model:
        session = model.session()
        before = session.segment(picture(), points=[20, 15])
        files = [copy] if kind == "zip" else [p for p in copy.rglob("*") if p.is_file()]
        for path in files:
            if how == "deleted":
                path.unlink()
            else:
                path.write_bytes(b"" if how == "emptied" else b"x" * path.stat().st_size)
        other = model.session()
        for one in (session, other):
            after = one.segment(picture(), points=[20, 15])
            assert np.array_equal(after.masks, before.masks)
            assert np.array_equal(after.low_res_logits, before.low_res_logits)
            one.close()
        assert model.self_test().frames == 2
        opened = ctypes.c_void_p()
        assert library.samedge_model_open(str(copy).encode(), None, byref(opened)) == BUNDLE


def test_sessions_outlive_their_model(library: Library, tiny_bundle: Path) -> None:
    model = NativeModel(library, tiny_bundle, threads=1)
    session = model.session()
    model.close()
    call = Call()
    assert call.segment(session) == s.OK
    with pytest.raises(binding.LibraryError) as caught:
        model.close_again = library.check(library.samedge_model_close(None)) or model.session()
    assert caught.value.status == HANDLE
    session.close()


def test_trackers_outlive_their_session(library: Library, model: NativeModel) -> None:
    session, call, tracker = model.session(), Call(), ctypes.c_void_p()
    asked = byref(call.prompts)
    library.check(library.samedge_tracker_create(session.handle, asked, None, byref(tracker)))
    library.check(library.samedge_session_destroy(session.handle))
    verdicts = (ctypes.c_int32 * 1)()
    frame, result = byref(call.frame), byref(call.result)
    assert library.samedge_track(tracker, frame, 0.0, result, verdicts, 1) == s.OK
    library.check(library.samedge_tracker_destroy(tracker))
    assert library.samedge_track(tracker, frame, 0.1, result, verdicts, 1) == HANDLE


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
