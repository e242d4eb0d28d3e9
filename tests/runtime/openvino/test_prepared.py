"""Engines for the CPU: what a session computes from one is what it computes from the bundle."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError, SourceError
from samedge.runtime.engines.keys import Installed, OpenVinoGraphsKey, parse_key
from samedge.runtime.engines.records import read_record
from samedge.runtime.engines.store import EngineStore
from samedge.runtime.openvino import building
from samedge.runtime.openvino.backend import OPENVINO, OPENVINO_GPU
from samedge.runtime.openvino.building import build_engines
from samedge.runtime.openvino.engine_file import MAGIC, parse_engine
from samedge.runtime.openvino.prepared import key_for

HERE = Installed("2026.4.1", {}, {})


@pytest.fixture(scope="module")
def engines(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tiny bundle, in fp32; read-only."""
    folder = tmp_path_factory.mktemp("built") / "e"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMEDGE_CACHE", str(folder.parent / "cache"))
        result = build_engines(Bundle.open(tiny_bundle), ("fp32",), folder)
    assert [(row.state, row.compute_capability) for row in result.engines] == [("built", 0)]
    assert (result.failed, result.unchecked) == ((), None)
    assert result.parity[0].backend == "openvino"
    return folder


@pytest.fixture
def trusted(engines: Path, tmp_path: Path, private_cache: Path) -> Path:
    """A copy that the test may change; the cache of this test trusts its record."""
    folder = Path(shutil.copytree(engines, tmp_path / "e"))
    shutil.copytree(engines.parent / "cache" / "trusted", private_cache.parent / "trusted")
    (private_cache.parent / "trusted").chmod(0o700)
    return folder


def test_the_same_numbers(tiny_bundle: Path, trusted: Path, frame: Any) -> None:
    with (
        samedge.load(tiny_bundle, "openvino", "fp32", threads=1, cache=False) as plain,
        samedge.load(tiny_bundle, threads=1, engines=trusted) as prepared,
    ):
        about = prepared.describe()
        assert (about["backend"], about["precision"], about["notes"]) == ("openvino", "fp32", [])
        assert "first backend that takes these engines" in about["why"]
        for pixels in (frame, frame.T, frame[:17]):
            found, expected = (s.segment(pixels, points=[(9, 8)]) for s in (prepared, plain))
            np.testing.assert_array_equal(found.masks, expected.masks)
            np.testing.assert_allclose(found.low_res_logits, expected.low_res_logits, atol=1e-5)


@pytest.mark.parametrize("name", ["sam", "volume"])
def test_graphs_of_other_families(name: str, cases: Callable[[str], Any], tmp_path: Path) -> None:
    """Every graph is written and read back; `tests/capi` compares the numbers of all."""
    case = cases(name)
    result = build_engines(case.bundle, ("fp32",), tmp_path / "e")
    assert result.parity[0].passed
    assert result.parity[0].margin > 10


def test_a_precision_that_is_not_native_is_built_and_not_checked(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a workstation, for a device that has it."""
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32",))
    bundle = Bundle.open(tiny_bundle)
    result = build_engines(bundle, ("fp32", "bf16"), tmp_path / "e")
    assert [row.state for row in result.engines] == ["built", "built"]
    assert [row.precision for row in result.parity] == ["fp32"]
    assert result.unchecked == "this CPU does not compute bf16 natively"
    records = {p: read_record(tmp_path / "e" / f"openvino.{p}.engine") for p in ("fp32", "bf16")}
    assert records["fp32"].passed("fp32") is True
    assert records["bf16"].passed("bf16") is None
    assert OPENVINO.ready(bundle, (tmp_path / "e",)) == ("fp32",)
    assert OPENVINO.proven(bundle, "fp32", engines=(tmp_path / "e",)) is True
    assert OPENVINO.proven(bundle, "bf16", engines=(tmp_path / "e",)) is None
    assert OPENVINO.proven(bundle, "fp32") is None
    again = build_engines(bundle, ("fp32",), tmp_path / "e")
    assert [row.state for row in again.engines] == ["kept"]


def test_what_fails_the_gate_is_not_kept(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any) -> Any:
        return tuple(replace(row, passed=False) for row in gate(*arguments))

    gate = building.gate
    monkeypatch.setattr(building, "gate", failing)
    result = build_engines(Bundle.open(tiny_bundle), ("fp32",), tmp_path / "e")
    assert result.failed == ("fp32",)
    assert [row.state for row in result.engines] == ["refused"]
    assert list((tmp_path / "e").iterdir()) == []


def test_only_trusted_ones_are_taken(tiny_bundle: Path, engines: Path) -> None:
    with pytest.raises(NotSupportedError, match="samedge cache trust"):
        samedge.load(tiny_bundle, "openvino", "fp32", engines=engines)


@pytest.mark.parametrize("change", ["hash", "other bundle"])
def test_what_does_not_fit_is_refused(
    change: str, tiny_bundle: Path, trusted: Path, cases: Callable[[str], Any]
) -> None:
    bundle, words = Bundle.open(tiny_bundle), "SHA-256"
    if change == "hash":
        path = trusted / "openvino.fp32.engine"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        bundle, words = cases("sam").bundle, "another model"
    with pytest.raises(NotSupportedError, match=words):
        samedge.load(bundle, "openvino", "fp32", engines=trusted)


def test_a_gpu_takes_none(tiny_bundle: Path, trusted: Path) -> None:
    with pytest.raises(NotSupportedError, match="compiles for itself"):
        OPENVINO_GPU.ready(Bundle.open(tiny_bundle), (trusted,))


def test_keys() -> None:
    key = OpenVinoGraphsKey("fp32", "0" * 64, 1, 1, "2026.4.1")
    assert parse_key({"kind": key.kind, **key.to_json()}) == key
    assert key.mismatch(key, {}) is None
    assert key.mismatch(replace(key, openvino="2026.4.0"), {}) is None
    for change, words in (
        ({"openvino": "2026.10.0"}, "which is older"),
        ({"rewrites": 2}, "another version of samedge"),
        ({"format": 2}, "another version of samedge"),
        ({"precision": "bf16"}, "not fp32"),
        ({"graphs_sha256": "1" * 64}, "another model"),
    ):
        assert words in (key.mismatch(replace(key, **change), {}) or "")  # type: ignore[arg-type]
    assert key.stale(HERE) is None
    assert "another version" in (replace(key, format=2).stale(HERE) or "")


def test_a_key_names_what_is_here(tiny_bundle: Path) -> None:
    key = key_for(Bundle.open(tiny_bundle), "bf16", OPENVINO.graphs)
    assert key.stem == "openvino.bf16"
    assert key.openvino.count(".") == 2


def test_damaged_files(engines: Path) -> None:
    data = (engines / "openvino.fp32.engine").read_bytes()
    parts = parse_engine(memoryview(data), "e")
    assert list(parts) == ["preprocess", "encoder", "decoder"]
    assert all(part.graph.startswith(b"<?xml") for part in parts.values())
    assert all(part.start % 64 == 0 for part in parts.values())

    def changed(at: int, form: str, value: int) -> bytes:
        piece = struct.pack(form, value)
        return data[:at] + piece + data[at + len(piece) :]

    for damaged, words in (
        (b"", "begins otherwise"),
        (b"samedge\x1a" + data[8:], "begins otherwise"),
        (MAGIC, "is truncated"),
        (data[:-1], "is truncated"),
        (data + b"\0", "longer than it says"),
        (changed(8, "<I", 9), "format 9"),
        (changed(12, "<I", 2), "2 parts"),
        (changed(16, "<Q", 2**63), "is truncated"),
    ):
        with pytest.raises(SourceError, match=words):
            parse_engine(memoryview(damaged), "e")


def test_any_header_is_read_or_refused(engines: Path) -> None:
    data = (engines / "openvino.fp32.engine").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for at in random.integers(8, 64, random.integers(1, 4)).tolist():
            damaged[at] = int(random.integers(0, 256))
        try:
            parts = parse_engine(memoryview(damaged), "e")
        except SourceError:
            continue
        assert all(part.start + part.size <= len(damaged) for part in parts.values())


def test_the_store_finds_it(tiny_bundle: Path, trusted: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    store = EngineStore((trusted,))
    assert store.unfit(key_for(bundle, "fp32", OPENVINO.graphs)) is None
    assert store.unfit(key_for(bundle, "bf16", OPENVINO.graphs)) == ()
