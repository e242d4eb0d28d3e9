"""Label volumes land on the voxels that the frames came from."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from samedge.sources.nifti_layout import NiftiLayout
from samedge.sources.opening import open_source
from samedge.stream.sinks.nifti_labels import write_nifti_labels
from tests.sources.media import PATIENT

Nifti = Callable[..., Path]
# Oblique, left-handed, with axes swapped: nothing that a reader could get right by luck.
OBLIQUE = np.array([[0.1, -0.7, 0.2, 11], [0.6, 0.1, 0.1, -7], [0.0, 0.2, -2.4, 3], [0, 0, 0, 1]])


def layout_of(path: Path, axis: int) -> NiftiLayout:
    layout = open_source(path, axis=axis).layout
    assert layout is not None
    return layout


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("codes", [(1, 2), (0, 4), (3, 0), (0, 0)])
def test_labels_land_where_the_bright_voxels_are(
    nifti: Nifti, tmp_path: Path, axis: int, kind: type, codes: tuple[int, int]
) -> None:
    voxels = (np.random.default_rng(axis).random((18, 22, 20)) > 0.7).astype(np.uint8) * 200
    path = nifti(voxels, affine=OBLIQUE, kind=kind, qform_code=codes[0], sform_code=codes[1])
    frames = np.stack([f.pixels for f in open_source(path, axis=axis)])
    target = tmp_path / "labels.nii.gz"
    write_nifti_labels(target, layout_of(path, axis), (frames > 127).astype(np.uint8) * 3)
    source, labels = nibabel.load(path), nibabel.load(target)
    assert type(labels) is kind
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(labels.dataobj), (voxels > 127) * 3)
    np.testing.assert_array_equal(labels.affine, source.affine)
    for field in ("pixdim", "qform_code", "sform_code", "quatern_b", "srow_x", "xyzt_units"):
        np.testing.assert_array_equal(labels.header[field], source.header[field])


def test_trailing_axes_stay(nifti: Nifti, tmp_path: Path) -> None:
    path = nifti(np.zeros((20, 24, 3, 1), np.uint8))
    write_nifti_labels(tmp_path / "l.nii.gz", layout_of(path, 2), np.ones((3, 24, 20), np.uint8))
    assert nibabel.load(tmp_path / "l.nii.gz").shape == (20, 24, 3, 1)


def test_nothing_of_the_patient_is_copied(nifti: Nifti, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((16, 16, 2), np.uint8), OBLIQUE)
    image.header["descrip"] = image.header["db_name"] = image.header["aux_file"] = b"Doe^Secret"
    image.header["intent_name"] = b"id-4711"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", PATIENT.encode()))
    image.to_filename(tmp_path / "p.nii")
    layout = layout_of(tmp_path / "p.nii", 2)
    write_nifti_labels(tmp_path / "l.nii.gz", layout, np.ones((2, 16, 16), np.uint8))
    packed = (tmp_path / "l.nii.gz").read_bytes()
    for secret in (b"Doe", b"Secret", b"4711", b"Jane", b"l.nii"):
        assert secret not in gzip.decompress(packed) + packed[:64]
    header = nibabel.load(tmp_path / "l.nii.gz").header
    assert int(header["intent_code"]) == 1002


def test_equal_labels_are_equal_bytes(nifti: Nifti, tmp_path: Path) -> None:
    layout = layout_of(nifti(np.zeros((16, 16, 2), np.uint8)), 2)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti_labels(tmp_path / name, layout, np.ones((2, 16, 16), np.uint8))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
