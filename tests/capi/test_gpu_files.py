"""libsamedge reads engine files, records and weights as samedge does."""

from __future__ import annotations

import copy
import ctypes
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.bundle import Bundle
from samedge.errors import SourceError
from samedge.runtime.engines.records import parse_record
from samedge.runtime.triton.engine_file import engine_bytes
from samedge.runtime.triton.plan import ITEMSIZE, EnginePlan, Weight
from samedge.runtime.triton.plan_json import plan_to_json
from samedge.runtime.triton.weights import pieces
from tests.runtime.triton.plans import small_plan
from tests.runtime.triton.test_engine_file import TINY, WRONG, _places, _set, sealed

NOT_SUPPORTED = -9
TYPES = [*ITEMSIZE]  # in the order of `Stored`
Check = Callable[[bytes], str]


@pytest.fixture(scope="module")
def parts() -> tuple[EnginePlan, bytes, bytes]:
    return small_plan(Bundle.open(TINY).manifest, (86, 87))


@pytest.fixture(scope="module")
def document(parts: tuple[EnginePlan, bytes, bytes]) -> dict[str, Any]:
    """The plan as its file has it."""
    plan, constants, _ = parts
    return {**plan_to_json(plan), "constants": hashlib.sha256(constants).hexdigest()}


def _checker(function: Any) -> Check:
    """What a reader says of bytes; "" if nothing."""

    def check(data: bytes) -> str:
        said = ctypes.create_string_buffer(1000)
        status = function(data, ctypes.c_size_t(len(data)), said, ctypes.c_size_t(1000))
        assert status == (NOT_SUPPORTED if said.value else 0)
        return said.value.decode()

    return check


@pytest.fixture(scope="module")
def engine(internals: ctypes.CDLL) -> Check:
    return _checker(internals.internal_parse_engine)


@pytest.fixture(scope="module")
def record(internals: ctypes.CDLL) -> Check:
    return _checker(internals.internal_parse_record)


def test_what_samedge_writes_is_read(engine: Check, parts: tuple[EnginePlan, bytes, bytes]) -> None:
    assert engine(b"".join(engine_bytes(*parts))) == ""


def test_every_changed_byte_is_found(engine: Check, parts: tuple[EnginePlan, bytes, bytes]) -> None:
    whole = b"".join(engine_bytes(*parts))
    for at in (*range(40), 256, 300, len(whole) // 2, len(whole) - 33, len(whole) - 1):
        data = bytearray(whole)
        data[at] ^= 4
        assert "samedge build" in engine(bytes(data))
    for size in (0, 5, 40, 255, 256, 300, len(whole) - 1, len(whole) - 300):
        assert "truncated" in (said := engine(whole[:size])) or "begins otherwise" in said
    assert "longer" in engine(whole + b"\0")
    assert "reads format 1" in engine(whole[:8] + b"\7\0\0\0" + whole[12:])
    assert "at most 16 MB" in engine(sealed(b" " * 16_000_001, b"", b""))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b'{"a": NaN}', b"1", b'{"samedge":1e999}'],
)
def test_no_plan(engine: Check, text: bytes) -> None:
    assert "plan" in engine(sealed(text, b"", b""))


def test_constants_and_code_have_hashes_of_their_own(
    engine: Check, parts: tuple[EnginePlan, bytes, bytes], document: dict[str, Any]
) -> None:
    _, constants, code = parts
    assert engine(sealed(document, constants, code)) == ""
    other = bytes([constants[0] ^ 1]) + constants[1:]
    assert "constants" in engine(sealed(document, other, code))
    other = bytes([code[0] ^ 1]) + code[1:]
    assert "the SHA-256 of its code" in engine(sealed(document, constants, other))


def test_every_value_of_the_plan_is_checked(
    engine: Check, parts: tuple[EnginePlan, bytes, bytes], document: dict[str, Any]
) -> None:
    """Each value exchanged by several that no plan has, each key left out or added."""
    _, constants, code = parts
    text = json.dumps(document)
    places = list(_places(json.loads(text)))
    assert len(places) > 200
    for place in places:
        for value in (None, True, -(1 << 40), 1 << 70, 1.5, ["+", 1], "\n", "\u0085"):
            if place[-1] == "scale" and value in (1.5, -(1 << 40), 1 << 70):
                continue  # factors like others
            changed = json.loads(text)
            _set(changed, place, value)
            assert engine(sealed(changed, constants, code)), (place, value)
        changed = json.loads(text)
        if isinstance(place[-1], str) and place[-2:-1] not in (("limits",), ("files",)):
            _set(changed, (*place[:-1], "other"), 1)
            assert engine(sealed(changed, constants, code)), place
        if isinstance(place[-1], str) and place[-2:-1] != ("files",):
            changed = json.loads(text)
            parent = changed
            for key in place[:-1]:
                parent = parent[key]
            del parent[place[-1]]
            assert engine(sealed(changed, constants, code)), place


@pytest.mark.parametrize("case", WRONG)
def test_parts_that_do_not_fit_each_other(
    engine: Check, parts: tuple[EnginePlan, bytes, bytes], case: str
) -> None:
    plan, constants, code = parts
    change, _ = WRONG[case]
    text = {**plan_to_json(change(plan)), "constants": hashlib.sha256(constants).hexdigest()}
    assert engine(sealed(text, constants, code))


RECORD: dict[str, Any] = {
    "schema": 1,
    "engine": {"sha256": "a" * 64, "bytes": 5},
    "kind": "triton",
    "precision": "fp16",
    "graphs_sha256": "b" * 64,
    "format": 1,
    "capabilities": ["86", "87"],
    "options": {"max_side": 4096},
    "parity": [{"backend": "triton", "precision": "fp16", "passed": True, "dice": 0.99}],
    "report": None,
}
NVIDIA = {
    **{key: value for key, value in RECORD.items() if key not in ("kind", "capabilities")},
    "graph": "encoder", "graph_sha256": "c", "backend": "tensorrt", "version": "10.3.0",
    "compute_capability": 87, "gpu": None,
}  # fmt: skip


@pytest.mark.parametrize("whole", [RECORD, NVIDIA])
def test_records_are_read_as_python_reads_them(record: Check, whole: dict[str, Any]) -> None:
    assert record(json.dumps(whole).encode()) == ""
    for place in _places(json.loads(json.dumps(whole))):
        for value in (None, True, -1, 1 << 70, 1.5, [], ["x"], {}, "x", "\u00e4"):
            if value is True and place in (("schema",), ("engine", "bytes")):
                continue  # 1 for Python
            changed = copy.deepcopy(whole)
            _set(changed, place, value)
            data = json.dumps(changed).encode()
            try:
                parse_record(data, "x.json")
                fine = True
            except SourceError:
                fine = False
            large = isinstance(value, int) and value > 1 << 63  # beyond what a file or GPU has
            report = place[0] == "report"  # which libsamedge does not read
            assert (record(data) == "") == fine or large or report, (place, value)


def test_damaged_records(record: Check) -> None:
    data = json.dumps(RECORD).encode()
    for size in range(len(data)):
        assert "damaged" in record(data[:size])
    for text in (b"[" * 200_000, b'{"report":' * 100_000, b"\xff\xfe", b"null", data + b"x"):
        assert "damaged" in record(text)


# Weights


def converted(internals: ctypes.CDLL, weight: Weight, data: bytes, chunk: int) -> bytes | str:
    """What libsamedge makes of a weight, or says of it."""
    rank = len(weight.shape)
    sides, steps = ((ctypes.c_int64 * rank)(*each) for each in (weight.shape, weight.strides))
    room = ctypes.create_string_buffer(
        max(int(np.prod(weight.shape, dtype=np.int64)) * ITEMSIZE[weight.dtype], 1)
    )
    largest, said = ctypes.c_size_t(), ctypes.create_string_buffer(1000)
    status = internals.internal_convert_weight(
        TYPES.index(weight.stored), TYPES.index(weight.dtype), ctypes.c_size_t(rank), sides, steps,
        ctypes.c_int64(weight.position), ctypes.c_double(weight.scale), data,
        ctypes.c_size_t(len(data)), ctypes.c_size_t(chunk), room, ctypes.byref(largest), said,
        ctypes.c_size_t(1000),
    )  # fmt: skip
    if status != 0:
        assert status == NOT_SUPPORTED
        return said.value.decode()
    assert largest.value <= max(chunk, ITEMSIZE[weight.dtype])
    return room.raw


@settings(deadline=None, max_examples=300)
@given(
    shape=st.lists(st.integers(1, 5), min_size=0, max_size=4),
    turn=st.randoms(use_true_random=False),
    position=st.integers(0, 9),
    stored=st.sampled_from(["fp32", "fp16", "bf16"]),
    dtype=st.sampled_from(["fp32", "fp16", "bf16"]),
    scale=st.sampled_from([1.0, 0.125, -0.3, 1e-6]),
    chunk=st.sampled_from([1, 16, 40, 1 << 20]),
    wild=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_weights_have_the_bits_that_python_gives_them(
    internals: ctypes.CDLL, shape: list[int], turn: Any, position: int, stored: str, dtype: str,
    scale: float, chunk: int, wild: bool, seed: int,
) -> None:  # fmt: skip
    """Any order, type, factor and piece; of arbitrary bits as well, NaN and what is too large."""
    random = np.random.default_rng(seed)
    size, count = ITEMSIZE[stored], int(np.prod(shape, dtype=np.int64))
    if wild:
        data = random.integers(0, 256, position + size * count, dtype=np.uint8).tobytes()
    else:
        values = random.normal(size=count).astype(np.float32)
        bits = {"fp32": values, "fp16": values.astype(np.float16),
                "bf16": (values.view(np.uint32) >> 16).astype(np.uint16)}[stored]  # fmt: skip
        data = bytes(position) + bits.tobytes()
    axes = list(range(len(shape)))
    turn.shuffle(axes)
    seen = np.zeros(shape, np.int8).transpose(axes)
    weight = Weight("w", "f", position, stored, seen.shape, seen.strides, scale, dtype, 0)
    got = converted(internals, weight, data, chunk)
    want = expected(weight, data)
    if isinstance(want, str):
        assert isinstance(got, str)
        assert "too large for" in got
        assert want.split(";")[0].split(" holds ")[0] == got.split(";")[0].split(" holds ")[0]
        return
    assert isinstance(got, bytes)
    assert_same_values(got[: len(want)], want, dtype)


def expected(weight: Weight, data: bytes) -> bytes | str:
    """What Python makes of a weight, or says of it."""
    try:
        with np.errstate(invalid="ignore"):  # a signalling NaN times something
            return b"".join(piece.tobytes() for piece in pieces(weight, memoryview(data)))
    except SourceError as error:
        return str(error)


def assert_same_values(got: bytes, want: bytes, dtype: str) -> None:
    """The same bits, but for which NaN it is: processors differ about that."""
    kind = {"fp32": np.float32, "fp16": np.float16, "bf16": np.uint16}[dtype]
    one, other = np.frombuffer(got, kind), np.frombuffer(want, kind)
    if dtype != "bf16":
        assert np.array_equal(np.isnan(one), np.isnan(other))
        one, other = (np.where(np.isnan(x), kind(0), x) for x in (one, other))
    assert one.tobytes() == other.tobytes()


def test_every_half_and_what_lies_between_them(internals: ctypes.CDLL) -> None:
    """All fp16 values, the middle between each two of them, and the numbers beside the middles."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate(
        [halves, middles, np.nextafter(middles, 0), np.nextafter(middles, 1e9)]
    ).astype(np.float32)
    values = np.concatenate([values, -values])
    count = len(values)
    for dtype, kind in (("fp16", np.float16), ("fp32", np.float32)):
        weight = Weight("w", "f", 0, "fp32", (count,), (1,), 1.0, dtype, 0)
        got = converted(internals, weight, values.tobytes(), 1 << 20)
        assert isinstance(got, bytes)
        assert got == values.astype(kind).tobytes()
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    weight = Weight("w", "f", 0, "fp16", (1 << 16,), (1,), 1.0, "fp32", 0)
    got = converted(internals, weight, every.tobytes(), 1 << 20)
    assert isinstance(got, bytes)
    assert_same_values(got, every.view(np.float16).astype(np.float32).tobytes(), "fp32")


def test_whole_numbers_are_copied(internals: ctypes.CDLL) -> None:
    data = np.random.default_rng(0).integers(0, 256, 96, dtype=np.uint8).tobytes()
    for dtype in ("i8", "u8", "i32", "i64"):
        rows = 96 // ITEMSIZE[dtype] // 3
        weight = Weight("w", "f", 0, dtype, (3, rows), (1, 3), 1.0, dtype, 0)
        want = b"".join(piece.tobytes() for piece in pieces(weight, memoryview(data)))
        assert converted(internals, weight, data, 16) == want


def test_a_weight_beyond_its_file(internals: ctypes.CDLL) -> None:
    weight = Weight("w", "f", 4, "fp32", (4,), (1,), 1.0, "fp32", 0)
    said = converted(internals, weight, bytes(19), 16)
    assert isinstance(said, str)
    assert "up to byte 20 of f, which has 19" in said
    giant = Weight("w", "f", 0, "fp32", (1 << 40, 2), (1 << 47, 1 << 47), 1.0, "fp32", 0)
    sides = (ctypes.c_int64 * 2)(*giant.shape)
    steps = (ctypes.c_int64 * 2)(*giant.strides)
    room, said_ = ctypes.create_string_buffer(8), ctypes.create_string_buffer(500)
    status = internals.internal_convert_weight(
        0, 0, ctypes.c_size_t(2), sides, steps, ctypes.c_int64(0), ctypes.c_double(1.0), bytes(64),
        ctypes.c_size_t(64), ctypes.c_size_t(16), room, ctypes.byref(ctypes.c_size_t()), said_,
        ctypes.c_size_t(500),
    )  # fmt: skip
    assert status == NOT_SUPPORTED
