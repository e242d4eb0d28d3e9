"""The cases for a GPU can be called as they are; small ones of each kind pass in the interpreter
(`tests/kernels`), since they are that folder's own."""

from __future__ import annotations

import inspect

import pytest

from tests.gpu.kernel_cases import CASES, BorrowedCase


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_calls_fit(case: BorrowedCase) -> None:
    for dtype in case.dtypes:
        function, arguments, options = case.called(dtype)
        bound = inspect.signature(function).bind(*arguments, **options)
        assert all(key in inspect.signature(function).parameters for key in bound.arguments)
        assert not bound.arguments.get("changed")
