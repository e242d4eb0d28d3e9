"""`.seg.nrrd` files of loops, read here by the rules of the format and as Slicer does."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest

from samedge.families import SAM, SAMED
from samedge.prompts.plan import PromptPlan
from tests.sources.media import FakeSession, region, write_video
from tests.sources.media import segment_into as run

Write = Callable[..., Path]
TWO = PromptPlan([(12, 25), (60, 25)], separate=True)


def read(path: Path) -> tuple[dict[str, str], np.ndarray]:
    """Fields and key/value pairs of a NRRD file, and its voxels `[X, Y, Z]`."""
    head, _, data = path.read_bytes().partition(b"\n\n")
    magic, *lines = head.decode().split("\n")
    assert magic.startswith("NRRD000")
    fields = {}
    for line in lines:
        key, mark, value = line.partition(":=")
        key, value = (key, value) if mark else line.split(": ", 1)
        assert key not in fields
        fields[key] = value
    assert (fields["type"], fields["dimension"], fields["encoding"]) == ("uint8", "3", "gzip")
    sizes = [int(n) for n in fields["sizes"].split()]
    return fields, np.frombuffer(gzip.decompress(data), np.uint8).reshape(sizes, order="F")


def segments(fields: dict[str, str]) -> list[tuple[str, int]]:
    """Name and number of each, as long as there is a next ID: so Slicer counts them."""
    found: list[tuple[str, int]] = []
    while f"Segment{len(found)}_ID" in fields:
        key = f"Segment{len(found)}_"
        assert fields[key + "Layer"] == "0"
        found.append((fields[key + "Name"], int(fields[key + "LabelValue"])))
    return found


@pytest.fixture
def cine() -> np.ndarray:
    """Two squares `[F, H, W]` of which the left one moves down."""
    frames = np.zeros((5, 60, 80), np.uint8)
    for k in range(5):
        frames[k, 18 + k : 28 + k, 8:18] = 220
        frames[k, 20:30, 55:65] = 220
    return frames


def test_a_cine_with_two_objects(dicom: Write, cine: np.ndarray, tmp_path: Path) -> None:
    path = dicom(cine, FrameTime="40", SequenceOfUltrasoundRegions=[region(0, 0, 79, 59)])
    report = run(tmp_path / "o", path, TWO)
    assert report["sources"][0]["outputs"]["segmentation"] == "us.seg.nrrd"
    fields, voxels = read(tmp_path / "o" / "us.seg.nrrd")
    assert segments(fields) == [("object 1", 1), ("object 2", 2)]
    expected = (cine > 0) * np.where(np.arange(80) < 40, 1, 2).astype(np.uint8)
    np.testing.assert_array_equal(voxels, expected.transpose(2, 1, 0))
    assert fields["space"] == "left-posterior-superior"
    assert fields["space directions"] == "(0.5,0.0,0.0) (0.0,1.0,0.0) (0.0,0.0,1.0)"
    assert fields["kinds"] == "domain domain domain"  # Slicer reads nothing else
    assert fields["Segment1_Extent"] == "0 79 0 59 0 4"
    assert [float(v) * 255 for v in fields["Segment0_Color"].split()] == pytest.approx(
        (86, 180, 233), abs=1e-3
    )


def test_a_video_with_classes(tmp_path: Path) -> None:
    """Absent classes are empty segments; names stay on their line."""
    family = replace(SAMED, classes=("background", "a", "b\nSegment9_ID:=x", "c"))
    frames = np.zeros((3, 64, 96, 3), np.uint8)
    frames[:, 10:30, 10:30] = 250
    path = write_video(tmp_path / "clip.avi", frames, 10)
    run(tmp_path / "o", path, PromptPlan(), FakeSession(family=family), masks=False)
    fields, voxels = read(tmp_path / "o" / "clip.seg.nrrd")
    assert segments(fields) == [("a", 1), ("b\\nSegment9_ID:=x", 2), ("c", 3)]
    assert "Segment9_ID" not in fields
    assert (voxels[12:28, 12:28] == 3).all()
    assert voxels.shape == (96, 64, 3)


@pytest.mark.parametrize("one_slice", [True, False])
def test_a_nifti_loop_lies_where_its_source_lies(
    nifti: Write, cine: np.ndarray, tmp_path: Path, one_slice: bool
) -> None:
    affine = np.array([[0, -0.5, 0, 7], [0.4, 0, 0.1, -3], [0, 0.1, 2, 11], [0, 0, 0, 1.0]])
    array = cine.transpose(2, 1, 0)
    path = nifti(array[:, :, None] if one_slice else array, affine=affine)
    run(tmp_path / "o", path, TWO, source={"time": True})
    fields, voxels = read(tmp_path / "o" / "case.seg.nrrd")
    labels = nibabel.load(tmp_path / "o" / "case_labels.nii.gz")
    assert labels.shape == (80, 60, 1, 5) if one_slice else (80, 60, 5)
    np.testing.assert_array_equal(voxels, np.asarray(labels.dataobj).reshape(voxels.shape))
    assert fields["space"] == "right-anterior-superior"
    words = f"{fields['space directions']} {fields['space origin']}"
    found = [[float(v) for v in part.strip("()").split(",")] for part in words.split()]
    np.testing.assert_allclose(found, affine[:3].T, atol=1e-6)


def test_slices_of_a_volume_have_none(nifti: Write, cine: np.ndarray, tmp_path: Path) -> None:
    report = run(tmp_path / "o", nifti(cine.transpose(2, 1, 0)), TWO)
    assert "segmentation" not in report["sources"][0]["outputs"]
    assert not list((tmp_path / "o").glob("*.nrrd"))


@pytest.fixture
def folder(tmp_path: Path, cine: np.ndarray) -> Path:
    (tmp_path / "clips").mkdir()
    for k, pixels in enumerate(cine):
        cv2.imwrite(str(tmp_path / "clips" / f"f{k}.png"), pixels)
    return tmp_path / "clips"


def run_folder(out: Path, folder: Path, **options: Any) -> dict[str, Any]:
    (source,) = run(out, folder, TWO, FakeSession(family=SAM), **options)["sources"]
    return source


def test_a_tracked_folder_is_a_loop(folder: Path, cine: np.ndarray, tmp_path: Path) -> None:
    """Video, sheet and segmentation as of a cine, and a picture per image as of a folder."""
    source = run_folder(tmp_path / "o", folder, track=True)
    outputs = source["outputs"]
    assert outputs["video"] == "clips.mp4"
    assert outputs["contact_sheet"] == "clips_contact.png"
    assert outputs["segmentation"] == "clips.seg.nrrd"
    assert (tmp_path / "o" / "overlays" / "f3.png").exists()
    _, voxels = read(tmp_path / "o" / "clips.seg.nrrd")
    np.testing.assert_array_equal(voxels > 0, (cine > 0).transpose(2, 1, 0))
    assert any("25 / s in the video" in words for words in source["warnings"])
    assert set(run_folder(tmp_path / "p", folder)["outputs"]) == {"areas", "masks", "overlays"}


def test_images_of_unequal_sizes_make_no_loop(folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(folder / "f5.png"), np.full((48, 80), 200, np.uint8))
    source = run_folder(tmp_path / "o", folder, track=True)
    assert set(source["outputs"]) == {"areas", "masks", "overlays", "contact_sheet"}
    for name in ("clips.mp4", "clips.seg.nrrd"):
        assert f"{name} was left out: its frames differ in size" in source["warnings"]
    names = {p.name for p in (tmp_path / "o").iterdir()}
    assert names == {"areas.csv", "masks", "overlays", "clips_contact.png", "results.json"}
    assert source["frames"] == 6


def test_more_objects_than_numbers(dicom: Write, cine: np.ndarray, tmp_path: Path) -> None:
    plan = PromptPlan([(1, 1)] * 256, separate=True)
    report = run(tmp_path / "o", dicom(cine[:2]), plan, masks=False, overlays=False)
    assert any("it holds 255 objects" in words for words in report["sources"][0]["warnings"])
