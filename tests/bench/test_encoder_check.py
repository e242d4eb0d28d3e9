"""No contender is timed unless it computes what the eager encoder does."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.bench.encoder import EAGER, check
from samedge.errors import ParityError

REFERENCE = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
PRECISIONS = {EAGER: "fp32", "other": "fp32"}


def test_errors_are_reported() -> None:
    other = REFERENCE + np.float32(1e-5)
    errors = check({EAGER: REFERENCE, "other": other}, PRECISIONS)
    assert errors[EAGER] == 0
    assert errors["other"] == pytest.approx(1e-5, rel=0.1)


def test_bf16_may_be_farther_off() -> None:
    other = REFERENCE * np.float32(1.01)
    check({EAGER: REFERENCE, "other": other}, {EAGER: "fp32", "other": "bf16"})
    with pytest.raises(ParityError, match="'other'"):
        check({EAGER: REFERENCE, "other": other}, PRECISIONS)


def test_nan_is_red() -> None:
    other = REFERENCE.copy()
    other[0, 0, 0, 0] = np.nan
    with pytest.raises(ParityError, match="nothing was timed"):
        check({EAGER: REFERENCE, "other": other}, {EAGER: "fp32", "other": "bf16"})
