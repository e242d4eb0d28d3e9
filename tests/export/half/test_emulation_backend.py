"""The backend `emulation`: half precision without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.runtime.choice import choose_backend
from samedge.runtime.parity.verify import verify
from tests.export.engine import folded_model, random_frame


@pytest.fixture(scope="module")
def both(tmp_path_factory: Any) -> Bundle:
    """A bundle with fp32 and fp16 graphs."""
    path = tmp_path_factory.mktemp("both") / "both.samedge"
    return samedge.export(folded_model("samus"), path, ("fp32", "fp16")).bundle


def test_numbers_are_near_float32_and_not_the_same(both: Bundle) -> None:
    frame = random_frame(70, 90, 1)
    results = []
    for backend, precision in (("openvino", "fp32"), ("emulation", "fp16")):
        with samedge.load(both, backend, precision) as session:
            results.append(session.segment(frame, points=[(40, 30)]).low_res_logits)
            assert session.describe()["backend"] == backend
    error = np.abs(results[0] - results[1]).max()
    assert 1e-4 < error < 0.03


def test_auto_never_takes_it() -> None:
    assert choose_backend("auto")[0].name != "emulation"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_half_precision_only(both: Bundle, precision: str) -> None:
    with pytest.raises(NotSupportedError, match="fp16"):
        samedge.load(both, "emulation", precision)


def test_a_bundle_without_half_graphs(tmp_path: Path) -> None:
    bundle = samedge.export(folded_model("samus"), tmp_path / "a.samedge").bundle
    with pytest.raises(NotSupportedError, match=r"needs the bundle's fp16 encoder graph"):
        samedge.load(bundle, "emulation", "fp16")


def test_a_bundle_of_half_graphs_alone_is_judged_as_such(both: Bundle, tmp_path: Path) -> None:
    """OpenVINO computes it in float32, but its weights are rounded."""
    half = samedge.export(both, tmp_path / "half.samedge", ("fp16",)).bundle
    with_full, without = (verify(b, "openvino", "fp32")[0] for b in (both, half))
    assert with_full.passed
    assert without.passed
    assert without.max_logit_error > with_full.limit
    assert without.limit > 100 * with_full.limit
