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


@settings(max_examples=30)
@given(
    st.integers(16, 40),
    st.integers(16, 40),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_round_trip(
    height: int, width: int, colour: bool, objects: int, points: int, boxed: bool
) -> None:
    rng = np.random.default_rng(height * width)
    test = SelfTest(
        name="a.b_c+1-2",
        frame=rng.integers(0, 256, (height, width, 3) if colour else (height, width), np.uint8),
        points=rng.uniform(0, 16, (objects, points, 2)),
        labels=rng.integers(0, 2, (objects, points)),
        box=rng.uniform(0, 16, (objects, 4)) if boxed else None,
        low_res_logits=rng.standard_normal((objects, 8, 8), np.float32),
        masks=rng.integers(0, 2, (objects, height, width), np.uint8),
        scores=rng.random(objects, np.float32),
    )
    again = SelfTest.from_bytes(test.name, test.to_bytes())
    for field in dataclasses.fields(test):
        before, after = getattr(test, field.name), getattr(again, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype
            np.testing.assert_array_equal(after, before)
        else:
            assert after == before


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
        ("masks", np.zeros((1, 35, 21), np.uint8), r"\[K, H, W\]"),
        ("scores", np.zeros(2, np.float32), r"\[K\]"),
        ("scores", np.array(["x"]), "type float32"),
    ],
)
def test_shapes_are_checked(selftest: SelfTest, field: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        dataclasses.replace(selftest, **{field: value}).to_bytes()


def test_pickles_are_not_run() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return pytest.fail, ("the pickle was run",)

    file = io.BytesIO()
    np.savez(file, frame=np.array([Trap()], dtype=object))
    with pytest.raises(BundleError, match="pickle"):
        SelfTest.from_bytes("trap", file.getvalue())


def test_bombs_are_refused(selftest: SelfTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samedge.bundle.selftest.MAX_BYTES", 1000)
    with pytest.raises(BundleError, match="more than 1000 bytes"):
        SelfTest.from_bytes("bomb", selftest.to_bytes())


@settings(max_examples=200)
@given(st.data())
def test_damage_is_a_bundle_error(selftest: SelfTest, data: st.DataObject) -> None:
    content = bytearray(selftest.to_bytes())
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
