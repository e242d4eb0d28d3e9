"""`samedge.segment`: everything in one call, with a session that needs no engine."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import samedge
from samedge.errors import PromptError, SessionError, SourceError
from samedge.families import AUTOSAMUS, MSA_3D, SAM
from samedge.progress import Step
from samedge.prompts.plan import PromptPlan
from samedge.sources.frame import Frame, Source
from samedge.sources.opening import open_source
from samedge.stream import summary
from samedge.stream.segmenting import Segmented
from samedge.stream.sinks import captions
from samedge.stream.summary import ValueRange
from tests.sources.media import FakeSession, region

Dicom = Callable[..., Path]


@pytest.fixture
def moving(dicom: Dicom) -> Path:
    """A bright square of 121 px that moves 3 px right per frame, with 0.5 mm x 1 mm pixels."""
    cine = np.zeros((8, 64, 96), np.uint8)
    for i in range(8):
        cine[i, 20:31, 10 + 3 * i : 21 + 3 * i] = 200
    return dicom(cine, FrameTime="40", SequenceOfUltrasoundRegions=[region(8, 4, 87, 59)])


class Recorder:
    """A sink that keeps what a test looks at."""

    def __init__(self, fail_at: int = -1) -> None:
        self.seen: list[tuple[str, int]] = []
        self.ended: list[str] = []
        self._fail_at = fail_at

    @contextmanager
    def source(self, source: Source) -> Iterator[Recorder]:
        try:
            yield self
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append(source.name)

    def write(self, item: Segmented) -> None:
        if len(self.seen) == self._fail_at:
            raise SourceError("the sink is full")
        self.seen.append((item.frame.source, item.area_px(0)))


def test_what_was_found_without_writing_a_file(moving: Path) -> None:
    session, steps, about = FakeSession(), [], []
    result = samedge.segment(
        session, moving, [(15, 25)], track=True, on_start=about.append, progress=steps.append
    )
    (source,) = result.sources
    assert (result.frames, source.frames, source.frames_lost, source.kind) == (8, 8, 0, "dicom")
    (found,) = source.structures
    assert (found.name, found.frames, found.frames_found) == ("object 1", 8, 8)
    assert found.area_px == ValueRange(121, 121)
    assert found.area_mm2 == ValueRange(60.5, 60.5)
    assert source.latency_ms["encode"] == {"p50": 2.0, "p95": 2.0}
    assert (result.results, dict(source.outputs)) == (None, {})
    assert about == [session.describe()] == [result.session]
    assert steps[-1] == Step("us.dcm", 8, 8)
    assert "Research use only" in result.notice
    assert {p.name for p in moving.parent.iterdir()} == {"us.dcm"}


def test_files_are_named(moving: Path, tmp_path: Path) -> None:
    result = samedge.segment(FakeSession(), moving, ["center"], frames=3, output=tmp_path / "o")
    outputs = result.sources[0].outputs
    assert set(outputs) == {"masks", "video", "contact_sheet", "segmentation", "areas"}
    assert all(path.exists() for path in outputs.values())
    assert result.results == tmp_path / "o" / "results.json"
    report = json.loads(result.results.read_text())
    assert report["bundle"]["name"] is None  # a session does not know it
    assert len(report["sources"][0]["results"]) == 3


def test_several_sources_and_sinks(moving: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 40), 200, np.uint8))
    sinks = [Recorder(), Recorder()]
    with open_source(moving) as opened:
        samedge.segment(
            FakeSession(), [opened, str(tmp_path / "a.png")], "center", frames=2, sinks=sinks
        )
    for sink in sinks:
        assert [name for name, _ in sink.seen] == ["us.dcm", "us.dcm", "a.png"]
        assert sink.ended == ["us.dcm", "a.png"]


def test_a_failing_sink_ends_the_job_and_the_others_hear_of_it(
    moving: Path, tmp_path: Path
) -> None:
    other, out = Recorder(), tmp_path / "o"
    with pytest.raises(SourceError, match="the sink is full"):
        samedge.segment(
            FakeSession(), moving, "center", sinks=[other, Recorder(fail_at=2)], output=out
        )
    assert other.ended == ["SourceError"]
    assert {p.name for p in out.iterdir()} == {"masks", ".unfinished.txt"}  # no results.json


def test_prompts_in_all_their_shapes(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 60), 200, np.uint8))
    (tmp_path / "p.csv").write_text("frame,x,y\n0,7,8\n")
    asked = {}
    for name, given in {
        "center": "center",
        "points": [(1, 2), np.array([3, 4])],
        "box": [(1, 2, 30, 31)],
        "file": tmp_path / "p.csv",
        "plan": PromptPlan([(1, 2), (3, 4)], [1, 0]),
    }.items():
        session = FakeSession(family=SAM)
        samedge.segment(session, tmp_path / "a.png", given)  # type: ignore[arg-type]
        asked[name] = session.asked[0]
    points = {name: None if a["points"] is None else a["points"][0] for name, a in asked.items()}
    assert np.asarray(points["center"]).tolist() == [[30, 20]]
    assert np.asarray(points["points"]).tolist() == [[1, 2], [3, 4]]
    assert points["box"] is None
    assert asked["box"]["box"].tolist() == [[1, 2, 30, 31]]
    assert np.asarray(points["file"]).tolist() == [[7, 8]]
    assert asked["plan"]["labels"].tolist() == [[1, 0]]


@pytest.mark.parametrize("given", [[(1, 2, 3)], [(1, float("nan"))], ["middle"], [3], [("a", "b")]])
def test_what_is_no_prompt(moving: Path, given: Any) -> None:
    with pytest.raises(PromptError, match="came as a prompt; expected a point"):
        samedge.segment(FakeSession(), moving, given)


@pytest.mark.parametrize(
    ("family", "prompts", "options", "words"),
    [
        (SAM, None, {}, "has to be told what to segment"),
        (AUTOSAMUS, [(1, 2)], {}, "takes no prompts"),
        (AUTOSAMUS, None, {"track": True}, "there is no prompt to move"),
        (MSA_3D, [(1, 2)], {"crop": (0, 0, 32, 32)}, "sees whole slices"),
        (SAM, [(1, 2)], {"classes": ["liver"]}, "has no classes"),
        (MSA_3D, [(1, 2)], {"frames": 3}, "is a dicom; give a NIfTI volume|multiple of 4"),
    ],
)
def test_what_does_not_fit_writes_nothing(
    moving: Path,
    tmp_path: Path,
    family: Any,
    prompts: Any,
    options: Mapping[str, Any],
    words: str,
) -> None:
    session = FakeSession(family=family)
    with pytest.raises((PromptError, SourceError), match=words):
        samedge.segment(session, moving, prompts, output=tmp_path / "o", **options)
    assert not session.asked
    assert not (tmp_path / "o").exists()


def test_a_session_has_its_own_engine(moving: Path) -> None:
    with pytest.raises(SessionError, match=r"give them to samedge\.load"):
        samedge.segment(FakeSession(), moving, "center", threads=2)


class Endless(Source):
    """A loop of tiny frames; objects come and go."""

    kind, is_loop, rate = "video", True, 1000.0

    def __init__(self, frames: int, watch: Callable[[int], object]) -> None:
        super().__init__("live")
        self.total, self._frames, self._watch = None, frames, watch

    def __iter__(self) -> Iterator[Frame]:
        pixels = np.full((16, 16), 200, np.uint8)
        for i in range(self._frames):
            self._watch(i)
            self.warn(f"note {i}")
            yield Frame(pixels, i, i / 1000, self.name, f"live_{i}")


class Forgetful(FakeSession):
    """Keeps nothing of what it was asked."""

    def segment(self, *args: Any, **kwargs: Any) -> Any:
        result = super().segment(*args, **kwargs)
        self.asked.clear()
        return result


def test_memory_does_not_grow_with_the_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of frames; what is kept of them stays as it was when the samples were full."""
    monkeypatch.setattr(summary, "LATENCY_FRAMES", 256)
    monkeypatch.setattr(captions, "MAX_CURVE_POINTS", 256)
    frames, sizes = 2100, {}

    def watch(index: int) -> None:
        if index in (1050, frames - 1):
            gc.collect()  # what other tests of the process left is not ours
            sizes[index] = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        result = samedge.segment(
            Forgetful(), Endless(frames, watch), "center", output=tmp_path / "o",
            masks=False, overlays=False,
        )  # fmt: skip
    finally:
        tracemalloc.stop()
    before, after = sizes.values()
    assert after - before < 100_000  # the rows of the report alone would be several times that
    assert result.frames == frames
    assert len(result.sources[0].warnings) == 1001
    assert result.results is not None
    rows = json.loads(result.results.read_text())["sources"][0]["results"]
    assert [row["index"] for row in rows] == list(range(frames))


def test_pictures_of_long_loops_stay_few(tmp_path: Path) -> None:
    frames, sizes = 150, []
    tracemalloc.start()
    try:
        samedge.segment(
            Forgetful(),
            Endless(frames, lambda _: sizes.append(tracemalloc.get_traced_memory()[0])),
            "center", output=tmp_path / "o", masks=False,
        )  # fmt: skip
    finally:
        tracemalloc.stop()
    # 48 cells of 520 px, however long the loop.
    assert max(sizes) - sizes[0] < 48 * 520 * 520 * 3 * 1.25
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == [
        "areas.csv", "live.mp4", "live.seg.nrrd", "live_contact.png", "results.json"
    ]  # fmt: skip


def test_videos_last_as_long_as_their_source(dicom: Dicom, tmp_path: Path) -> None:
    times = {"FrameIncrementPointer": 0x00181065, "FrameTimeVector": ["0", "40", "400", "40"]}
    path = dicom(np.zeros((4, 64, 96), np.uint8), **times)
    result = samedge.segment(FakeSession(), path, ["center"], output=tmp_path / "o")
    report = json.loads((tmp_path / "o" / "results.json").read_text())
    assert [f["time_s"] for f in report["sources"][0]["results"]] == [0, 0.04, 0.44, 0.48]
    found = list(open_source(result.sources[0].outputs["video"]))
    assert [f.time_s for f in found] == pytest.approx([0, 0.04, 0.44, 0.48], abs=1e-3)
