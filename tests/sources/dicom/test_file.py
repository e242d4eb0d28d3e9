"""DICOM: pixels as a viewer shows them, geometry tags, damage, and no patient data in messages."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import examples
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEG2000Lossless, RLELossless

from samedge.errors import NotSupportedError, SamEdgeError, SourceError
from samedge.sources.dicom.pixels import voi
from samedge.sources.opening import open_source
from tests.sources.media import PATIENT, region

Dicom = Callable[..., Path]


def outcome(path: Path) -> SamEdgeError | None:
    """The error that reading a file ends in, if any. Other errors pass through."""
    try:
        list(open_source(path))
    except SamEdgeError as error:
        return error
    return None


def first(path: Path) -> np.ndarray:
    return next(iter(open_source(path))).pixels


def test_single_grey_frame(dicom: Dicom, grey: np.ndarray) -> None:
    source = open_source(dicom(grey))
    (frame,) = list(source)
    np.testing.assert_array_equal(frame.pixels, grey)
    assert (source.is_loop, source.total, frame.time_s, frame.name) == (False, 1, None, "us")
    assert frame.spacing_mm is None
    assert frame.region is None


def test_monochrome1_is_inverted(dicom: Dicom, grey: np.ndarray) -> None:
    path = dicom(grey, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(first(path), 255 - grey)


def test_rgb(dicom: Dicom, rgb: np.ndarray) -> None:
    np.testing.assert_array_equal(first(dicom(rgb)), rgb)


def test_ybr_full(dicom: Dicom, rgb: np.ndarray) -> None:
    from pydicom.pixels.processing import convert_color_space

    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    found = first(dicom(ybr, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(found.astype(int) - rgb).max() <= 3


def test_palette_of_pydicom() -> None:
    path = Path(examples.get_path("palette_color"))
    pixels = first(path)
    assert pixels.shape == (350, 800, 3)
    assert pixels.dtype == np.uint8
    assert pixels.max() > 200


def test_cine_is_decoded_frame_by_frame(dicom: Dicom, grey: np.ndarray) -> None:
    cine = np.stack([np.roll(grey, i, 1) for i in range(5)])
    source = open_source(dicom(cine, FrameTime="50"))
    frames = iter(source)
    for i in range(5):
        frame = next(frames)
        np.testing.assert_array_equal(frame.pixels, cine[i])
        assert frame.time_s == pytest.approx(0.05 * i)
        assert frame.name == f"us_{i:05d}"
    assert next(frames, None) is None
    assert (source.rate, source.total, source.is_loop) == (20.0, 5, True)


@pytest.mark.parametrize(
    ("tags", "rate"),
    [
        ({"CineRate": "30"}, 30.0),
        ({"RecommendedDisplayFrameRate": "15"}, 15.0),
        ({"FrameTimeVector": ["0", "40", "40"]}, 25.0),
        ({"FrameTime": "0"}, 25.0),
    ],
)
def test_rates(dicom: Dicom, grey: np.ndarray, tags: dict[str, object], rate: float) -> None:
    assert open_source(dicom(np.stack([grey] * 3), **tags)).rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("tags", "times"),
    [
        ({"FrameTime": "50"}, [0, 0.05, 0.1, 0.15]),
        ({"FrameTimeVector": ["0", "40", "60", "20"]}, [0, 0.04, 0.1, 0.12]),
        (
            {
                "FrameTime": "50",
                "FrameTimeVector": ["0", "40", "60", "20"],
                "FrameIncrementPointer": 0x00181065,
            },
            [0, 0.04, 0.1, 0.12],
        ),
        ({"FrameTimeVector": ["0", "40"]}, [0, 0.04, 0.08, 0.12]),  # not one for each frame
        ({"CineRate": "10"}, [0, 0.1, 0.2, 0.3]),
    ],
)
def test_times_of_frames(
    dicom: Dicom, grey: np.ndarray, tags: dict[str, object], times: list[float]
) -> None:
    frames = list(open_source(dicom(np.stack([grey] * 4), **tags)))
    assert [f.time_s for f in frames] == pytest.approx(times)
    stamped = "FrameTime" in tags or len(tags.get("FrameTimeVector", "")) == 4  # type: ignore[arg-type]
    assert [f.stamp_s for f in frames] == (pytest.approx(times) if stamped else [None] * 4)


def test_region_and_spacing(dicom: Dicom, grey: np.ndarray) -> None:
    path = dicom(grey, SequenceOfUltrasoundRegions=[region(4, 3, 59, 40)])
    frame = next(iter(open_source(path)))
    assert frame.region == (4, 3, 60, 41)  # the tag's last pixel is inclusive
    assert frame.spacing_mm == pytest.approx((1.0, 0.5))  # row, column


def test_the_largest_tissue_region_counts(dicom: Dicom, grey: np.ndarray) -> None:
    doppler = region(0, 0, 63, 47, 0.3)
    doppler.RegionSpatialFormat = 3
    small, large = region(0, 0, 9, 9, 0.2), region(10, 0, 60, 40, 0.1)
    frame = next(
        iter(open_source(dicom(grey, SequenceOfUltrasoundRegions=[doppler, small, large])))
    )
    assert frame.region == (10, 0, 61, 41)
    assert frame.spacing_mm == pytest.approx((2.0, 1.0))


def test_region_that_exceeds_the_frame(dicom: Dicom, grey: np.ndarray) -> None:
    path = dicom(grey, SequenceOfUltrasoundRegions=[region(10, 5, 127, 95)])
    source = open_source(path)
    frame = next(iter(source))
    assert frame.region == (10, 5, 64, 48)
    assert frame.spacing_mm is None  # it was written for a picture of twice the size
    assert "exceeds the frame" in source.warnings[0]
    assert "spacing is not used" in source.warnings[0]


def test_region_that_exceeds_by_a_pixel_keeps_its_spacing(dicom: Dicom, grey: np.ndarray) -> None:
    source = open_source(dicom(grey, SequenceOfUltrasoundRegions=[region(0, 0, 64, 48)]))
    frame = next(iter(source))
    assert frame.region == (0, 0, 64, 48)
    assert frame.spacing_mm is not None
    assert len(source.warnings) == 1


def test_region_beside_the_frame(dicom: Dicom, grey: np.ndarray) -> None:
    source = open_source(dicom(grey, SequenceOfUltrasoundRegions=[region(100, 100, 200, 200)]))
    assert next(iter(source)).region is None
    assert "misses the frame" in source.warnings[0]


def test_spacing_in_other_units_is_unknown(dicom: Dicom, grey: np.ndarray) -> None:
    item = region(0, 0, 60, 40)
    item.PhysicalUnitsXDirection = 4  # seconds
    assert (
        next(iter(open_source(dicom(grey, SequenceOfUltrasoundRegions=[item])))).spacing_mm is None
    )


def test_pixel_spacing_without_regions(dicom: Dicom, grey: np.ndarray) -> None:
    frame = next(iter(open_source(dicom(grey, PixelSpacing=["0.3", "0.2"]))))
    assert frame.spacing_mm == pytest.approx((0.3, 0.2))


def test_16_bit_by_voi_window(dicom: Dicom) -> None:
    deep = np.linspace(0, 4000, 32 * 32).reshape(32, 32).astype(np.uint16)
    found = first(dicom(deep, WindowCenter="2000", WindowWidth="1000"))
    expected = np.clip((deep - 1999.5) / 999 + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(found, np.round(expected))


def test_8_bits_by_voi_window(dicom: Dicom, grey: np.ndarray) -> None:
    found = first(dicom(grey, WindowCenter="60", WindowWidth="81"))
    expected = np.clip((grey - 59.5) / 80 + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(found, np.round(expected))


@pytest.mark.parametrize(("centre", "width"), [("128", "256"), ("127", "255"), ("127.5", "255")])
def test_a_window_of_all_8_bits_changes_nothing(
    dicom: Dicom, grey: np.ndarray, centre: str, width: str
) -> None:
    path = dicom(grey, WindowCenter=centre, WindowWidth=width)
    np.testing.assert_array_equal(first(path), grey)


def test_rescale_comes_before_the_window(dicom: Dicom) -> None:
    deep = np.full((32, 32), 100, np.uint16)
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-50"}
    found = first(dicom(deep, WindowCenter="150.5", WindowWidth="101", **tags))
    assert (found == 128).all()  # 2 * 100 - 50 = 150 lies in the middle


@pytest.mark.parametrize(("deep", "white"), [(False, 255), (True, 65535)])
def test_a_window_asked_for_is_in_the_units_of_the_file(
    dicom: Dicom, deep: bool, white: int
) -> None:
    """It takes the place of the file's own."""
    stored = np.array([[899, 1099, 1299, 4000]] * 16, np.uint16).repeat(4, axis=1)
    tags = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "WindowCenter": "0"}
    path = dicom(stored, WindowWidth="10", **tags)
    (frame,) = open_source(path, window=(-125, 275), deep=deep)
    assert frame.pixels[0, ::4].tolist() == [0, (white + 1) // 2, white, white]
    path = dicom(stored, PhotometricInterpretation="MONOCHROME1", **tags)
    (frame,) = open_source(path, window=(-125, 275), deep=deep)
    assert frame.pixels[0, ::4].tolist() == [white, white // 2, 0, 0]


def test_no_window_for_colours(dicom: Dicom, rgb: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has colours; --window is for grey values"):
        open_source(dicom(rgb), window=(0, 10))


def test_16_bit_without_window_is_stretched_once(dicom: Dicom) -> None:
    cine = np.stack([np.full((32, 32), v, np.uint16) for v in (100, 200)])
    cine[0, 0, :2] = 0, 400
    source = open_source(dicom(cine, FrameTime="40"))
    frames = [f.pixels for f in source]
    assert (int(frames[0][5, 5]), int(frames[1][5, 5])) == (64, 128)
    assert "0..400" in source.warnings[0]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_voi_is_monotonous_and_centred(function: str) -> None:
    x = np.linspace(-500, 500, 1001)
    y = voi(x, 20.0, 200.0, function)
    assert (np.diff(y) >= 0).all()
    assert voi(np.array([19.5 if function == "LINEAR" else 20.0]), 20.0, 200.0, function) == 0.5
    assert 0 <= y.min() < y.max() <= 1


def test_dicom_without_pixels(dicom: Dicom) -> None:
    with pytest.raises(SourceError, match=r"us\.dcm is a DICOM file with no pixels"):
        open_source(dicom(None))


def change_syntax(path: Path, syntax: UID) -> Path:
    """Claim another transfer syntax, without touching anything else."""
    data = pydicom.dcmread(path)
    length = len(data.file_meta.TransferSyntaxUID)
    content = path.read_bytes().replace(
        str(data.file_meta.TransferSyntaxUID).encode(), str(syntax)[:length].encode().ljust(length)
    )
    path.write_bytes(content)
    return path


def test_unknown_transfer_syntax(dicom: Dicom, grey: np.ndarray) -> None:
    path = change_syntax(dicom(grey), UID("1.2.840.10008.1.2.9"))
    with pytest.raises(SamEdgeError, match=r"transfer syntax|damaged"):
        list(open_source(path))


def test_syntax_without_a_decoder_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import base

    class Nothing:
        is_available = False
        missing_dependencies = ("gdcm - requires gdcm>=3", "pylibjpeg - requires pylibjpeg>=2")

    monkeypatch.setattr(base, "get_decoder", lambda _uid: Nothing)
    with pytest.raises(
        NotSupportedError, match=r"JPEG 2000.*pip install 'python-gdcm' or"
    ) as caught:
        open_source(examples.get_path("jpeg2k"))
    assert caught.value.exit_code == 4
    assert UID(JPEG2000Lossless).name.partition(" ")[0] in str(caught.value)


def test_unknown_photometric(dicom: Dicom, grey: np.ndarray) -> None:
    with pytest.raises(NotSupportedError, match="HSV"):
        open_source(dicom(grey, PhotometricInterpretation="HSV"))


def test_sizes_outside_the_limits(dicom: Dicom) -> None:
    with pytest.raises(SourceError, match="16 to 4096"):
        open_source(dicom(np.zeros((8, 8), np.uint8)))


def test_truncated_cine_names_the_frame(dicom: Dicom, grey: np.ndarray) -> None:
    path = dicom(np.stack([grey] * 4), FrameTime="40")
    path.write_bytes(path.read_bytes()[: -grey.size * 2])
    with pytest.raises(SourceError, match="damaged DICOM"):
        list(open_source(path))


def test_corrupt_encapsulated_frames(tmp_path: Path) -> None:
    path = tmp_path / "cut.dcm"
    data = Path(examples.get_path("ybr_color")).read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(3000) + data[middle + 3000 :])
    with pytest.raises(SourceError, match="damaged DICOM"):
        list(open_source(path))


def test_the_example_loop() -> None:
    source = open_source(examples.get_path("ybr_color"))
    frames = list(source)
    assert len(frames) == source.total == 30
    assert frames[0].pixels.shape == (240, 320, 3)
    assert source.rate == pytest.approx(30.0, abs=0.01)
    assert frames[0].region == (84, 31, 320, 240)
    assert frames[0].spacing_mm is None


def test_no_patient_data_anywhere(
    dicom: Dicom,
    grey: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = dicom(np.stack([grey] * 3), SequenceOfUltrasoundRegions=[region(0, 0, 900, 900)])
    texts = []
    with caplog.at_level(logging.DEBUG):
        source = open_source(path)
        list(source)
        texts += source.warnings
        for cut in range(200, path.stat().st_size - 10, 400):
            damaged = path.with_name("cut.dcm")
            damaged.write_bytes(path.read_bytes()[:cut])
            texts.append("".join(traceback.format_exception(outcome(damaged))))
    texts += [caplog.text, *capfd.readouterr()]
    for secret in (*PATIENT.split("^"), "4711"):
        assert secret not in "\n".join(texts)


@given(st.data())
def test_damaged_dicom_ends_in_a_samedge_error_or_frames(
    tmp_path: Path, data: st.DataObject
) -> None:
    base = tmp_path / "base.dcm"
    if not base.exists():
        base.write_bytes(Path(examples.get_path("rgb_color")).read_bytes())
    content = bytearray(base.read_bytes()[:20_000])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, 3000))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzz.dcm"
    path.write_bytes(content)
    assert "fuzz.dcm" in str(outcome(path) or "fuzz.dcm")


@pytest.mark.parametrize("compressed", [False, True])
def test_samples_that_do_not_end_at_the_lowest_bit(
    dicom: Dicom, grey: np.ndarray, compressed: bool
) -> None:
    """pydicom would cut the upper bits off and show the rest."""
    words = grey.astype(np.uint16) << 8
    path = dicom(words, BitsStored=12, HighBit=15)
    if compressed:  # codestreams know where their bits are
        data = pydicom.dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
        assert len(list(open_source(path))) == 1
        return
    with pytest.raises(NotSupportedError, match=r"12 bits end at bit 15 of 16.*bit 11"):
        list(open_source(path))
    assert len(list(open_source(dicom(words, BitsStored=16, HighBit=7)))) == 1  # all bits are used


def test_a_modality_table_of_8_bits_is_applied(dicom: Dicom, grey: np.ndarray) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [256, 0, 16], "US"
    table.LUTData = (np.arange(256)[::-1] * 257).astype("<u2").tobytes()
    tags = {"WindowCenter": 32768, "WindowWidth": 65536}
    path = dicom(grey, ModalityLUTSequence=Sequence([table]), **tags)
    pixels = next(iter(open_source(path))).pixels
    assert np.abs(pixels.astype(int) - (255 - grey.astype(int))).max() <= 1


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PresentationLUTShape": "INVERSE"}, "contradict each other"),
        ({"PresentationLUTShape": "IDENTITY"}, None),
        (
            {"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"},
            None,
        ),
        ({"PixelAspectRatio": [2, 1]}, "not square"),
        ({"PixelAspectRatio": [1, 1]}, None),
        ({"PixelAspectRatio": [2, 1], "PixelSpacing": [0.2, 0.1]}, None),
        ({"ConcatenationUID": "1.2.3"}, "one part of a concatenation"),
        ({"RedPaletteColorLookupTableDescriptor": [256, 0, 16]}, "palette beside them"),
    ],
)
def test_what_is_not_shown_is_said(
    dicom: Dicom, grey: np.ndarray, tags: dict[str, object], words: str | None
) -> None:
    source = open_source(dicom(grey, **tags))
    list(source)
    assert (words is None and not source.warnings) or words in " ".join(source.warnings)
