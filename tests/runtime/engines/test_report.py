"""Engines in the cache that no session here will load again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samedge.runtime.engines.keys import CalibrationKey, KernelsKey, Key, NvidiaKey, OpenVinoKey
from samedge.runtime.engines.report import engine_cache
from samedge.runtime.engines.store import EngineStore

HERE: dict[str, Any] = {
    "openvino": "2026.4.1-1",
    "processors": {"CPU": "Xeon"},
    "libraries": {"tensorrt": "10.9.0.34", "tensorrt_rtx": None},
}


PART = OpenVinoKey(
    graph="a", part="encoder", precision="bf16", computes="bf16", threads=2, profile=False,
    hint="latency", device="CPU", openvino="2026.4.1-1", rewrites="1", machine="x86_64",
    cpu="Xeon", features=(),
)  # fmt: skip
NVIDIA = NvidiaKey("encoder", "fp16", "a", "tensorrt", "10.9.0", 86)
DATA = memoryview(b"x" * 1000)


def put(folder: Path, key: Key) -> Path:
    return EngineStore((folder,)).save(key, DATA).path


def test_no_cache_is_an_empty_one(private_cache: Path) -> None:
    assert engine_cache(**HERE) == {"engines": 0, "mb": 0.0, "stale": []}


def test_engines_of_this_machine_are_fine(private_cache: Path) -> None:
    put(private_cache, PART)
    put(private_cache / "nvidia" / "ab", NVIDIA)
    put(private_cache, CalibrationKey(1, "a", "b"))
    put(private_cache, KernelsKey("a", "1.7", 0, "13.0"))
    report = engine_cache(**HERE)
    assert (report["engines"], report["stale"]) == (2, [])
    assert report["mb"] == pytest.approx(4e-3)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (replace(PART, openvino="2025.1"), "built by OpenVINO 2025.1"),
        (replace(PART, cpu="EPYC"), "another processor (EPYC)"),
        (replace(NVIDIA, version="10.3.0"), "built by tensorrt 10.3.0"),
        (replace(NVIDIA, backend="tensorrt_rtx"), "not installed any more"),
    ],
)
def test_stale_engines_say_why(private_cache: Path, key: Key, why: str) -> None:
    path = put(private_cache, key)
    (stale,) = engine_cache(**HERE)["stale"]
    assert why in stale["why"]
    assert stale["engine"] == path.name


@pytest.mark.parametrize("text", ["no json", "[1]", '{"key": {"openvino": "2026.4.1-1"}}', None])
def test_engines_without_a_record_are_stale(private_cache: Path, text: str | None) -> None:
    """Among them those that earlier versions left in the cache."""
    record = put(private_cache, PART).with_suffix(".json")
    record.unlink() if text is None else record.write_text(text)
    report = engine_cache(**HERE)
    assert report["engines"] == 1
    assert "no readable record" in report["stale"][0]["why"]


def test_an_engine_of_another_device_is_not_judged_by_this_one(private_cache: Path) -> None:
    put(private_cache, replace(PART, device="GPU.1", cpu="Arc"))
    assert engine_cache(**HERE)["stale"] == []


def test_the_report_names_no_folder(private_cache: Path) -> None:
    put(private_cache, replace(PART, cpu="EPYC"))
    assert str(private_cache.parent) not in json.dumps(engine_cache(**HERE))
