"""NIfTI: which voxels a frame shows, in which grey levels, and damage."""

from __future__ import annotations

import gzip
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import MissingDependencyError, SamEdgeError, SourceError
from samedge.sources.opening import open_source
from tests.sources.media import PATIENT

Nifti = Callable[..., Path]
SHAPE = (20, 24, 18)  # X, Y, Z


@pytest.fixture
def voxels() -> np.ndarray:
    """Bytes `[X, Y, Z]`, no two slices alike along any axis."""
    return np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)


@pytest.mark.parametrize("name", ["case.nii", "case.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_frames_are_transposed_slices(
    nifti: Nifti, voxels: np.ndarray, name: str, kind: type
) -> None:
    source = open_source(nifti(voxels, name, kind=kind))
    frames = list(source)
    assert (source.kind, source.is_stack, source.total, source.size) == (
        "volume",
        True,
        18,
        (24, 20),
    )
    for k, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.pixels, voxels[:, :, k].T)
        assert (frame.index, frame.time_s, frame.name) == (k, None, f"case_{k:05d}")
    assert frames[0].pixels.dtype == np.uint8
    assert source.warnings == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_other_axes(nifti: Nifti, voxels: np.ndarray, axis: int) -> None:
    source = open_source(nifti(voxels), axis=axis)
    frames = np.stack([f.pixels for f in source])
    columns, rows = (i for i in range(3) if i != axis)
    np.testing.assert_array_equal(frames, voxels.transpose(axis, rows, columns))
    spacing = (2.0, 3.0, 5.0)
    (frame, *_) = source
    assert frame.spacing_mm == pytest.approx((spacing[rows], spacing[columns]))
    assert source.voxel_mm3 == pytest.approx(30)


def test_the_content_decides_and_not_the_name(nifti: Nifti, voxels: np.ndarray) -> None:
    packed = nifti(voxels).rename(nifti(voxels).with_name("scan.dat"))
    np.testing.assert_array_equal(next(iter(open_source(packed))).pixels, voxels[:, :, 0].T)
    plain = nifti(voxels, "case.nii").rename(packed.with_name("plain.nii.gz"))
    np.testing.assert_array_equal(next(iter(open_source(plain))).pixels, voxels[:, :, 0].T)


def test_big_endian(nifti: Nifti, voxels: np.ndarray, tmp_path: Path) -> None:
    values = voxels.astype(np.int16) * 10
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.Nifti1Image(values, np.eye(4), header).to_filename(tmp_path / "big.nii")
    frame = next(iter(open_source(tmp_path / "big.nii", window=(0, 2550))))
    np.testing.assert_array_equal(frame.pixels, voxels[:, :, 0].T)


def test_hounsfield_units_through_a_window(nifti: Nifti) -> None:
    stored = np.full(SHAPE, 512, np.int16)
    stored[0], stored[1], stored[2] = 0, 950, 4000
    path = nifti(stored)
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[112:120] = struct.pack("<ff", 2.0, -1024.0)  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(bytes(data)))
    (frame, *_) = open_source(path, window=(-1024, 876), deep=True)
    assert frame.pixels.dtype == np.uint16
    assert frame.pixels[0, :4].tolist() == [0, 65535, 65535, round(65535 * 1024 / 1900)]


def test_floats_within_0_and_1_are_taken_so(nifti: Nifti, voxels: np.ndarray) -> None:
    source = open_source(nifti((voxels / 255 * 0.5).astype(np.float32)), deep=True)
    (frame, *_) = source
    expected = np.round(voxels[:, :, 0].T / 255 * 0.5 * 65535)
    np.testing.assert_allclose(frame.pixels, expected, atol=1)
    assert source.warnings == []


def test_anything_else_is_stretched_and_said_so(nifti: Nifti, voxels: np.ndarray) -> None:
    source = open_source(nifti(voxels.astype(np.int16) * 4 - 100))
    frames = list(source)
    np.testing.assert_array_equal(frames[3].pixels, voxels[:, :, 3].T)
    assert source.warnings == [
        "case.nii.gz: no --window was given; the volume's own range -100..920 was stretched from "
        "black to white"
    ]


@pytest.mark.parametrize("window", [None, (0.0, 1.0)])
def test_nan(nifti: Nifti, window: tuple[float, float] | None) -> None:
    values = np.zeros(SHAPE, np.float32)
    values[3, 4, 5] = np.nan
    with pytest.raises(SourceError, match="1 NaN or infinite values in slice 5"):
        list(open_source(nifti(values), window=window))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((*SHAPE, 2), np.uint8), r"shape \[20, 24, 18, 2\]; expected one volume"),
        (np.zeros(SHAPE, np.complex64), "complex voxels"),
        (np.zeros((8, 24, 18), np.uint8), "16 to 4096 px"),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colour voxels"),
    ],
)
def test_what_is_no_grey_volume(nifti: Nifti, array: np.ndarray, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_source(nifti(array))


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 1), (20, 24, 3, 1)])
def test_fewer_and_trailing_axes(nifti: Nifti, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    frames = list(open_source(nifti(values)))
    expected = values.reshape(20, 24, -1)
    np.testing.assert_array_equal(np.stack([f.pixels.T for f in frames], 2), expected)


def test_sizes_are_checked_before_anything_is_allocated(nifti: Nifti, voxels: np.ndarray) -> None:
    path = nifti(voxels)
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[42:48] = struct.pack("<hhh", 4096, 4096, 16000)
    path.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(SourceError, match=r"more than 2\^30 voxels"):
        open_source(path)


@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz"])
def test_truncated_files(nifti: Nifti, voxels: np.ndarray, name: str) -> None:
    path = nifti(voxels, name)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match="is damaged"):
        list(open_source(path))


def test_units_other_than_millimetres(nifti: Nifti, voxels: np.ndarray) -> None:
    affine = np.diag([2e-3, 3e-3, 5e-3, 1])
    source = open_source(nifti(voxels, affine=affine, xyzt_units=1))  # metres
    assert next(iter(source)).spacing_mm == pytest.approx((3, 2))
    assert source.voxel_mm3 == pytest.approx(30)


def test_volume_of_a_sheared_grid(nifti: Nifti, voxels: np.ndarray) -> None:
    affine = np.diag([1.0, 1, 2, 1])
    affine[1, 2] = 1.5  # a tilted gantry
    assert open_source(nifti(voxels, affine=affine)).voxel_mm3 == pytest.approx(2)


def test_one_volume_per_path(nifti: Nifti, voxels: np.ndarray, tmp_path: Path) -> None:
    nibabel.Nifti1Pair(voxels, np.eye(4)).to_filename(tmp_path / "pair.img")
    with pytest.raises(SourceError, match="NIfTI pair"):
        open_source(tmp_path / "pair.hdr")
    folder = tmp_path / "folder"
    folder.mkdir()
    nifti(voxels, "folder/a.nii.gz")
    with pytest.raises(SourceError, match="1 are videos or volumes: give them one by one"):
        open_source(folder)


def test_without_nibabel(nifti: Nifti, voxels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = nifti(voxels)
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[stream\]"):
        open_source(path)


@given(st.data(), st.booleans(), st.booleans())
def test_damaged_files_end_in_a_samedge_error_or_frames(
    tmp_path: Path, data: st.DataObject, packed: bool, second: bool
) -> None:
    kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    content = bytearray(kind(np.zeros((16, 16, 2), np.int16), np.eye(4)).to_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, 560))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    path = tmp_path / "fuzz.nii"
    path.write_bytes(gzip.compress(cut)[: data.draw(st.integers(1, 2000))] if packed else cut)
    message = "fuzz.nii"
    try:
        list(open_source(path, window=data.draw(st.sampled_from([None, (0.0, 5.0)]))))
    except SamEdgeError as error:
        message = str(error)
    assert "fuzz.nii" in message


@given(st.binary(max_size=700))
def test_any_bytes_behind_the_mark(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "fuzz.nii"
    body = bytearray(struct.pack("<i", 348) + tail[:340].ljust(340, b"\0") + b"n+1\0" + tail[340:])
    path.write_bytes(body)
    with pytest.raises(SamEdgeError, match=r"fuzz\.nii"):
        list(open_source(path))


def test_no_patient_data_anywhere(
    nifti: Nifti,
    voxels: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = nifti(voxels.astype(np.int16), "case.nii", pixdim=[-7, -2, 0, 3, 0, 0, 0, 0])
    with caplog.at_level(logging.DEBUG):
        source = open_source(path)
        list(source)
    text = "\n".join([*source.warnings, caplog.text, *capfd.readouterr()])
    for secret in (*PATIENT.split("^"), "4711", str(path.parent)):
        assert secret not in text


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 1), (20, 24, 1, 1)])
def test_one_slice_is_no_loop(nifti: Nifti, shape: tuple[int, ...]) -> None:
    path = nifti(np.zeros(shape, np.uint8))
    with pytest.raises(SourceError, match="single slice; --time"):
        open_source(path, time=True)


@pytest.mark.parametrize("name", ["case.nii", "case.nii.gz"])
@pytest.mark.parametrize(
    ("units", "step", "seconds"), [(10, 0.04, 0.04), (18, 40, 0.04), (2, 40, None), (10, 0, None)]
)
def test_one_slice_over_time(
    nifti: Nifti, voxels: np.ndarray, name: str, units: int, step: float, seconds: float | None
) -> None:
    """`[X, Y, 1, T]`: T frames, at the times that the header tells."""
    path = nifti(voxels[:, :, None], name, xyzt_units=units, pixdim=[1, 2, 3, 5, step, 1, 1, 1])
    source = open_source(path, time=True)
    frames = list(source)
    np.testing.assert_array_equal(np.stack([f.pixels for f in frames]), voxels.transpose(2, 1, 0))
    assert (source.kind, source.total, source.is_loop) == ("time series", 18, True)
    assert (source.voxel_mm3, frames[0].spacing_mm) == (None, pytest.approx((3, 2)))
    if seconds is None:
        assert (source.rate, frames[1].time_s) == (None, None)
        assert "does not say its frame rate" in source.warnings[0]
    else:
        assert (source.rate, frames[3].time_s) == pytest.approx((1 / seconds, 3 * seconds))
        assert source.warnings == []


def test_one_slice_over_time_has_to_be_asked_for(nifti: Nifti, voxels: np.ndarray) -> None:
    path = nifti(voxels[:, :, None])
    with pytest.raises(SourceError, match=r"one slice at 18 times.*give --time"):
        open_source(path)
    with pytest.raises(SourceError, match="leave --axis out"):
        open_source(path, time=True, axis=0)


def test_sizes_that_contradict_each_other_are_no_sizes(nifti: Nifti, voxels: np.ndarray) -> None:
    """The array was resampled and one of its two headers forgotten."""
    path = nifti(voxels, pixdim=[1, 1.0, 1.5, 5.0, 0, 0, 0, 0])
    source = open_source(path)
    assert source.voxel_mm3 is None
    assert next(iter(source)).spacing_mm is None
    assert source.warnings[0].startswith(
        "case.nii.gz: its sform and pixdim give voxels of different sizes"
    )
    source = open_source(nifti(voxels, pixdim=[1, 2.001, 3.0, 5.0, 0, 0, 0, 0]))
    assert source.voxel_mm3 == pytest.approx(30)
