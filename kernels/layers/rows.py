"""Arrays seen as rows: everything before the last axis is one axis."""

from __future__ import annotations

from itertools import pairwise

from samedge.errors import DeviceError
from samedge.kernels.launch import Array, check, fixed
from samedge.runtime.triton.sizes import Size, product


def rows_of(array: Array, kernel: str, name: str) -> tuple[Size, int]:
    """How many rows an array of two or more axes has, and how many elements they are apart.

    Args:
        array: [..., width].
        kernel, name: of the kernel and its argument, for messages.

    Raises:
        DeviceError: rows are not equally far apart, or their distance is dynamic.
    """
    if len(array.shape) < 2:
        raise DeviceError(f"{kernel}: {name} came as {list(array.shape)}, expected rows of it")
    axes = [i for i, size in enumerate(array.shape[:-1]) if size != 1]
    for outer, inner in pairwise(axes):
        if array.strides[outer] != array.strides[inner] * array.shape[inner]:
            raise DeviceError(
                f"{kernel}: {name} came with strides {list(array.strides)} of {list(array.shape)}, "
                "expected rows that are equally far apart: make it contiguous"
            )
    step = array.strides[axes[-1]] if axes else array.shape[-1]
    return product(*array.shape[:-1]), fixed(step, f"{kernel}: the distance of rows of {name}")


def repeated_rows(
    array: Array, kernel: str, name: str, width: int, rows: Size, *dtypes: str
) -> tuple[Size | None, int]:
    """How an array stands beside `rows` rows: its own rows are repeated until there are as many.

    Args:
        array: [..., width].
        kernel, name: for messages.
        width: expected.
        rows: that it stands beside.
        dtypes: expected element types.

    Returns:
        (its rows, or None where it has all of them and nothing is repeated; elements between two).

    Raises:
        DeviceError: it does not fit, or its rows do not divide the others.
    """
    check(array, kernel, name, (*(None,) * (len(array.shape) - 1), width), *dtypes)
    count, stride = rows_of(array, kernel, name)
    if count == rows:
        return None, stride
    if isinstance(count, int) and isinstance(rows, int) and rows % count:
        raise DeviceError(
            f"{kernel}: {name} came with {count} rows, expected {rows} or a number that divides it"
        )
    return count, stride
