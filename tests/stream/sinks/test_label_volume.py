"""Volumes from source to label volume: groups of slices, classes, and the right voxels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest

from samedge.errors import PromptError, SourceError
from samedge.families import AUTOSAMUS, MSA, MSA_3D, SAM, SAMED
from samedge.prompts.file import parse_prompts
from samedge.prompts.plan import PromptPlan
from tests.sources.media import PATIENT, FakeSession
from tests.sources.media import segment_into as run

Write = Callable[..., Path]
FOUR = replace(SAMED, classes=("background", "spleen", "left kidney", "liver"))
PAIR = replace(MSA, classes=("disc", "cup"))
OBLIQUE = np.array([[0.1, -0.7, 0.2, 11], [0.6, 0.1, 0.1, -7], [0.0, 0.2, -2.4, 3], [0, 0, 0, 1]])


@pytest.fixture
def ct() -> np.ndarray:
    """Hounsfield units `[X, Y, Z]` in four steps."""
    steps = np.random.default_rng(0).integers(0, 4, (20, 24, 18))
    return (steps * 100 - 80).astype(np.int16)


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_classes_land_on_their_voxels(
    nifti: Write, ct: np.ndarray, tmp_path: Path, axis: int | None
) -> None:
    """The whole way, on a grid that is oblique and left-handed."""
    path = nifti(ct, affine=OBLIQUE)
    session = FakeSession(family=FOUR)
    source = {"window": (-125.0, 275.0), "axis": axis}
    report = run(tmp_path / "o", path, PromptPlan(), session, source=source, masks=False)
    labels = nibabel.load(tmp_path / "o" / "case_labels.nii.gz")
    np.testing.assert_array_equal(np.asarray(labels.dataobj), (ct + 80) // 100)
    np.testing.assert_array_equal(labels.affine, nibabel.load(path).affine)
    record = report["sources"][0]
    voxel = abs(float(np.linalg.det(labels.affine[:3, :3])))
    assert record["voxel_mm3"] == pytest.approx(voxel)
    for found in record["volumes"]:
        voxels = int(((ct + 80) // 100 == found["label"]).sum())
        assert (found["class"], found["voxels"]) == (FOUR.classes[found["label"]], voxels)
        assert found["ml"] == pytest.approx(voxels * voxel / 1000, rel=1e-4)
    assert [v["label"] for v in record["volumes"]] == [1, 2, 3]
    assert record["classes"][2] == {"label": 2, "name": "left kidney"}


def test_files_of_a_volume_with_classes(nifti: Write, ct: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "o"
    source = {"window": (-125.0, 275.0)}
    run(out, nifti(ct), PromptPlan(), FakeSession(family=FOUR), source, frames=2)
    stems = ("classes", "left_kidney", "liver", "spleen")
    assert names_in(out) == [
        "areas.csv",
        "case_contact.png",
        "case_labels.nii.gz",
        *(f"masks/case_{k:05d}_{stem}.png" for k in range(2) for stem in stems),
        "overlays/case_00000.png",
        "overlays/case_00001.png",
        "results.json",
    ]
    numbers = cv2.imread(str(out / "masks/case_00001_classes.png"), cv2.IMREAD_UNCHANGED)
    expected = ((ct + 80) // 100)[:, :, 1].T
    np.testing.assert_array_equal(numbers, expected)
    liver = cv2.imread(str(out / "masks/case_00001_liver.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(liver, (expected == 3) * 255)
    text = (out / "results.json").read_text()
    frame = json.loads(text)["sources"][0]["results"][1]
    assert frame["class_map"] == "masks/case_00001_classes.png"
    assert [(m["class"], m["label"], m["best"]) for m in frame["masks"]] == [
        ("spleen", 1, True), ("left kidney", 2, True), ("liver", 3, True)
    ]  # fmt: skip
    assert frame["masks"][2]["area_px"] == int((expected == 3).sum())
    assert frame["masks"][2]["area_mm2"] == pytest.approx(6 * frame["masks"][2]["area_px"])
    for secret in (*PATIENT.split("^"), "4711", str(tmp_path)):
        assert secret not in text


def test_the_rest_of_a_limited_volume_is_zero_and_said_so(
    nifti: Write, ct: np.ndarray, tmp_path: Path
) -> None:
    source = {"window": (-125.0, 275.0)}
    session, options = FakeSession(family=FOUR), {"frames": 2}
    report = run(
        tmp_path / "o", nifti(ct), PromptPlan(), session, source, overlays=False, **options
    )
    labels = np.asarray(nibabel.load(tmp_path / "o" / "case_labels.nii.gz").dataobj)
    assert labels.shape == ct.shape
    assert labels[:, :, :2].any()
    assert not labels[:, :, 2:].any()
    assert "the last 16 slices were not segmented" in report["sources"][0]["warnings"][0]


def test_chosen_classes(nifti: Write, ct: np.ndarray, tmp_path: Path) -> None:
    out, source = tmp_path / "o", {"window": (-125.0, 275.0)}
    options = {"frames": 1, "classes": (0, 3)}
    run(out, nifti(ct), PromptPlan(), FakeSession(family=FOUR), source, overlays=False, **options)
    masks = [n for n in names_in(out) if n.startswith("masks/")]
    assert [n.rpartition("_")[2] for n in masks] == ["background.png", "classes.png", "liver.png"]
    labels = np.asarray(nibabel.load(out / "case_labels.nii.gz").dataobj)[:, :, 0]
    assert set(np.unique(labels)) == {0, 3}
    numbers = cv2.imread(str(out / "masks/case_00000_classes.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(numbers, labels.T)


def test_classes_that_overlap(tmp_path: Path) -> None:
    """The cup lies inside the disc: the label volume keeps the higher number."""
    volume = np.tile(np.array([0, 200], np.uint8), (2, 16, 8))
    np.save(tmp_path / "eye.npy", volume)
    report = run(tmp_path / "o", tmp_path / "eye.npy", PromptPlan([(3, 3)]), FakeSession(PAIR))
    with np.load(tmp_path / "o" / "eye_labels.npz") as data:
        np.testing.assert_array_equal(data["labels"], 1 + (volume > 0))
        assert data["labels"].dtype == np.uint8
        assert data["class_names"].tolist() == ["background", "disc", "cup"]
    frame = report["sources"][0]["results"][0]
    assert "class_map" not in frame
    assert [m["file"] for m in frame["masks"]] == [
        "masks/eye_00000_disc.png", "masks/eye_00000_cup.png"
    ]  # fmt: skip
    assert [v["mm3"] for v in report["sources"][0]["volumes"]] == [None, None]


def test_slices_go_in_groups_with_prompts_of_their_own(tmp_path: Path) -> None:
    volume = np.full((8, 40, 60), 60, np.uint16)
    volume[:, 20:30, 20:30] = 250
    np.savez(tmp_path / "v.npz", image=volume)
    text = "frame,x,y\n" + "".join(f"{k},{20 + k},25\n" for k in range(1, 8))
    plan = PromptPlan([(2.0, 3.0)], file=parse_prompts(text, "p.csv"))
    session = FakeSession(family=MSA_3D)
    report = run(tmp_path / "o", tmp_path / "v.npz", plan, session)
    assert session.groups == [4, 4]
    assert [np.asarray(a["points"]).tolist()[0][0] for a in session.asked] == [
        [2, 3], *([20 + k, 25] for k in range(1, 8))
    ]  # fmt: skip
    with np.load(tmp_path / "o" / "v_labels.npz") as data:
        expected = (volume > 100).astype(np.uint8)
        expected[0, :, 23:] = 0  # the fake's reach around its point
        expected[0, 24:] = 0
        np.testing.assert_array_equal(data["labels"], expected)
        assert data["class_names"].tolist() == ["background", "object 1"]
    assert len(report["sources"][0]["results"]) == 8


def test_objects_that_come_and_go(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.full((3, 60, 90), 200, np.uint8))
    text = "frame,object,x,y\n0,2,20,30\n1,2,20,30\n1,7,70,30\n2,7,70,30\n"
    plan = PromptPlan(file=parse_prompts(text, "p.csv"))
    report = run(tmp_path / "o", tmp_path / "v.npy", plan, FakeSession(family=SAM))
    with np.load(tmp_path / "o" / "v_labels.npz") as data:
        assert [set(np.unique(s)) for s in data["labels"]] == [{0, 2}, {0, 2, 7}, {0, 7}]
    files = [[m["file"] for m in f["masks"]] for f in report["sources"][0]["results"]]
    assert files[0] == ["masks/v_00000_object2.png"]
    assert files[1] == ["masks/v_00001_object2.png", "masks/v_00001_object7.png"]
    assert [v["object"] for v in report["sources"][0]["volumes"]] == [2, 7]


def test_a_folder_of_slices(tmp_path: Path) -> None:
    folder = tmp_path / "scan.01"
    folder.mkdir()
    for k in range(4):
        pixels = np.full((32, 40), 60 * k, np.uint8)
        cv2.imwrite(str(folder / f"s{k}.png"), pixels.astype(np.uint16) * 257 if k == 2 else pixels)
    session = FakeSession(family=replace(MSA_3D, slices=2))
    run(tmp_path / "o", folder, PromptPlan(["center"]), session)
    assert {"scan.01_labels.npz", "scan.01_contact.png", "overlays/s0.png"} <= set(
        names_in(tmp_path / "o")
    )
    cv2.imwrite(str(folder / "s3.png"), np.zeros((16, 40), np.uint8))
    with pytest.raises(
        SourceError, match=r"s3\.png has a slice of 40 x 16 px after one of 40 x 32"
    ):
        run(tmp_path / "p", folder, PromptPlan(["center"]), session)
    assert not (tmp_path / "p" / "results.json").exists()


def test_a_series_and_a_loop(series: Write, dicom: Write, tmp_path: Path) -> None:
    volume = np.full((4, 32, 40), 900, np.uint16)
    session = FakeSession(family=MSA_3D)
    source = {"window": (0.0, 1000.0)}
    report = run(tmp_path / "o", series(volume), PromptPlan([(20, 16)]), session, source=source)
    assert report["sources"][0]["volumes"][0]["mm3"] == pytest.approx(4 * 32 * 40 * 0.5)
    assert (tmp_path / "o" / "series_labels.npz").exists()
    run(tmp_path / "p", dicom(volume), PromptPlan([(20, 16)]), session, source=source)
    assert {"us.mp4", "us_contact.png", "us_labels.npz"} <= set(names_in(tmp_path / "p"))


def test_no_label_volume_for_loops_and_pictures(dicom: Write, tmp_path: Path) -> None:
    loop = dicom(np.full((4, 32, 40), 200, np.uint8), FrameTime="40")
    run(tmp_path / "o", loop, PromptPlan(), FakeSession(family=AUTOSAMUS))
    assert not [n for n in names_in(tmp_path / "o") if "labels" in n]
    np.savez(tmp_path / "slice.npz", image=np.eye(32), label=np.eye(32))
    run(tmp_path / "p", tmp_path / "slice.npz", PromptPlan(), FakeSession(family=FOUR))
    assert [n for n in names_in(tmp_path / "p") if not n.startswith("masks")] == [
        "areas.csv", "overlays/slice.png", "results.json"
    ]  # fmt: skip


def test_classes_in_a_video_keep_its_size(dicom: Write, tmp_path: Path) -> None:
    """Captions list the classes that are there, and still have one height."""
    loop = np.zeros((6, 32, 40), np.uint8)
    for k in range(6):
        loop[k, :, : 6 * k] = 100
        loop[k, : 5 * k] = 250
    run(tmp_path / "o", dicom(loop, FrameTime="40"), PromptPlan(), FakeSession(family=FOUR))
    assert (tmp_path / "o" / "us.mp4").exists()


def test_more_objects_than_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((1, 16, 16), np.uint8))
    plan = PromptPlan([(1, 1)] * 256, separate=True)
    with pytest.raises(PromptError, match="a label volume holds 255 objects"):
        run(tmp_path / "o", tmp_path / "v.npy", plan, FakeSession(), masks=False, overlays=False)


def test_tracking_through_a_volume(tmp_path: Path) -> None:
    volume = np.zeros((5, 48, 80), np.uint8)
    for k in range(5):
        volume[k, 20:31, 10 + 4 * k : 21 + 4 * k] = 220
    np.save(tmp_path / "v.npy", volume)
    session = FakeSession()
    run(tmp_path / "o", tmp_path / "v.npy", PromptPlan([(15, 25)]), session, track=True)
    assert [a["points"][0][0][0] for a in session.asked][1:] == [15 + 4 * k for k in range(4)]


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 1)])
def test_one_slice_has_no_volume(nifti: Write, tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = nifti(np.full(shape, 200, np.uint8), affine=np.diag([0.3, 0.15, 1, 1]))
    (source,) = run(tmp_path / "o", path, PromptPlan(["center"]))["sources"]
    assert source["voxel_mm3"] is None
    assert [volume["ml"] for volume in source["volumes"]] == [None]
    assert source["results"][0]["masks"][0]["area_mm2"] == pytest.approx(20 * 24 * 0.3 * 0.15)


def test_an_axis_that_is_time(nifti: Write, tmp_path: Path) -> None:
    """A loop on one grid: a video and labels, areas and no millilitres."""
    array = np.zeros((40, 32, 6), np.uint8)
    array[10:20, 8:20] = 200
    path = nifti(array)
    plan, out = PromptPlan([(15, 12)]), tmp_path / "o"
    (source,) = run(out, path, plan, source={"time": True}, track=True)["sources"]
    assert (source["kind"], source["frames"], source["rate_fps"]) == ("time series", 6, None)
    assert not {"volumes", "voxel_mm3"} & set(source)
    assert source["results"][0]["masks"][0]["area_mm2"] == pytest.approx(120 * 2 * 3)
    assert "does not say its frame rate" in source["warnings"][0]
    assert {"case.mp4", "case_contact.png", "case_labels.nii.gz"} < set(names_in(out))
    labels = np.asarray(nibabel.load(out / "case_labels.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, array // 200)


def test_pictures_of_a_volume_have_the_proportions_of_the_body(
    nifti: Write, tmp_path: Path
) -> None:
    """Sagittal slices 40 mm long and 90 mm high, of voxels 1 x 1 x 5 mm: a ball is round."""
    x, y, z = np.mgrid[:20, :40, :18]
    ball = (x - 10) ** 2 + (y - 20) ** 2 + ((z - 9) * 5) ** 2 < 15**2
    path = nifti(ball.astype(np.uint8) * 200, affine=np.diag([1.0, 1, 5, 1]))
    out = tmp_path / "o"
    run(out, path, PromptPlan(["center"]), FakeSession(family=SAM), source={"axis": 0})
    picture = cv2.imread(str(out / "overlays" / "case_00010.png"))
    caption = 90  # px at most, below
    assert 600 / 40 * 90 <= picture.shape[0] < 600 / 40 * 90 + caption
    assert picture.shape[1] == 600
    rows, columns = np.nonzero(picture[: 600 // 40 * 90].max(axis=2) > 100)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.15)
    sheet = cv2.imread(str(out / "case_contact.png"))
    assert sheet.shape[0] > 3 * 2 * 374  # three rows of pictures twice as high as wide
