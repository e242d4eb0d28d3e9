"""The loop and the output folder, with a session that needs no engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.errors import OutputError, PromptError, SourceError
from samedge.families import SAM
from samedge.prompts.plan import PromptPlan
from samedge.stream.sinks.folder import OutputFolder, OutputOptions, mask_suffixes
from samedge.stream.sinks.report import manifest_hash
from tests.sources.media import PATIENT, FakeSession, region
from tests.sources.media import segment_into as run

Dicom = Callable[..., Path]


@pytest.fixture
def moving(dicom: Dicom) -> Path:
    """A bright square that moves 3 px right per frame, with 0.5 mm x 1 mm pixels."""
    cine = np.zeros((8, 64, 96), np.uint8)
    for i in range(8):
        cine[i, 20:31, 10 + 3 * i : 21 + 3 * i] = 200
    return dicom(cine, FrameTime="40", SequenceOfUltrasoundRegions=[region(8, 4, 87, 59)])


def test_a_tracked_loop(tmp_path: Path, moving: Path) -> None:
    out = tmp_path / "out"
    report = run(out, moving, PromptPlan([(15, 25)]), track=True)
    (record,) = report["sources"]
    points = [f["prompts"][0]["points"][0] for f in record["results"]]
    assert points[1:] == [[15.0 + 3 * i, 25.0] for i in range(7)]
    assert {m["area_px"] for f in record["results"] for m in f["masks"]} == {121}
    assert record["results"][0]["masks"][0]["area_mm2"] == pytest.approx(60.5)
    assert (record["spacing_mm"], record["region"]) == ([1.0, 0.5], [8, 4, 88, 60])
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    masks = [f"masks/us_{i:05d}.png" for i in range(8)]
    files = ["results.json", "us.mp4", "us.seg.nrrd", "us_contact.png"]
    assert names == ["areas.csv", *masks, *files]
    stored = cv2.imread(str(out / "masks/us_00003.png"), cv2.IMREAD_UNCHANGED)
    assert stored.shape == (64, 96)
    assert set(np.unique(stored)) == {0, 255}
    assert np.count_nonzero(stored) == 121


def test_without_an_encoder_the_video_is_left_out_and_a_note_says_so(
    tmp_path: Path, moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    out = tmp_path / "out"
    (record,) = run(out, moving, PromptPlan([(15, 25)]), masks=False)["sources"]
    assert not (out / "us.mp4").exists()
    assert record["outputs"] == {
        "areas": "areas.csv", "contact_sheet": "us_contact.png", "segmentation": "us.seg.nrrd"
    }  # fmt: skip
    (note,) = record["warnings"]
    assert note.startswith("us.mp4 was left out: ")
    assert "pip install -e '.[stream]'" in note


def test_a_fixed_point_stays(tmp_path: Path, moving: Path) -> None:
    session = FakeSession()
    run(tmp_path / "o", moving, PromptPlan([(15, 25)]), session, overlays=False)
    assert [a["points"].tolist() for a in session.asked] == [[[[15, 25]]]] * 8
    assert all(a["mask"] is None for a in session.asked)


def test_lost_objects_are_reported(tmp_path: Path, dicom: Dicom) -> None:
    path = dicom(np.zeros((3, 48, 64), np.uint8), FrameTime="40")
    report = run(tmp_path / "o", path, PromptPlan([(5, 5)]), track=True)
    assert [f["lost"] for f in report["sources"][0]["results"]] == [[1]] * 3


def test_families_with_mask_prompts_get_the_last_logits(tmp_path: Path, moving: Path) -> None:
    session = FakeSession(family=SAM)
    run(tmp_path / "o", moving, PromptPlan([(15, 25)]), session, track=True, frames=3)
    assert [a["mask"] is None for a in session.asked] == [True, False, False]


def test_json_schema_and_no_patient_data(tmp_path: Path, moving: Path) -> None:
    run(tmp_path / "o", moving, PromptPlan([(15, 25)]))
    text = (tmp_path / "o" / "results.json").read_text()
    report = json.loads(text)
    assert report["schema"] == 1
    assert report["bundle"]["manifest_sha256"] == manifest_hash(FakeSession().manifest)
    assert report["session"] == {
        "backend": "fake", "precision": "fp32", "device": "CPU", "why": "a test", "threads": 1
    }  # fmt: skip
    assert "Research use only" in report["notice"]
    frame = report["sources"][0]["results"][2]
    assert set(frame["latency_ms"]) == {
        "read", "preprocess", "encode", "prompt", "decode", "total"
    }  # fmt: skip
    assert frame["time_s"] == 0.08
    for secret in (*PATIENT.split("^"), "4711", str(tmp_path)):
        assert secret not in text


def test_several_objects_and_masks_have_files_of_their_own(
    tmp_path: Path, grey: np.ndarray
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    plan = PromptPlan([(40, 20), (20, 40)], separate=True)
    report = run(tmp_path / "o", tmp_path / "a.png", plan)
    files = [m["file"] for m in report["sources"][0]["results"][0]["masks"]]
    assert files == ["masks/a_object1.png", "masks/a_object2.png"]
    report = run(tmp_path / "p", tmp_path / "a.png", plan, FakeSession(per_object=3))
    masks = report["sources"][0]["results"][0]["masks"]
    assert [m["file"] for m in masks][2:4] == [
        "masks/a_object1_mask3.png", "masks/a_object2_mask1.png"
    ]  # fmt: skip
    assert [m["best"] for m in masks] == [False, False, True] * 2
    assert (tmp_path / "p" / "overlays" / "a.png").exists()


def test_suffixes() -> None:
    assert mask_suffixes([0]) == [""]
    assert mask_suffixes([0, 0]) == ["_object1_mask1", "_object1_mask2"]


def test_folders_keep_names_and_sizes(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "a.png"), np.full((40, 50), 200, np.uint8))
    cv2.imwrite(str(pictures / "a.bmp"), np.full((60, 30), 200, np.uint8))
    report = run(tmp_path / "o", pictures, PromptPlan(["center"]))
    found = [(f["name"], f["file"], f["height"]) for f in report["sources"][0]["results"]]
    assert sorted(found) == [("a_bmp", "a.bmp", 60), ("a_png", "a.png", 40)]
    assert sorted(p.name for p in (tmp_path / "o/overlays").iterdir()) == ["a_bmp.png", "a_png.png"]


def test_equal_names_of_several_sources(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "o", {}, OutputOptions())
    assert [output.name("a"), output.name("A"), output.name("../a")] == ["a", "A_2", "_a"]


def test_crop_auto_takes_the_region(tmp_path: Path, moving: Path, grey: np.ndarray) -> None:
    session = FakeSession()
    run(tmp_path / "o", moving, PromptPlan(["center"]), session, crop="auto", frames=1)
    assert session.asked[0]["crop"] == (8, 4, 88, 60)
    assert session.asked[0]["points"].tolist() == [[[48, 32]]]
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    with pytest.raises(SourceError, match="--crop X0,Y0,X1,Y1"):
        run(tmp_path / "p", tmp_path / "a.png", PromptPlan(["center"]), None, crop="auto")


def test_no_pictures_where_none_are_wanted(tmp_path: Path, moving: Path) -> None:
    run(tmp_path / "o", moving, PromptPlan([(15, 25)]), overlays=False, masks=False)
    names = sorted(p.name for p in (tmp_path / "o").iterdir())
    assert names == ["areas.csv", "results.json", "us.seg.nrrd"]


def test_a_failing_loop_leaves_no_video_and_no_results(tmp_path: Path, moving: Path) -> None:
    class Failing(FakeSession):
        def segment(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def,override]
            if len(self.asked) == 3:
                raise PromptError("no more")
            return super().segment(*args, **kwargs)  # type: ignore[arg-type]

    out = tmp_path / "o"
    run(out, moving, PromptPlan([(15, 25)]))
    assert (out / "results.json").exists()
    (out / "us.mp4").unlink()
    with pytest.raises(PromptError, match="no more"):
        run(out, moving, PromptPlan([(15, 25)]), Failing(), overwrite=True)
    assert not (out / "results.json").exists()  # the old one would not fit the new files
    assert not (out / "us.mp4").exists()
    hidden = [p.name for p in out.rglob("*") if p.name.startswith(".")]
    assert hidden == [".unfinished.txt"]  # so that --overwrite knows the files


def test_output_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "o").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        OutputFolder(tmp_path / "o", {}, OutputOptions())
