"""`areas.csv`: the numbers of results.json, a row each."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import samedge
from samedge.families import SAM, SAMED
from samedge.files.cells import plain
from samedge.prompts.plan import PromptPlan
from samedge.stream.sinks.area_table import COLUMNS, MEASURES
from tests.sources.media import FakeSession, region
from tests.sources.media import segment_into as run

Write = Callable[..., Path]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "areas.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def as_cell(value: Any) -> str:
    return "" if value is None else str(value)


def test_images_loops_and_volumes_in_one_table(dicom: Write, nifti: Write, tmp_path: Path) -> None:
    cine = np.zeros((4, 64, 96), np.uint8)
    cine[:3, 20:31, 10:21] = 200
    times = {"FrameIncrementPointer": 0x00181065, "FrameTimeVector": ["0", "40", "400", "40"]}
    loop = dicom(cine, SequenceOfUltrasoundRegions=[region(0, 0, 95, 63)], **times)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50), 200, np.uint8))
    volume = nifti(np.full((20, 24, 3), 200, np.uint8))
    plan = PromptPlan([(15, 15), (17, 17)], separate=True)
    sources = [loop, tmp_path / "a.png", volume]
    result = samedge.segment(FakeSession(family=SAM), sources, plan, output=tmp_path / "o")
    rows = rows_of(tmp_path / "o")
    assert list(rows[0]) == [
        "source", "name", "frame", "time_s", "object", "class", "area_px", "area_mm2", "score"
    ]  # fmt: skip
    report = run(tmp_path / "p", loop, plan, FakeSession(family=SAM))
    frames = report["sources"][0]["results"]
    expected = [
        [f["index"], f["time_s"], m["object"], m["area_px"], m["area_mm2"], m["score"]]
        for f in frames
        for m in f["masks"]
    ]
    keys = ("frame", "time_s", "object", "area_px", "area_mm2", "score")
    assert [[row[key] for key in keys] for row in rows[:8]] == [
        [as_cell(value) for value in line] for line in expected
    ]
    assert [(row["source"], row["name"], row["frame"]) for row in rows[6:]] == [
        *[("us.dcm", "us_00003", "3")] * 2,
        *[("a.png", "a", "0")] * 2,
        *[("case.nii.gz", f"case_{k:05d}", str(k)) for k in range(3) for _ in range(2)],
    ]
    assert (rows[6]["area_px"], rows[6]["area_mm2"], rows[8]["area_mm2"]) == ("0", "0.0", "")
    for source in result.sources:
        assert source.outputs["areas"] == tmp_path / "o" / "areas.csv"


def test_of_several_masks_the_best(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50), 200, np.uint8))
    session = FakeSession(family=SAM, per_object=3)
    run(tmp_path / "o", tmp_path / "a.png", PromptPlan(["center"]), session, multimask=True)
    assert [row["score"] for row in rows_of(tmp_path / "o")] == ["0.9"]


def test_classes_by_name_and_no_formulas(tmp_path: Path) -> None:
    family = replace(SAMED, classes=("background", "=1+1", 'left "M\u00fcller", x'))
    np.save(tmp_path / "@v.npy", np.full((2, 20, 24), 200, np.uint8))
    run(tmp_path / "o", tmp_path / "@v.npy", PromptPlan(), FakeSession(family=family), masks=False)
    rows = rows_of(tmp_path / "o")
    assert [row["class"] for row in rows] == ["'=1+1", 'left "M\u00fcller", x'] * 2
    assert {row["source"] for row in rows} == {"'@v.npy"}
    data = (tmp_path / "o" / "areas.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfsource,")  # what Excel knows UTF-8 by
    assert data.count(b"\r\n") == 5


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r", " =", "\uff1d"])
def test_cells_that_would_be_computed(start: str) -> None:
    assert plain(start + "cmd|x") == "'" + start + "cmd|x"
    assert plain("a" + start) == "a" + start


def test_plain_tables_have_no_mark_and_odd_names_do_no_harm(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"f\xfcr.png")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50), 200, np.uint8))
    odd.write_bytes((tmp_path / "a.png").read_bytes())
    run(tmp_path / "o", tmp_path / "a.png", PromptPlan(["center"]))
    assert (tmp_path / "o" / "areas.csv").read_bytes().startswith(b"source,")
    run(tmp_path / "p", odd, PromptPlan(["center"]))
    assert rows_of(tmp_path / "p")[0]["source"] == "f\\udcfcr.png"


def test_measures_are_further_columns_and_keys(dicom: Write, tmp_path: Path) -> None:
    cine = np.zeros((3, 64, 96), np.uint8)
    cine[:2, 20:31, 10:41] = 200
    loop = dicom(cine, SequenceOfUltrasoundRegions=[region(0, 0, 95, 63)], FrameTime="40")
    plan = PromptPlan([(25, 25)])
    report = run(tmp_path / "o", loop, plan, FakeSession(family=SAM), measure=True)
    masks = [frame["masks"][0] for frame in report["sources"][0]["results"]]
    rows = rows_of(tmp_path / "o")
    assert tuple(rows[0]) == (*COLUMNS, *MEASURES)
    for mask, row in zip(masks[:2], rows[:2], strict=True):
        found = mask["measures"]
        assert found["unit"] == row["unit"] == "mm"
        assert found["area"] == mask["area_mm2"]
        assert found["ellipse"]["circumference"] == float(row["circumference"])
        assert found["longest"]["length"] == float(row["longest"])
    assert masks[2]["measures"] is None
    assert {rows[2][column] for column in MEASURES} == {""}


def test_measures_are_in_px_where_no_spacing_is_known(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50), 200, np.uint8))
    report = run(tmp_path / "o", tmp_path / "a.png", PromptPlan([(9, 9)]), measure=True)
    found = report["sources"][0]["results"][0]["masks"][0]["measures"]
    assert found["unit"] == "px"
    plain = run(tmp_path / "p", tmp_path / "a.png", PromptPlan([(9, 9)]))
    assert "measures" not in plain["sources"][0]["results"][0]["masks"][0]
    drawn, without = (cv2.imread(str(tmp_path / f / "overlays" / "a.png")) for f in "op")
    assert drawn.shape[0] > without.shape[0]  # a line more below the picture
    assert (drawn[: 40 * 15] != without[: 40 * 15]).any()
