"""Self-test files: stable bytes, no pickle, checked shapes."""

from __future__ import annotations

import dataclasses
import io
import time
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.bundle import SelfTest
from samedge.errors import BundleError
from samedge.files.limits import SELFTEST_BYTES


def any_test(
    height: int, width: int, objects: int, points: int, masks: int, colour: bool = False,
    boxed: bool = False, multimask: bool = False, stack: bool = False,
) -> SelfTest:  # fmt: skip
    """Random arrays that fit each other; `objects` slices for a stack, `masks` for each object."""
    rng = np.random.default_rng(height * width)
    shape = (height, width, 3) if colour else (height, width)
    total = objects * masks
    return SelfTest(
        name="a.b_c+1-2",
        frame=rng.integers(0, 256, (objects, height, width) if stack else shape, np.uint8),
        points=rng.uniform(0, 16, (objects, points, 2)),
        labels=rng.integers(0, 2, (objects, points)),
        box=rng.uniform(0, 16, (objects, 4)) if boxed else None,
        low_res_logits=rng.standard_normal((total, 8, 8), np.float32),
        masks=rng.integers(0, 2, (total, height, width), np.uint8),
        scores=rng.random(total, np.float32),
        multimask=multimask,
        stack=stack,
    )


any_tests = st.builds(
    any_test,
    st.integers(16, 40),
    st.integers(16, 40),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 4),
    colour=st.booleans(),
    boxed=st.booleans(),
    multimask=st.booleans(),
    stack=st.booleans(),
)


@settings(max_examples=60)
@given(any_tests)
def test_round_trip(test: SelfTest) -> None:
    data = test.to_bytes()
    again = SelfTest.from_bytes(test.name, data)
    for field in dataclasses.fields(test):
        before, after = getattr(test, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype
            np.testing.assert_array_equal(after, before)
        else:
            assert type(after) is type(before)
            assert after == before
    assert again.to_bytes() == data


def arrays_of(test: SelfTest) -> set[str]:
    with np.load(io.BytesIO(test.to_bytes())) as file:
        return set(file.files)


def test_flags_are_there_only_if_set() -> None:
    """So that files of single frames have the bytes that they always had."""
    plain = {"frame", "points", "labels", "low_res_logits", "masks", "scores"}
    assert arrays_of(any_test(20, 20, 1, 1, 1)) == plain
    assert arrays_of(any_test(20, 20, 1, 1, 3, multimask=True)) == plain | {"multimask"}
    assert arrays_of(any_test(20, 20, 2, 1, 1, stack=True)) == plain | {"stack"}


def test_bytes_do_not_depend_on_the_time(
    selftest: SelfTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = selftest.to_bytes()
    real = time.localtime
    monkeypatch.setattr(time, "localtime", lambda *_: real(2_000_000_000))
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    assert selftest.to_bytes() == first


def test_masks_are_one_bit_per_pixel(selftest: SelfTest) -> None:
    big = dataclasses.replace(
        selftest,
        frame=np.zeros((512, 512), np.uint8),
        masks=np.random.default_rng(0).integers(0, 2, (1, 512, 512), np.uint8),
    )
    assert len(big.to_bytes()) < 512 * 512 / 8 + 10_000


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "../x", "name"),
        ("name", "a/b", "name"),
        ("frame", np.zeros((20, 20), np.float32), "type uint8"),
        ("frame", np.zeros((20, 20, 4), np.uint8), r"\[H, W, 3\]"),
        ("frame", np.zeros(20, np.uint8), r"\[H, W\]"),
        ("points", np.zeros((1, 2)), "points"),
        ("points", np.full((1, 2, 2), np.nan), "finite"),
        ("labels", np.zeros((1, 3), np.int64), "like the points"),
        ("box", np.zeros(4), r"\[N, 4\]"),
        ("low_res_logits", np.zeros((1, 4, 5), np.float32), r"\[K, L, L\]"),
        ("low_res_logits", np.float32(1), r"\[K, L, L\]"),
        ("masks", np.full((1, 21, 35), 2, np.uint8), "0 or 1"),
        ("masks", np.full((1, 21, 35), 257, np.uint16), "numbers that uint8 holds"),
        ("frame", np.full((21, 35), 256, np.uint16), "numbers that uint8 holds"),
        ("masks", np.zeros((1, 35, 21), np.uint8), r"\[K, H, W\]"),
        ("scores", np.zeros(2, np.float32), r"\[K\]"),
        ("scores", np.array(["x"]), "type float32"),
    ],
)
def test_shapes_are_checked(selftest: SelfTest, field: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        dataclasses.replace(selftest, **{field: value}).to_bytes()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("frame", np.zeros((3, 20, 20), np.uint8), r"frame is uint8 \[3, 20, 20\].*\[D, H, W\]"),
        ("frame", np.zeros((20, 20), np.uint8), r"\[D, H, W\]"),
        ("frame", np.zeros((2, 20, 20, 3), np.uint8), r"\[D, H, W\]"),
        ("frame", np.full((2, 20, 20), 256, np.uint16), "numbers that uint8 holds"),
        ("points", np.zeros((3, 1, 2)), r"\[D, H, W\]"),
        ("masks", np.zeros((2, 20, 21), np.uint8), r"\[K, H, W\]"),
        ("stack", False, r"\[H, W, 3\]"),
    ],
)
def test_shapes_of_a_stack_are_checked(field: str, value: Any, words: str) -> None:
    """As many slices as prompted objects."""
    test = any_test(20, 20, 2, 1, 1, stack=True)
    with pytest.raises(BundleError, match=words):
        dataclasses.replace(test, **{field: value}).to_bytes()


@pytest.mark.parametrize("flag", ["stack", "multimask"])
def test_flags_that_are_none(flag: str) -> None:
    test = any_test(20, 20, 1, 1, 1)
    with np.load(io.BytesIO(test.to_bytes())) as file:
        arrays = {name: file[name] for name in file.files}
    data = io.BytesIO()
    np.savez(data, **arrays, **{flag: np.ones(2, bool)})
    with pytest.raises(BundleError, match="cannot be read"):
        SelfTest.from_bytes("flagged", data.getvalue())


def test_pickles_are_not_run() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return pytest.fail, ("the pickle was run",)

    file = io.BytesIO()
    np.savez(file, frame=np.array([Trap()], dtype=object))
    with pytest.raises(BundleError, match="pickle"):
        SelfTest.from_bytes("trap", file.getvalue())


def test_bombs_are_refused(selftest: SelfTest, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(SELFTEST_BYTES, most=1000)
    monkeypatch.setattr("samedge.bundle.selftest.SELFTEST_BYTES", small)
    with pytest.raises(BundleError, match=r"says that it holds \d+ bytes"):
        SelfTest.from_bytes("bomb", selftest.to_bytes())


@settings(max_examples=300)
@given(any_tests, st.data())
def test_damage_is_a_bundle_error(test: SelfTest, data: st.DataObject) -> None:
    content = bytearray(test.to_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    try:
        SelfTest.from_bytes("damaged", bytes(content))
    except BundleError:
        return
    # Bytes that nothing depends on, such as the attributes in the zip's directory.
    assert zipfile.is_zipfile(io.BytesIO(bytes(content)))


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_bundle_error(content: bytes) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        SelfTest.from_bytes("noise", content)
