"""The memory of the weights: orders, types, factors, pieces; and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.bundle import Bundle
from samedge.errors import BundleError, NotSupportedError, SourceError
from samedge.runtime.triton import weights as module
from samedge.runtime.triton.engine_file import EngineFile, read_engine, write_engine
from samedge.runtime.triton.plan import Weight
from samedge.runtime.triton.weights import check_bundle, load_weights, pieces
from tests.runtime.triton.plans import small_plan

PLAIN = Weight("w", "file", 0, "fp32", (3, 4), (4, 1), 1.0, "fp32", 0)


def whole(weight: Weight, data: bytes) -> Any:
    found = list(pieces(weight, memoryview(data)))
    assert all(piece.flags.c_contiguous for piece in found)
    return np.concatenate([piece.ravel() for piece in found])


def as_float(bits: Any) -> Any:
    """bf16 as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


@given(
    shape=st.lists(st.integers(1, 5), min_size=0, max_size=4),
    turn=st.randoms(use_true_random=False),
    position=st.integers(0, 9),
    dtype=st.sampled_from(["fp32", "fp16", "bf16"]),
    scale=st.sampled_from([1.0, 0.125, -0.3]),
)
def test_any_order_and_type(
    shape: list[int], turn: Any, position: int, dtype: str, scale: float
) -> None:
    values = np.random.default_rng(7).normal(size=shape).astype(np.float32)
    axes = list(range(len(shape)))
    turn.shuffle(axes)
    seen = values.transpose(axes)
    data = bytes(position) + values.tobytes()
    strides = tuple(step // 4 for step in seen.strides)
    weight = Weight("w", "f", position, "fp32", seen.shape, strides, scale, dtype, 0)
    found = whole(weight, data)
    want = (seen * np.float32(scale)).ravel()
    if dtype == "fp16":
        assert np.array_equal(found, want.astype(np.float16))
    elif dtype == "fp32":
        assert np.array_equal(found, want)
    else:  # the nearest of all bf16 next to it
        bits = (want.view(np.uint32) >> 16).astype(np.uint16)
        near = np.stack([as_float(bits), as_float(bits + np.uint16(1))])
        assert np.array_equal(abs(as_float(found) - want), abs(near - want).min(0))


def test_of_two_bf16_the_even_one() -> None:
    values = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F80FFFF], np.uint32)
    weight = replace(PLAIN, shape=(4,), strides=(1,), dtype="bf16")
    assert [hex(bits) for bits in whole(weight, values.tobytes())] == [
        "0x3f80", "0x3f82", "0x3f81", "0x3f81",
    ]  # fmt: skip


def test_bits_are_kept_where_nothing_is_to_be_done() -> None:
    """Also those of NaN, of bf16 and of whole numbers."""
    data = np.random.default_rng(0).integers(0, 256, 48, dtype=np.uint8)
    for dtype, size in (("fp32", 4), ("fp16", 2), ("bf16", 2), ("i8", 1), ("i64", 8), ("u8", 1)):
        count = 48 // size
        weight = Weight("w", "f", 0, dtype, (count,), (1,), 1.0, dtype, 0)
        assert whole(weight, data.tobytes()).tobytes() == data.tobytes()


def test_wider_and_narrower() -> None:
    values = np.array([1.5, -2.25, 0.0, 1024.0], np.float16)
    weight = replace(PLAIN, stored="fp16", shape=(4,), strides=(1,))
    assert np.array_equal(whole(weight, values.tobytes()), values.astype(np.float32))
    bits = np.array([0x3FC0, 0xC010, 0, 0x4480], np.uint16)  # the same in bf16
    weight = replace(weight, stored="bf16", dtype="fp16")
    assert np.array_equal(whole(weight, bits.tobytes()), values)


def test_repeated_values() -> None:
    weight = replace(PLAIN, strides=(0, 1))
    values = np.arange(4, dtype=np.float32)
    assert np.array_equal(whole(weight, values.tobytes()), np.tile(values, 3))


@pytest.mark.parametrize("chunk", [16, 40, 64, 10**6])
def test_pieces_are_in_order_and_small(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    values = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)
    seen = values.transpose(2, 0, 1)
    strides = tuple(step // 4 for step in seen.strides)
    weight = replace(PLAIN, shape=seen.shape, strides=strides)
    found = list(pieces(weight, memoryview(values.tobytes())))
    assert np.array_equal(np.concatenate([p.ravel() for p in found]), seen.ravel())
    assert max(piece.nbytes for piece in found) <= max(chunk, 4)


@pytest.mark.parametrize(("dtype", "value"), [("fp16", 65520.0), ("bf16", 3.4e38)])
def test_values_that_are_too_large(dtype: str, value: float) -> None:
    values = np.array([1.0, value], np.float32)
    weight = replace(PLAIN, shape=(2,), strides=(1,), dtype=dtype)
    with pytest.raises(SourceError, match=rf"too large for {dtype}.*another precision"):
        whole(weight, values.tobytes())
    list(pieces(replace(weight, scale=0.5), memoryview(values.tobytes())))


def test_beyond_the_end_of_a_file() -> None:
    with pytest.raises(SourceError, match=r"w up to byte 48 of file, which has 47"):
        whole(PLAIN, bytes(47))
    whole(PLAIN, bytes(48))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    return Bundle.open(Path(shutil.copytree(tiny_bundle, tmp_path / "tiny.samedge")))


@pytest.fixture
def engine(bundle: Bundle, tmp_path: Path) -> EngineFile:
    write_engine(tmp_path / "e.engine", *small_plan(bundle.manifest))
    return read_engine(tmp_path / "e.engine")


def test_every_weight_comes_to_its_place(bundle: Bundle, engine: EngineFile) -> None:
    memory = np.zeros(512, np.uint8)

    def put(at: int, piece: Any) -> None:
        memory[at : at + piece.nbytes] = piece.view(np.uint8).ravel()

    load_weights(engine, bundle, put)
    assert np.array_equal(memory[:16].view(np.float16), np.arange(8) / 2)
    data = (bundle.path / "encoder.fp32.onnx").read_bytes()[64:192]
    assert np.array_equal(memory[256:384].reshape(4, 32).T.ravel(), np.frombuffer(data, np.uint8))


def test_a_file_that_was_changed(bundle: Bundle, engine: EngineFile) -> None:
    path = bundle.path / "encoder.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match="was changed"):
        load_weights(engine, bundle, lambda _at, _piece: None)


def test_another_bundle(bundle: Bundle, engine: EngineFile) -> None:
    check_bundle(engine.plan, bundle, "e.engine")
    for files in ({"encoder.fp32.onnx": "0" * 64}, {"other.onnx": "0" * 64}):
        other = replace(engine.plan, files=files)
        with pytest.raises(NotSupportedError, match=r"e\.engine was built from another bundle"):
            check_bundle(other, bundle, "e.engine")
