"""Arrays seen as rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from samedge.errors import DeviceError
from samedge.kernels.launch import Array, contiguous_strides
from samedge.kernels.layers.rows import repeated_rows, rows_of
from samedge.runtime.triton.sizes import evaluate, named


def array(*shape: Any, dtype: str = "fp32") -> Array:
    return Array(None, dtype, shape, contiguous_strides(shape))


def test_rows_of_contiguous_arrays_and_of_columns() -> None:
    assert rows_of(array(2, 3, 16), "k", "x") == (6, 16)
    assert rows_of(array(2, 3, 16).columns(4, 8), "k", "x") == (6, 16)
    assert rows_of(array(1, 1, 16), "k", "x") == (1, 16)


def test_rows_of_dynamic_sizes() -> None:
    count, stride = rows_of(array(named("objects"), 7, 16), "k", "x")
    assert (evaluate(count, {"objects": 3}), stride) == (21, 16)


def test_an_axis_of_one_row_may_lie_anywhere() -> None:
    first = replace(array(5, 4, 16), shape=(5, 1, 16))
    assert rows_of(first, "k", "x") == (5, 64)


@pytest.mark.parametrize(
    "wrong",
    [
        array(16),
        replace(array(3, 4, 16), shape=(3, 2, 16)),
        replace(array(4, 16), strides=(named("width"), 1)),
    ],
)
def test_what_has_no_such_rows_is_refused(wrong: Array) -> None:
    with pytest.raises(DeviceError, match="k: "):
        rows_of(wrong, "k", "x")


def test_rows_that_are_repeated() -> None:
    batch = named("batch")
    rows = batch * 64
    assert repeated_rows(array(batch, 64, 8), "k", "x", 8, rows, "fp32") == (None, 8)
    assert repeated_rows(array(1, 64, 8), "k", "x", 8, rows, "fp32") == (64, 8)
    assert repeated_rows(array(6, 8), "k", "x", 8, 6, "fp32") == (None, 8)
    with pytest.raises(DeviceError, match="came with 4 rows, expected 6"):
        repeated_rows(array(4, 8), "k", "x", 8, 6, "fp32")
    with pytest.raises(DeviceError, match="expected fp16"):
        repeated_rows(array(6, 8), "k", "x", 8, 6, "fp16")
