"""A folder of DICOM slices: order, grey levels, and what makes no volume."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sequence import Sequence

from samedge.errors import NotSupportedError, SamEdgeError, SourceError
from samedge.sources.opening import open_source
from tests.sources.media import PATIENT

Series = Callable[..., Path]
HU = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}


@pytest.fixture
def volume() -> np.ndarray:
    """Six CT slices `[D, H, W]`, 12 bits; slice k begins with k."""
    values = np.random.default_rng(0).integers(0, 4096, (6, 20, 24)).astype(np.uint16)
    values[:, 0, 0] = np.arange(6)
    return values


def order_of(path: Path) -> list[int]:
    """Numbers of the slices, as they come out."""
    return [int(f.pixels[0, 0]) for f in open_source(path, window=(0, 65535), deep=True)]


def test_slices_come_along_their_normal(series: Series, volume: np.ndarray) -> None:
    path = series(volume)
    source = open_source(path)
    assert (source.kind, source.is_stack, source.is_loop) == ("dicom series", True, False)
    assert (source.total, source.size, source.name) == (6, (20, 24), "series")
    assert source.voxel_mm3 == pytest.approx(0.5 * 0.4 * 2.5)
    (frame, *_) = source
    assert (frame.spacing_mm, frame.name, frame.source) == ((0.5, 0.4), "series_00000", "series")
    assert order_of(path) == list(range(6))


@pytest.mark.parametrize(
    ("orientation", "axis", "sign"),
    [([1, 0, 0, 0, 0, -1], 1, 1), ([0, 1, 0, 0, 0, -1], 0, -1), ([1, 0, 0, 0, -1, 0], 2, -1)],
)
def test_coronal_sagittal_and_upside_down(
    series: Series, volume: np.ndarray, orientation: list[int], axis: int, sign: int
) -> None:
    """The normal is rows x columns, whatever the numbers of the images say."""

    def position(k: int) -> list[float]:
        place = [0.0, 0.0, 0.0]
        place[axis] = sign * 2.5 * k
        return place

    path = series(
        volume,
        ImageOrientationPatient=[float(v) for v in orientation],
        ImagePositionPatient=position,
        InstanceNumber=lambda k: 6 - k,
    )
    assert order_of(path) == list(range(6))


def test_numbers_where_there_are_no_places(series: Series, volume: np.ndarray) -> None:
    path = series(volume, ImagePositionPatient=None, InstanceNumber=lambda k: 10 - k)
    source = open_source(path)
    assert order_of(path) == list(range(5, -1, -1))
    assert source.voxel_mm3 is None
    assert source.warnings == []


def test_file_names_are_the_last_resort(series: Series, volume: np.ndarray) -> None:
    source = open_source(series(volume, ImagePositionPatient=None, InstanceNumber=None))
    assert "in the order of their file names" in source.warnings[0]


def test_missing_slices(series: Series, volume: np.ndarray) -> None:
    path = series(volume)
    (path / "im3_3.dcm").unlink()
    source = open_source(path)
    assert source.total == 5
    assert source.voxel_mm3 is None
    assert "from 2.5 to 5 mm; slices may be missing" in source.warnings[0]


def test_missing_numbers(series: Series, volume: np.ndarray) -> None:
    path = series(volume, ImagePositionPatient=None)
    (path / "im3_3.dcm").unlink()
    assert "1 numbers are missing" in open_source(path).warnings[0]


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"SeriesInstanceUID": lambda k: f"1.2.{k // 4}"}, r"2 DICOM series \(of 4, 2 images\)"),
        ({"ImagePositionPatient": [0.0, 0, 0]}, "5 slices lie where another one lies already"),
        (
            {"ImageOrientationPatient": lambda k: [1.0, 0, 0, 0, float(k > 0), float(k == 0)]},
            "of 6 slices lie in another direction",
        ),
        ({"NumberOfFrames": lambda k: 1 + (k == 0)}, "1 multi-frame DICOM files"),
    ],
)
def test_what_is_no_volume(
    series: Series, volume: np.ndarray, tags: dict[str, object], words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        open_source(series(volume, **tags))


def test_sizes_that_differ(series: Series, volume: np.ndarray) -> None:
    path = series(volume)
    series(volume[:1, :16], InstanceNumber=9)
    with pytest.raises(SourceError, match=r"5 of 24 x 20 px, 1 of 24 x 16 px"):
        open_source(path)


def test_other_files_are_counted(series: Series, volume: np.ndarray, dicom: Series) -> None:
    path = series(volume)
    dicom(None, "series/DICOMDIR")
    (path / "notes.txt").write_text("x")
    source = open_source(path)
    assert source.total == 6
    assert source.warnings == ["2 of 8 files in series are no DICOM images; skipped"]
    for file in path.glob("*.dcm"):
        file.unlink()
    with pytest.raises(SourceError, match="2 files and no DICOM image"):
        open_source(path)


def test_hounsfield_units_through_a_window(series: Series) -> None:
    stored = np.zeros((2, 16, 16), np.uint16)
    stored[0, 0, :4] = 1024 - 125, 1024 + 75, 1024 + 275, 4000
    path = series(stored, **HU)
    (frame, _) = open_source(path, window=(-125, 275), deep=True)
    assert frame.pixels[0, :5].tolist() == [0, 32768, 65535, 65535, 0]
    (frame, _) = open_source(path, window=(-125, 275))
    assert frame.pixels[0, :5].tolist() == [0, 128, 255, 255, 0]


def test_slopes_of_their_own_mean_the_same_value(series: Series) -> None:
    """PET stores each slice with its own slope."""
    stored = np.stack([np.full((16, 16), 100, np.uint16), np.full((16, 16), 50, np.uint16)])
    path = series(stored, RescaleIntercept="0", RescaleSlope=lambda k: str(k + 1))
    first, second = open_source(path, window=(0, 200))
    assert int(first.pixels[0, 0]) == int(second.pixels[0, 0]) == 128


def test_one_window_for_all_slices(series: Series) -> None:
    """That of the middle slice: slices with windows of their own would flicker."""
    stored = np.full((3, 16, 16), 100, np.uint16)
    path = series(stored, WindowWidth="101", WindowCenter=lambda k: str(100.5 + 50 * (k != 1)))
    assert [int(f.pixels[0, 0]) for f in open_source(path)] == [128] * 3


def test_without_a_window_the_whole_series_is_stretched(series: Series, volume: np.ndarray) -> None:
    source = open_source(series(volume, **HU), deep=True)
    frames = np.stack([f.pixels for f in source])
    low, high = int(volume.min()), int(volume.max())
    np.testing.assert_array_equal(frames, np.round((volume - float(low)) / (high - low) * 65535))
    assert f"own range {low - 1024}..{high - 1024} was stretched" in source.warnings[0]


def test_eight_bits_stay(series: Series) -> None:
    stored = np.random.default_rng(0).integers(0, 99, (2, 16, 16)).astype(np.uint8)
    frames = [f.pixels for f in open_source(series(stored), deep=True)]
    np.testing.assert_array_equal(np.stack(frames), stored)
    assert frames[0].dtype == np.uint8


def test_eight_of_sixteen_bits_are_stretched_together(series: Series) -> None:
    stored = np.zeros((2, 16, 16), np.uint16)
    stored[0, 0, 0], stored[1, 0, 0] = 200, 100
    source = open_source(series(stored, BitsStored=8, HighBit=7))
    assert [int(f.pixels[0, 0]) for f in source] == [255, 128]
    assert len(source.warnings) == 1


def test_damaged_slices_are_named(series: Series, volume: np.ndarray) -> None:
    path = series(volume)
    cut = path / "im3_3.dcm"
    cut.write_bytes(cut.read_bytes()[:-300])
    with pytest.raises(SourceError, match=r"im3_3\.dcm is a damaged DICOM file"):
        list(open_source(path, window=(0, 9)))


def test_no_patient_data_anywhere(
    series: Series,
    volume: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = series(volume, PixelSpacing=None)
    with caplog.at_level(logging.DEBUG):
        source = open_source(path)
        list(source)
    text = "\n".join([*source.warnings, caplog.text, *capfd.readouterr()])
    for secret in (*PATIENT.split("^"), "4711", "1.2.3", str(path.parent)):
        assert secret not in text


@given(st.data())
def test_damaged_series_end_in_a_samedge_error_or_frames(
    tmp_path: Path, series: Series, data: st.DataObject
) -> None:
    path = tmp_path / "fuzzed"
    if not path.exists():
        series(np.zeros((3, 16, 16), np.uint16), "fuzzed", **HU)
    victim = sorted(path.iterdir())[1]
    before = victim.read_bytes()
    content = bytearray(before)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    victim.write_bytes(content[: data.draw(st.integers(132, len(content)))])
    message = "fuzzed"
    try:
        list(open_source(path))
    except SamEdgeError as error:
        message = str(error)
    finally:
        victim.write_bytes(before)
    assert "fuzzed" in message or victim.name in message


def enhanced(places: list[float], slopes: list[str]) -> dict[str, object]:
    """Functional groups of a multi-frame CT with slices at `places` (mm)."""
    shared, frames = pydicom.Dataset(), []
    measures, direction = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [0.5, 0.4]
    direction.ImageOrientationPatient = [1.0, 0, 0, 0, 1.0, 0]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([direction])
    for place, slope in zip(places, slopes, strict=True):
        frame, where, scale = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        where.ImagePositionPatient = [0.0, 0.0, place]
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = slope, "-1024", "HU"
        frame.PlanePositionSequence = Sequence([where])
        frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    return {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
    }


@pytest.mark.parametrize("step", [3.0, -3.0])
def test_multi_frame_volumes(dicom: Series, volume: np.ndarray, step: float) -> None:
    path = dicom(volume, **enhanced([step * k for k in range(6)], ["1"] * 6))
    source = open_source(path, window=(-1024, 3071), deep=True)
    assert (source.is_stack, source.is_loop, source.total) == (True, False, 6)
    assert source.voxel_mm3 == pytest.approx(0.5 * 0.4 * 3)
    frames = list(source)
    np.testing.assert_array_equal(frames[2].pixels, np.round(volume[2] / 4095 * 65535))
    assert (frames[2].spacing_mm, frames[2].name) == ((0.5, 0.4), "us_00002")
    assert source.warnings == []


def test_multi_frame_volumes_are_stretched_as_a_whole(dicom: Series, volume: np.ndarray) -> None:
    volume[1:, 5, 5] = 9000
    source = open_source(dicom(volume, **enhanced([3.0 * k for k in range(6)], ["1"] * 6)))
    frames = [f.pixels for f in source]
    assert [int(p[5, 5]) for p in frames[1:]] == [255] * 5
    assert frames[0].max() < 127
    assert "own range -1024..7976 was stretched" in source.warnings[0]


def test_phases_of_a_multi_frame_file_stay_a_loop(dicom: Series, volume: np.ndarray) -> None:
    path = dicom(volume, **enhanced([0, 3, 6, 0, 3, 6], ["1"] * 6))
    source = open_source(path, window=(0, 1))
    assert (source.is_stack, source.is_loop) == (False, True)


def test_scales_of_single_frames_are_not_guessed(dicom: Series, volume: np.ndarray) -> None:
    path = dicom(volume, **enhanced([3.0 * k for k in range(6)], ["1", "2"] * 3))
    with pytest.raises(NotSupportedError, match="convert the file to single frames"):
        open_source(path)
