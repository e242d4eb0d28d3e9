"""docs/results.md and the files that runs really write say the same, key by key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from samedge.bundle import Bundle
from samedge.families import MSA, SAM, SAMED
from samedge.prompts.plan import PromptPlan
from samedge.runtime.result import STAGES
from samedge.stream import job
from samedge.stream.sinks.area_table import COLUMNS, MEASURES
from tests.packaging.tree import ROOT
from tests.sources.fixtures import dicom, nifti
from tests.sources.media import FakeSession, region, segment_into

__all__ = ["dicom", "nifti"]

PAGE = ROOT / "docs" / "results.md"
KINDS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "list": list,
    "list of objects": list,
    "object": dict,
    "null": type(None),
}


def walk(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of everything in a report, as the page writes them."""
    for key, inner in value.items():
        stage = path.endswith("latency_ms.") and key in ("read", *STAGES)
        place = path + ("STAGE" if stage else key)
        if not (stage and isinstance(inner, dict)):  # the page has its two percentiles
            yield place, inner
        if isinstance(inner, dict):
            yield from walk(inner, place + ".")
        elif isinstance(inner, list):
            for one in inner:
                if isinstance(one, dict):
                    yield from walk(one, place + "[].")


@pytest.fixture
def documented() -> dict[str, set[str]]:
    """Key -> its types."""
    text = PAGE.read_text().partition("\n## results.json\n")[2]
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \|", text, re.MULTILINE)
    found = {key: set(re.split(r", | or ", kinds)) for key, kinds in rows}
    assert len(found) == len(rows)
    return found


class OnAGpu(FakeSession):
    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "threads": None}


@pytest.fixture
def reports(
    tmp_path: Path,
    dicom: Callable[..., Path],
    nifti: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> list[dict[str, Any]]:
    """Runs that have every key between them."""
    organs = replace(SAMED, classes=("background", "spleen", "liver"))
    pair = replace(MSA, classes=("disc", "cup"))
    cine = np.zeros((4, 64, 96), np.uint8)
    cine[:2, 20:31, 10:21] = 200
    loop = dicom(cine, FrameTime="40", SequenceOfUltrasoundRegions=[region(0, 0, 95, 63)])
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50), 200, np.uint8))
    np.save(tmp_path / "v.npy", np.full((3, 40, 50), 200, np.uint8))
    volume = nifti(np.full((20, 24, 3), 200, np.uint8))
    bundle = Bundle.open(ROOT / "tests" / "data" / "tiny.samedge")
    monkeypatch.setattr(job, "load", lambda *_, **__: FakeSession())
    box = PromptPlan(boxes=[(2, 3, 30, 31)])
    runs: list[tuple[Path, PromptPlan, Any, dict[str, Any]]] = [
        (
            loop,
            PromptPlan([(15, 25)]),
            FakeSession(),
            {"track": True, "crop": "auto", "measure": True},
        ),
        (
            tmp_path / "a.png",
            box,
            OnAGpu(SAM, 3),
            {"multimask": True, "crop": (0, 0, 40, 40), "measure": True},
        ),
        (volume, PromptPlan(), FakeSession(organs), {"classes": "liver"}),
        (volume, PromptPlan(), FakeSession(organs), {"masks": False, "overlays": False}),
        (tmp_path / "v.npy", PromptPlan([(9, 9)]), FakeSession(pair), {}),
        (tmp_path / "a.png", PromptPlan(["center"]), bundle, {}),  # which has a name
    ]
    return [
        segment_into(tmp_path / f"o{i}", source, plan, session, **options)
        for i, (source, plan, session, options) in enumerate(runs)
    ]


def test_every_key_is_on_the_page_with_its_type(
    reports: list[dict[str, Any]], documented: dict[str, set[str]]
) -> None:
    seen: dict[str, set[str]] = {}
    for report in reports:
        for path, value in walk(report):
            assert path in documented, f"docs/results.md lacks {path}"
            fitting = {
                kind
                for kind in documented[path]
                if isinstance(value, KINDS[kind])
                and not (isinstance(value, bool) and kind != "boolean")
            }
            assert fitting, f"{path} is {value!r}, and docs/results.md says {documented[path]}"
            seen.setdefault(path, set()).update(fitting)
    assert set(documented) - set(seen) == set()  # the page has no key that nothing writes
    assert seen == documented  # and no type: what may be null was null once


def test_the_example_and_the_words(documented: dict[str, set[str]]) -> None:
    text = PAGE.read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert {path for path, _ in walk(json.loads(example))} <= set(documented)
    assert not [stage for stage in ("read", *STAGES) if f"`{stage}`" not in text]
    assert not [column for column in (*COLUMNS, *MEASURES) if f"`{column}`" not in text]
