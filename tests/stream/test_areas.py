"""Areas in mm2: the region that holds the mask tells how large its pixels are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from samedge.prompts.plan import PromptPlan
from samedge.stream.job import segment
from samedge.stream.summary import SourceSummary, ValueRange
from tests.sources.media import FakeSession, region, segment_into

Dicom = Callable[..., Path]
# 0.5 x 1 mm on the left, 0.2 x 0.4 mm on the right; the lowest rows belong to nothing.
LEFT, RIGHT = region(0, 0, 49, 59), region(50, 0, 119, 59, 0.02)


def found(path: Path, x: int, y: int = 30) -> SourceSummary:
    """What is found of the bright square around (x, y)."""
    return segment(FakeSession(), path, [(x, y)]).sources[0]


@pytest.fixture
def squares(dicom: Dicom) -> Callable[..., Path]:
    """Bright squares of 10 x 10 px around some points, in a frame of 120 x 80 px."""

    def write(*places: tuple[int, int], regions: tuple[object, ...] = (LEFT, RIGHT)) -> Path:
        frame = np.zeros((80, 120), np.uint8)
        for x, y in places:
            frame[y - 5 : y + 5, x - 5 : x + 5] = 200
        return dicom(frame, SequenceOfUltrasoundRegions=list(regions))

    return write


@pytest.mark.parametrize(("x", "mm2"), [(20, 50.0), (90, 8.0)])
def test_the_region_that_holds_the_mask(squares: Callable[..., Path], x: int, mm2: float) -> None:
    source = found(squares((x, 30)), x)
    assert source.structures[0].area_mm2 == ValueRange(mm2, mm2)
    assert source.warnings == ()


@pytest.mark.parametrize(("x", "y"), [(50, 30), (20, 70), (20, 60)])
def test_across_and_outside(squares: Callable[..., Path], x: int, y: int) -> None:
    """Between the regions; below them all; and half of it below."""
    source = found(squares((x, y)), x, y)
    assert source.structures[0].area_px == ValueRange(100, 100)
    assert source.structures[0].area_mm2 is None
    assert "us.dcm: some masks lie outside the regions with a pixel spacing" in source.warnings[0]


def test_equal_neighbours_are_one(squares: Callable[..., Path]) -> None:
    regions = (LEFT, region(50, 0, 119, 59))
    assert found(squares((50, 30), regions=regions), 50).structures[0].area_mm2 is not None


def test_one_region_inside_another_is_ambiguous(squares: Callable[..., Path]) -> None:
    regions = (region(0, 0, 119, 79), region(10, 10, 60, 60, 0.02))
    assert found(squares((30, 30), regions=regions), 30).structures[0].area_mm2 is None
    assert found(squares((90, 30), regions=regions), 90).structures[0].area_mm2 is not None


def test_what_has_no_millimetres_does_not_count(squares: Callable[..., Path]) -> None:
    doppler = region(50, 0, 119, 59)
    doppler.RegionSpatialFormat, doppler.PhysicalUnitsXDirection = 3, 4
    path = squares((20, 30), (90, 30), regions=(LEFT, doppler))
    assert found(path, 20).structures[0].area_mm2 == ValueRange(50, 50)
    assert found(path, 90).structures[0].area_mm2 is None


def test_a_mask_that_leaves_its_region_has_no_area_there(dicom: Dicom, tmp_path: Path) -> None:
    """Frame by frame; curves and ranges keep to one unit."""
    cine = np.zeros((3, 80, 120), np.uint8)
    for i, x in enumerate((35, 45, 50)):
        cine[i, 25:35, x - 5 : x + 5] = 200
    path = dicom(cine, FrameTime="40", SequenceOfUltrasoundRegions=[LEFT, RIGHT])
    report = segment_into(tmp_path / "o", path, PromptPlan([(42, 30)]))
    (source,) = report["sources"]
    areas = [frame["masks"][0]["area_mm2"] for frame in source["results"]]
    assert areas == [50.0, 50.0, None]
    assert len(source["warnings"]) == 1
