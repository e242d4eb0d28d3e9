"""`samedge segment`, with a session that needs no engine."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import samedge
import samedge.bundle
from samedge.cli import run
from samedge.families import AUTOSAMUS, MEDSAM, MSA_3D, SAM, SAMED, SAMUS, Family
from samedge.prompts.plan import PromptPlan
from samedge.stream import job
from tests.sources.media import FakeSession, write_video


class FakeBundle(samedge.bundle.Bundle):
    def __init__(self, path: Path, family: Family) -> None:
        self.path, self.family, self.manifest = path, family, FakeSession().manifest


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """The session that every command of this test gets; set its family as needed."""
    made = FakeSession()

    def load(_bundle: object, **engine: object) -> FakeSession:
        made.engine = engine  # type: ignore[attr-defined]
        return made

    monkeypatch.setattr(job, "load", load)
    monkeypatch.setattr(
        samedge.bundle.Bundle, "open", lambda path: FakeBundle(Path(path), made.family)
    )
    return made


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A bright square on black, 80 x 60 px."""
    pixels = np.zeros((60, 80), np.uint8)
    pixels[20:40, 30:50] = 220
    path = tmp_path / "square.png"
    cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A bright square that moves right, as a video."""
    frames = np.zeros((4, 64, 96, 3), np.uint8)
    for i in range(4):
        frames[i, 20:36, 16 + 8 * i : 32 + 8 * i] = 255
    return write_video(tmp_path / "clip.avi", frames, 10)


def test_an_image(
    session: FakeSession, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["segment", "x.samedge", str(picture), "--point", "40,30", "-o", str(out)]) == 0
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == [
        "areas.csv",
        "masks/square.png",
        "overlays/square.png",
        "results.json",
    ]
    text = capsys.readouterr().out
    assert "square.png" in text
    assert "400 px" in text
    assert "Research use only" in text
    assert session.asked[0]["points"].tolist() == [[[40, 30]]]


def test_json_on_stdout_is_the_report(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["segment", "b", str(picture), "--point", "center", "-o", str(out), "--json"]
    assert run(arguments) == 0
    report = json.loads((out / "results.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert report["bundle"]["name"] == "b"


def test_quiet_prints_nothing(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["segment", "b", str(picture), "--point", "40,30", "-o", str(tmp_path / "o"), "-q"]
    assert run(arguments) == 0
    assert capsys.readouterr() == ("", "")


def test_several_sources_objects_and_tracking(picture: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    points = ["--point", "24,28", "--point", "40,30", "--objects", "--track"]
    assert run(["segment", "b", str(clip), str(picture), *points, "-o", str(out)]) == 0
    report = json.loads((out / "results.json").read_text())
    assert [s["kind"] for s in report["sources"]] == ["video", "image"]
    tracked = [f["prompts"][0]["points"][0][0] for f in report["sources"][0]["results"]]
    assert tracked[1:] == [23.0, 31.0, 39.0]  # 8 px a frame
    assert report["sources"][1]["results"][0]["prompts"][0]["points"] == [[24.0, 28.0]]
    assert (out / "clip.mp4").exists()
    assert (out / "clip_contact.png").exists()
    assert (out / "masks" / "clip_00003_object2.png").exists()


def test_options_reach_the_session(session: FakeSession, picture: Path, tmp_path: Path) -> None:
    session.family = SAM
    options = ["--point", "40,30", "--point", "1,1", "--label", "1", "--label", "0"]
    options += ["--box", "10,10,70,50", "--crop", "0,0,72,56", "--no-masks", "--no-overlays"]
    options += ["--backend", "openvino", "--precision", "fp32", "--threads", "1"]
    out = tmp_path / "out"
    assert run(["segment", "b", str(picture), *options, "-o", str(out)]) == 0
    asked = session.asked[0]
    assert asked["points"].tolist() == [[[40, 30], [1, 1]]]
    assert asked["labels"].tolist() == [[1, 0]]
    assert asked["box"].tolist() == [[10, 10, 70, 50]]
    assert asked["crop"] == (0, 0, 72, 56)
    assert session.engine == {  # type: ignore[attr-defined]
        "backend": "openvino", "precision": "fp32", "threads": 1, "engines": None
    }  # fmt: skip
    assert sorted(p.name for p in out.iterdir()) == ["areas.csv", "results.json"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--point 120,80"),
        (["--point", "12"], "a point is X,Y"),
        (["--box", "1,2,3"], "a box is X0,Y0,X1,Y1"),
        (["--crop", "1.5,0,40,40", "--point", "1,1"], "whole pixels"),
        (["--point", "1,1", "--label", "2"], "0<=x<=1"),
        (["--point", "1,1", "--label", "1", "--label", "0"], "1 points but 2 labels"),
        (["--point", "1,1", "--frames", "0"], "x>=1"),
    ],
)
def test_usage_errors(
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    out = tmp_path / "out"
    assert run(["segment", "b", str(picture), *options, "-o", str(out)]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_box_for_a_family_without(
    session: FakeSession, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert session.family is SAMUS
    arguments = ["segment", "b", str(picture), "--box", "1,1,20,20", "-o", str(tmp_path / "o")]
    assert run(arguments) == 3
    assert "not trained with box prompts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("scan.png", b"just words", "scan.png is a text file"),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged PNG"),
        ("none.png", None, "no file or folder none.png"),
    ],
)
def test_bad_sources_end_in_exit_code_3(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    words: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    out = tmp_path / "out"
    assert run(["segment", "b", str(path), "--point", "center", "-o", str(out)]) == 3
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (out / "results.json").exists()


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["segment", "b", str(tmp_path / "empty"), "--point", "1,1"]
    assert run([*arguments, "-o", str(tmp_path / "o")]) == 3
    assert "is empty" in capsys.readouterr().err


def test_output_that_is_a_file(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o").write_text("x")
    arguments = ["segment", "b", str(picture), "--point", "1,1", "-o", str(tmp_path / "o")]
    assert run(arguments) == 6
    assert "is a file" in capsys.readouterr().err


def test_warnings_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((40, 40), 900, np.uint16))
    arguments = ["segment", "b", str(tmp_path / "deep.png"), "--point", "9,9"]
    assert run([*arguments, "-o", str(tmp_path / "o")]) == 0
    assert "note: deep.png has 16 bits" in capsys.readouterr().out


def test_ctrl_c_leaves_no_half_video(
    session: FakeSession, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = session.segment

    def interrupted(*args: object, **kwargs: object) -> object:
        if len(session.asked) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "segment", interrupted)
    out = tmp_path / "out"
    assert run(["segment", "b", str(clip), "--point", "24,28", "-o", str(out)]) == 130
    left = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    # Whole files only, and a list of them.
    assert left == [".unfinished.txt", "masks/clip_00000.png", "masks/clip_00001.png"]


@given(text=st.text(max_size=12).filter(lambda t: "\0" not in t))
def test_any_point_text_is_usage_or_works(picture: Path, tmp_path: Path, text: str) -> None:
    arguments = ["segment", "b", str(picture), f"--point={text}", "-o", str(tmp_path / "o")]
    assert run([*arguments, "-q", "--no-overlays", "--no-masks"]) in (0, 2)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Hounsfield units `[X, Y, Z]` of 8 slices, in four steps from -80 to 220."""
    steps = np.random.default_rng(0).integers(0, 4, (20, 24, 8))
    path = tmp_path / "case.nii.gz"
    nibabel.Nifti1Image((steps * 100 - 80).astype(np.int16), np.diag([1, 1, 2.5, 1])).to_filename(
        path
    )
    return path


ORGANS = replace(SAMED, classes=("background", "spleen", "left kidney", "liver"))


def test_a_ct_volume_with_classes(
    session: FakeSession, volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session.family, out = ORGANS, tmp_path / "out"
    arguments = ["segment", "b", str(volume), "--window", "-125,275", "--classes", "LIVER,1"]
    assert run([*arguments, "-o", str(out)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "2 of 2 classes" in text
    assert "left kidney" not in text
    labels = np.asarray(nibabel.load(out / "case_labels.nii.gz").dataobj)
    stored = (np.asarray(nibabel.load(volume).dataobj) + 80) // 100
    np.testing.assert_array_equal(labels, np.where(stored == 2, 0, stored))
    assert "case.nii.gz liver 8 " in text
    assert f"{(stored == 3).sum() * 2.5 / 1000:.3g} ml" in text
    report = json.loads((out / "results.json").read_text())
    assert report["options"]["classes"] == ["spleen", "liver"]


def test_slices_in_groups_with_clicks_from_a_file(
    session: FakeSession, volume: Path, tmp_path: Path
) -> None:
    session.family, out = MSA_3D, tmp_path / "out"
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("frame,x,y\n" + "".join(f"{k},{k + 1},9\n" for k in range(8)))
    arguments = ["segment", "b", str(volume), "--window=-125,275", "--prompts", str(clicks)]
    assert run([*arguments, "-o", str(out), "-q"]) == 0
    assert session.groups == [4, 4]
    assert [a["points"][0].tolist() for a in session.asked] == [[[k + 1, 9]] for k in range(8)]
    assert (out / "case_labels.nii.gz").exists()


@pytest.mark.parametrize(
    ("family", "options", "code", "words"),
    [
        (MSA_3D, ["--point", "9,9", "--frames", "6"], 3, "6 slices of case.nii.gz"),
        (MSA_3D, ["--point", "9,9", "--track"], 3, "leave --track out"),
        (MSA_3D, ["--point", "9,9", "--axis", "0"], 3, "16 to 4096 px"),
        (MSA_3D, [], 2, "--point 120,80"),
        (ORGANS, ["--point", "9,9"], 3, "finds its structures by itself and takes no prompts"),
        (ORGANS, ["--multimask"], 3, "leave --multimask out"),
        (ORGANS, ["--classes", "heart"], 3, "'heart' is no class of this bundle"),
        (ORGANS, ["--window", "9"], 2, "a window is LOW,HIGH"),
        (ORGANS, ["--axis", "3"], 2, "0<=x<=2"),
        (SAM, ["--point", "9,9", "--classes", "liver"], 3, "has no classes"),
        (SAM, ["--prompts", "none.csv"], 3, "no file none.csv of prompts"),
        (MEDSAM, ["--point", "9,9"], 3, "it takes box prompts"),
        (AUTOSAMUS, ["--box", "1,1,9,9"], 3, "takes no prompts"),
    ],
)
def test_what_does_not_fit_never_starts_the_engine(
    session: FakeSession,
    volume: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    family: Family,
    options: list[str],
    code: int,
    words: str,
) -> None:
    session.family, out = family, tmp_path / "out"
    assert run(["segment", "b", str(volume), *options, "-o", str(out)]) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert not hasattr(session, "engine")
    assert not out.exists()


def test_prompts_are_for_one_source(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["segment", "b", str(volume), str(volume), "--prompts", "p.csv", "-o", "x"]
    assert run(arguments) == 2
    assert "one at a time" in capsys.readouterr().err


def test_families_that_need_no_prompt(
    session: FakeSession, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session.family, out = AUTOSAMUS, tmp_path / "out"
    assert run(["segment", "b", str(clip), "-o", str(out)]) == 0
    assert (out / "masks" / "clip_00003.png").exists()


def test_help_documents_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["segment", "--help"]) == 0
    text = capsys.readouterr().out
    for words in (
        "results.json",
        "NAME_object1_mask1.png",
        "two objects",
        "auto: the ultrasound",
        "--window -125,275",
        "frame,x,y[,label][,object]",
    ):
        assert words in " ".join(text.split())


def test_time_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = nibabel.Nifti1Image(np.full((40, 32, 4), 200, np.uint8), np.diag([0.3, 0.2, 1, 1]))
    image.to_filename(tmp_path / "cine.nii.gz")
    command = ["segment", "x.samedge", str(tmp_path / "cine.nii.gz"), "--point", "center", "-o"]
    assert run([*command, str(tmp_path / "a")]) == 0
    assert "ml" in capsys.readouterr().out
    assert run([*command, str(tmp_path / "b"), "--time"]) == 0
    assert " ml" not in capsys.readouterr().out
    assert (tmp_path / "b" / "cine.mp4").exists()


@pytest.mark.parametrize("kind", [".png", ".npy"])
@pytest.mark.parametrize("as_json", [False, True])
def test_names_that_are_no_utf8(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, as_json: bool
) -> None:
    """As old CDs and shares have them, in Latin-1."""
    if kind == ".npy":
        np.save(tmp_path / "square.npy", np.full((3, 40, 40), 200, np.uint8))
    odd = picture.with_suffix(kind).rename(tmp_path / os.fsdecode(b"f\xfcr" + kind.encode()))
    out, more = tmp_path / "out", ["--json"] if as_json else []
    assert run(["segment", "x.samedge", str(odd), "--point", "center", "-o", str(out), *more]) == 0
    report = json.loads((out / "results.json").read_text())
    assert report["sources"][0]["name"] == odd.name
    printed = capsys.readouterr().out
    assert json.loads(printed) == report if as_json else f"f?r{kind}" in printed


def test_python_writes_what_the_command_writes(clip: Path, picture: Path, tmp_path: Path) -> None:
    points = ["--point", "24,28", "--point", "40,30", "--objects", "--track"]
    sources = [str(clip), str(picture)]
    assert run(["segment", "b", *sources, *points, "-o", str(tmp_path / "a"), "-q"]) == 0
    plan = PromptPlan([(24, 28), (40, 30)], separate=True)
    samedge.segment(FakeBundle(Path("b"), SAMUS), sources, plan, track=True, output=tmp_path / "b")
    files = {p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert files == {p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*.*")}
    for name in files - {Path("results.json")}:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    reports = [re.sub(r'"read": [^}]*?}|"read": [^,]*', "", text) for text in (
        (tmp_path / folder / "results.json").read_text() for folder in "ab"
    )]  # fmt: skip
    assert reports[0] == reports[1]  # but for the time that reading took
