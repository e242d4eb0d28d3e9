"""Engines in the cache that no session here will load again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samedge.runtime.engines.report import engine_cache

HERE: dict[str, Any] = {
    "openvino": "2026.4.1-1",
    "processors": {"CPU": "Xeon"},
    "libraries": {"tensorrt": "10.9.0.34", "tensorrt_rtx": None},
}


def put(folder: Path, name: str, record: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 1000)
    if record is not None:
        text = record if isinstance(record, str) else json.dumps(record)
        (path.parent / (path.name.removesuffix(".engine") + ".json")).write_text(text)


def openvino(**changes: Any) -> dict[str, Any]:
    return {"key": {"openvino": "2026.4.1-1", "device": "CPU", "cpu": "Xeon", **changes}}


def test_no_cache_is_an_empty_one(private_cache: Path) -> None:
    assert engine_cache(**HERE) == {"engines": 0, "mb": 0.0, "stale": []}


def test_engines_of_this_machine_are_fine(private_cache: Path) -> None:
    put(private_cache, "openvino-encoder-1.engine", openvino())
    nvidia = {"backend": "tensorrt", "version": "10.9.0"}
    put(private_cache, "nvidia/ab/encoder.fp16.tensorrt-10.9.0.sm86.engine", nvidia)
    put(private_cache, "calibration-1.engine", {"key": {"version": 1}})
    put(private_cache, "tensorrt_rtx-kernels-1.engine", {"key": {"version": "1.7"}})
    report = engine_cache(**HERE)
    assert (report["engines"], report["stale"]) == (2, [])
    assert report["mb"] == pytest.approx(4e-3)


@pytest.mark.parametrize(
    ("name", "record", "why"),
    [
        ("openvino-a.engine", openvino(openvino="2025.1"), "built by OpenVINO 2025.1"),
        ("openvino-a.engine", openvino(cpu="EPYC"), "another processor (EPYC)"),
        ("openvino-a.engine", {"key": {}}, "does not say what built it"),
        ("openvino-a.engine", {"key": [1]}, "does not say what built it"),
        ("openvino-a.engine", "no json", "no readable record"),
        ("openvino-a.engine", "[1]", "no readable record"),
        ("openvino-a.engine", None, "no readable record"),
        ("n/e.engine", {"backend": "tensorrt", "version": "10.3.0"}, "built by tensorrt 10.3.0"),
        ("n/e.engine", {"backend": "tensorrt_rtx", "version": "1.7"}, "not installed any more"),
        ("n/e.engine", {"backend": "tensorrt", "version": 3}, "does not say what built it"),
    ],
)
def test_stale_engines_say_why(private_cache: Path, name: str, record: Any, why: str) -> None:
    put(private_cache, name, record)
    (stale,) = engine_cache(**HERE)["stale"]
    assert why in stale["why"]
    assert stale["engine"] == name.split("/")[-1]


def test_an_engine_of_another_device_is_not_judged_by_this_one(private_cache: Path) -> None:
    put(private_cache, "openvino-a.engine", openvino(device="GPU.1", cpu="Arc"))
    assert engine_cache(**HERE)["stale"] == []


def test_the_report_names_no_folder(private_cache: Path) -> None:
    put(private_cache, "openvino-a.engine", "damaged")
    assert str(private_cache.parent) not in json.dumps(engine_cache(**HERE))
