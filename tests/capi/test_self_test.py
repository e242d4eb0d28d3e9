"""The self-test of libsamedge is the parity gate of `samedge verify`."""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.bundle import Bundle, ParityRow, SelfTest
from samedge.bundle.sealing import seal
from samedge.capi.library import Library
from samedge.capi.session import NativeModel
from samedge.capi.structs import PRECISIONS, SelfTestReport
from samedge.cli.demo import ready_bundle
from samedge.errors import BundleError, ParityError
from samedge.runtime import verify
from samedge.runtime.openvino.backend import OPENVINO
from samedge.tolerances import LIMITS
from tests.runtime.cases import CONFIGS, Case

TINY = Path(__file__).parent.parent / "data" / "tiny.samedge"


def checked(library: Library, path: Path, precision: str = "fp32") -> SelfTestReport:
    with NativeModel(library, path, "openvino", precision, threads=1) as model:
        return model.self_test()


def check(report: SelfTestReport, row: ParityRow) -> None:
    """Numbers of two engines that may differ in their last digits."""
    assert report.frames == row.frames
    assert report.logit_limit == pytest.approx(row.limit, rel=1e-12)
    assert (report.dice_limit, report.flipped_limit) == (row.dice_limit, row.flipped_limit)
    assert report.flipped_far == row.flipped_far
    assert report.max_logit_error == pytest.approx(row.max_logit_error, rel=1e-2, abs=1e-5)
    assert report.score_error == pytest.approx(row.score_error, rel=1e-2, abs=1e-5)
    assert report.dice == pytest.approx(row.dice, abs=1e-6)
    assert report.flipped == pytest.approx(row.flipped, abs=1e-6)
    assert (report.margin >= 1) == (row.margin >= 1)


@pytest.mark.parametrize("path", [TINY, None], ids=["tiny", "demo"])
def test_the_same_numbers_as_samedge_verify(library: Library, path: Path | None) -> None:
    bundle = Path(ready_bundle()) if path is None else path
    for precision in OPENVINO.precisions():
        if precision not in Bundle.open(bundle).manifest.graphs["encoder"]:
            continue
        (row,) = verify(bundle, "openvino", precision, threads=1, cache=False)
        check(checked(library, bundle, precision), row)


@pytest.mark.parametrize("precision", sorted(LIMITS))
@pytest.mark.parametrize("rms", [0.3, 1.0, 7.5])
@pytest.mark.parametrize("share", [1e-4, 0.004, 0.01, 0.7])
def test_limits(internals: ctypes.CDLL, precision: str, rms: float, share: float) -> None:
    function = internals.internal_parity_limit
    function.argtypes = [ctypes.c_int, ctypes.c_double, ctypes.c_double, ctypes.c_void_p]
    got, limit = np.zeros(5), LIMITS[precision].scaled(rms)
    function(PRECISIONS[precision], rms, share, got.ctypes.data)
    expected = [limit.logits, limit.flipped, limit.near_zero, limit.dice, limit.least_dice(share)]
    assert got.tolist() == expected


@pytest.mark.parametrize(
    "family",
    [name if name == "volume" else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS],
)
def test_families(library: Library, tmp_path: Path, family: str) -> None:
    case = Case.of(family, tmp_path)
    case.session.close()
    path = Path(case.bundle.path)
    (row,) = verify(path, "openvino", "fp32", threads=1, cache=False)
    check(checked(library, path), row)


def changed(folder: Path, change: Callable[[SelfTest], Any]) -> Path:
    """A copy of the tiny bundle with one self-test changed, sealed again."""
    path = folder / "changed.samedge"
    shutil.copytree(TINY, path)
    document = json.loads((path / "manifest.json").read_text())
    name = next(name for name in sorted(document["files"]) if name.startswith("selftest/"))
    test = SelfTest.from_bytes(Path(name).stem, (path / name).read_bytes())
    data = replace(test, **change(test)).to_bytes()
    (path / name).write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    document["files"][name] = entry
    (path / "manifest.json").write_bytes(seal(document))
    return path


def shifted(test: SelfTest) -> dict[str, Any]:
    return {"low_res_logits": test.low_res_logits + np.float32(0.01)}


def flipped(test: SelfTest) -> dict[str, Any]:
    return {"masks": 1 - test.masks}


def another_score(test: SelfTest) -> dict[str, Any]:
    return {"scores": test.scores - np.float32(0.001)}


@pytest.mark.parametrize("change", [shifted, flipped, another_score])
def test_what_does_not_pass_is_an_error_with_its_numbers(
    library: Library, tmp_path: Path, change: Callable[[SelfTest], Any]
) -> None:
    path = changed(tmp_path, change)
    (row,) = verify(path, "openvino", "fp32", threads=1, cache=False)
    assert not row.passed
    with NativeModel(library, path, "openvino", "fp32", threads=1) as model:
        report = SelfTestReport()
        assert library.samedge_self_test(model.handle, ctypes.byref(report)) == -13
        check(report, row)
        with pytest.raises(ParityError, match="Do not use this bundle here"):
            model.self_test()


def test_what_does_not_fit_is_said(library: Library, tmp_path: Path) -> None:
    """A reference with more masks than the model gives."""

    def twice(test: SelfTest) -> dict[str, Any]:
        names = ("low_res_logits", "masks", "scores")
        return {name: np.concatenate([getattr(test, name)] * 2) for name in names}

    path = changed(tmp_path, twice)
    with pytest.raises(BundleError, match="export the bundle again"):
        checked(library, path)
