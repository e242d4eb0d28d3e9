"""Recordings of live streams as DICOM, read back by others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge._version import __version__
from samedge.drawing.colours import colour_of
from samedge.errors import OutputError
from samedge.sources.frame import Frame, Region
from samedge.sources.opening import open_source
from samedge.stream.live.item import LiveFrame, LiveObject, Status
from samedge.stream.sinks import dicom_store
from samedge.stream.sinks.dicom_objects import cielab
from samedge.stream.sinks.dicom_seg import DicomSegSink
from samedge.stream.sinks.opening import open_sink
from tests.stream.sinks.live_items import STEP_S, about, disc, found, item, picture

_READ: list[highdicom.seg.Segmentation] = []


def segmentation_at(path: Path) -> highdicom.seg.Segmentation:
    found = highdicom.seg.segread(path)
    _READ.append(found)
    return found


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """highdicom leaves a database in memory open, of which Python 3.13 warns when it is freed."""
    yield
    while _READ:
        _READ.pop()._db_con.close()


def record(path: Path, items: Iterable[LiveFrame], **options: Any) -> DicomSegSink:
    sink = DicomSegSink(path, **options)
    sink.open(about(title="Demo"))
    for one in items:
        sink.write(one)
    sink.close(None)
    return sink


def capture(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path.with_name(f"{path.stem}-sc.dcm"))


@given(
    st.integers(16, 40),
    st.integers(16, 40),
    st.lists(st.sampled_from(["grey", "grey as RGB", "RGB"]), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_everything_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, kinds: list[str], seed: int
) -> None:
    """Frames of one bit per pixel begin in the middle of bytes where their size is odd."""
    path = tmp_path_factory.mktemp("out") / "a.dcm"
    rng, items, masks = np.random.default_rng(seed), [], {}
    for index, kind in enumerate(kinds):
        grey = rng.integers(0, 256, (height, width)).astype(np.uint8)
        rgb = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        pixels = {"grey": grey, "grey as RGB": np.repeat(grey[..., None], 3, axis=2), "RGB": rgb}
        frame = item(index, pixels=pixels[kind]).frame
        objects = []
        for number in (1, 4, 9):  # the second one was removed
            mask = (rng.random((height, width)) < 0.3).astype(np.uint8)
            if rng.random() < 0.7:
                objects.append(found(frame, number, mask))
                masks[index, number] = mask
        items.append(item(index, frame=frame, objects=tuple(objects)))
    record(path, items)
    source = capture(path)
    stored = source.pixel_array.reshape(len(items), height, width, -1)
    assert stored.shape[3] == (3 if "RGB" in kinds else 1)
    for one, there in zip(items, stored, strict=True):
        pixels = one.frame.pixels.reshape(height, width, -1)
        assert (there == pixels).all()  # grey ones in all channels
    if not masks:
        assert not path.exists()
        return
    segmentation = segmentation_at(path)
    numbers = [int(one.TrackingID.split()[1]) for one in segmentation.SegmentSequence]
    assert sorted(numbers) == sorted({number for _, number in masks})
    frames = list(range(1, len(items) + 1))
    again = segmentation.get_pixels_by_source_frame(
        source.SOPInstanceUID,
        frames,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    for index in range(len(items)):
        for place, number in enumerate(numbers):
            wanted = masks.get((index, number), np.zeros((height, width), np.uint8))
            assert (again[index, ..., place] == wanted).all()
    several = [sum(m for (i, _), m in masks.items() if i == index) for index in range(len(items))]
    overlap = any(np.max(one) > 1 for one in several)
    assert segmentation.SegmentsOverlap == ("YES" if overlap else "NO")


def test_what_the_files_say(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    sink = record(path, map(item, (0, 1, 3)))
    assert sorted(os.listdir(tmp_path)) == ["a-sc.dcm", "a.dcm"]
    assert sink.describe() == {
        "kind": "dicom-seg",
        "files": ["a-sc.dcm", "a.dcm"],
        "frames": 3,
        "masks": 3,
        "segments": ["object 1"],
        "notes": [],
    }
    source, segmentation = capture(path), pydicom.dcmread(path)
    assert source.StudyInstanceUID == segmentation.StudyInstanceUID
    assert source.SeriesInstanceUID != segmentation.SeriesInstanceUID
    reference = segmentation.ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == source.SeriesInstanceUID
    instance = reference.ReferencedInstanceSequence[0]
    assert instance.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert instance.ReferencedSOPClassUID == source.SOPClassUID
    assert (source.Modality, segmentation.Modality) == ("US", "SEG")
    assert source.BurnedInAnnotation == "YES"
    for data in (source, segmentation):
        assert (str(data.PatientName), data.PatientID, data.StudyDate) == ("Anonymous", "", "")
        assert (data.Manufacturer, data.SoftwareVersions) == ("samedge", __version__)
    segment = segmentation.SegmentSequence[0]
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == ("object 1", "SEMIAUTOMATIC")
    how = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (how.AlgorithmName, how.AlgorithmVersion) == ("samedge: Demo", __version__)
    assert how.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert "PixelMeasuresSequence" not in segmentation.SharedFunctionalGroupsSequence[0]
    assert list(map(float, source.FrameTimeVector)) == pytest.approx(
        [0, 1000 * STEP_S, 2000 * STEP_S], abs=1e-3
    )


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
@pytest.mark.parametrize("channels", [1, 3])
def test_a_validator_finds_no_fault(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.dcm"
    shape = (33, 41) if channels == 1 else (33, 41, 3)
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    frames = [Frame(pixels, i, i * STEP_S, "t", f"t{i}", (0.2, 0.1)) for i in range(3)]
    record(path, [item(i, frame=f, objects=(found(f), found(f, 2))) for i, f in enumerate(frames)])
    for name in ("a.dcm", "a-sc.dcm"):
        done = subprocess.run(
            ["dciodvfy", tmp_path / name], capture_output=True, text=True, check=False
        )
        assert "Error" not in done.stdout + done.stderr, done.stderr


def test_our_own_reader_takes_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    frames = [
        Frame(picture(i, channels=1), i, i * STEP_S, "t", f"t{i}", spacing_mm=(0.2, 0.1))
        for i in range(4)
    ]
    record(path, [item(i, frame=frame, objects=(found(frame),)) for i, frame in enumerate(frames)])
    with open_source(tmp_path / "a-sc.dcm") as source:
        again = list(source)
    assert all((frame.pixels == old.pixels).all() for frame, old in zip(again, frames, strict=True))
    assert [frame.time_s for frame in again] == pytest.approx(
        [i * STEP_S for i in range(4)], abs=1e-4
    )
    assert again[0].spacing_mm == (0.2, 0.1)
    shared = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0]
    assert list(map(float, shared.PixelMeasuresSequence[0].PixelSpacing)) == [0.2, 0.1]


def test_a_spacing_of_a_part_is_none_of_the_whole(tmp_path: Path) -> None:
    frame = Frame(
        picture(0), 0, 0.0, "t", "t", (0.2, 0.1), regions=(Region((0, 0, 9, 9), (0.2, 0.1)),)
    )
    record(tmp_path / "a.dcm", [item(0, frame=frame)])
    assert "PixelSpacing" not in capture(tmp_path / "a.dcm")


def test_doubtful_masks_are_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    frame = item(0).frame
    objects = (
        found(frame, 1, status=Status.DOUBTFUL),
        found(frame, 2, name="a\\b\n" + "x" * 99),
        LiveObject(3, "vein", (1, 2, 3), Status.LOST),
        found(frame, 4, np.zeros((64, 96), np.uint8)),
    )
    record(path, [item(0, frame=frame, objects=objects)])
    segments = segmentation_at(path).SegmentSequence
    assert [one.SegmentLabel for one in segments] == ["a b " + "x" * 60]
    assert list(segments[0].RecommendedDisplayCIELabValue) == cielab(colour_of(1))


def test_a_click_on_a_still_picture(tmp_path: Path) -> None:
    """The masks that came last are those of the frame; that they are not shown any more later on
    takes nothing away."""
    first = item(0, objects=())
    moved = found(first.frame, 1, disc((64, 96), 50, 40, 9), name="atrium")
    clicked = item(0, frame=first.frame, is_new=False, objects=(moved,))
    expired = item(0, frame=first.frame, is_new=False, objects=())
    record(tmp_path / "a.dcm", [first, clicked, expired])
    segmentation = segmentation_at(tmp_path / "a.dcm")
    assert capture(tmp_path / "a.dcm").NumberOfFrames == 1
    assert (segmentation.pixel_array.reshape(64, 96) == moved.mask).all()
    assert segmentation.SegmentSequence[0].SegmentLabel == "atrium"


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = item(2, pixels=picture(2, (32, 32)))
    items = [item(0), item(1), small, *map(item, range(3, 8))]
    sink = record(tmp_path / "a.dcm", items, frames=4)
    assert capture(tmp_path / "a.dcm").NumberOfFrames == 4
    assert sink.notes == [
        "frames left out: 1 of another size",
        "frames left out: 3 beyond the first 4",
    ]
    # DICOM cannot say more than 4 GB.
    monkeypatch.setattr(dicom_store, "LARGEST", 257 * 64 * 96 // 8)
    sink = record(tmp_path / "b.dcm", items, frames=100)
    assert sink.notes[-1] == "frames left out: 4 beyond the first 3"
    monkeypatch.setattr(dicom_store, "_MOST_MASKS", 0)
    monkeypatch.setattr(dicom_store, "LARGEST", 3 * 64 * 96 * 2 + 1)
    sink = record(tmp_path / "c.dcm", items, frames=100)
    assert sink.notes[-1] == "frames left out: 5 beyond the first 2"


def test_recording_by_request(tmp_path: Path) -> None:
    sink = open_sink(f"dicom-seg:{tmp_path}/a.dcm?record=request&frames=5")
    assert isinstance(sink, DicomSegSink)
    sink.open(about())
    for index in range(12):
        if index % 3 == 0:
            sink.record(index % 2 == 1)
        sink.write(item(index))
    sink.close(RuntimeError("the stream failed"))
    assert capture(tmp_path / "a.dcm").NumberOfFrames == 5
    with pytest.raises(OutputError, match="whole number"):
        open_sink("dicom-seg:a.dcm?frames=x")
    with pytest.raises(OutputError, match="expected 1 or more"):
        open_sink("dicom-seg:a.dcm?frames=0")


def test_nothing_to_write(tmp_path: Path) -> None:
    record(tmp_path / "a.dcm", [])
    assert os.listdir(tmp_path) == []
    sink = record(tmp_path / "b.dcm", [item(0, objects=())])
    assert os.listdir(tmp_path) == ["b-sc.dcm"]
    assert sink.notes == ["no object was found: there is no segmentation"]


@pytest.mark.parametrize("name", ["a.dcm", "a-sc.dcm"])
def test_nothing_is_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(OutputError, match=f"{name} exists"):
        DicomSegSink(tmp_path / "a.dcm").open(about())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While frames wait; and when the file is written."""
    sink = DicomSegSink(tmp_path / "a.dcm")
    sink.open(about())
    sink.write(item(0))
    sink.write(item(1))
    sink._pixels.close()
    sink._pixels._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    with pytest.raises(OutputError, match="no space left"):
        sink.write(item(2))
    with pytest.raises(OutputError):
        sink.close(OutputError("no space left"))
    assert os.listdir(tmp_path) == []


def test_very_long_loops_have_a_mean_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samedge.stream.sinks import dicom_objects

    monkeypatch.setattr(dicom_objects, "_LIST_BYTES", 20)
    record(tmp_path / "a.dcm", map(item, (0, 1, 2, 6)))
    data = capture(tmp_path / "a.dcm")
    assert "FrameTimeVector" not in data
    assert float(data.FrameTime) == pytest.approx(2000 * STEP_S, abs=0.01)


def test_colours() -> None:
    """L* 0 to 100, a* and b* -128 to 127, each over 16 bits."""
    assert cielab((0, 0, 0)) == [0, 32896, 32896]
    assert cielab((255, 255, 255)) == pytest.approx([65535, 32896, 32896], abs=2)
    lightness, a, b = cielab((255, 0, 0))
    assert lightness / 655.35 == pytest.approx(54.3, abs=0.2)  # of sRGB red, under D50
    assert (a / 257 - 128, b / 257 - 128) == pytest.approx((80.8, 69.9), abs=0.5)
