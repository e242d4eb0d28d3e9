"""Label volumes as NIfTI files, on the voxels of the volume that the slices came from."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.files.whole import whole_file
from samedge.sources.foreign import quiet_nibabel
from samedge.sources.nifti_layout import NiftiLayout

# Everything that says where a voxel lies; all other fields stay at their defaults, since texts
# (descrip, db_name, aux_file, intent_name) and extensions may name a patient.
GEOMETRY = (
    "dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code",
    "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z",
)  # fmt: skip
LABELS = 1002  # NIFTI_INTENT_LABEL: viewers show the voxels as labels


def write_nifti_labels(path: Path, layout: NiftiLayout, slices: NDArray[np.uint8]) -> None:
    """Write labels as `.nii.gz` with the geometry of their source; equal labels, equal bytes.

    Args:
        path: of the file, written whole or not at all.
        layout: of the source.
        slices: uint8 `[D, H, W]`, in the order of the source's frames.

    Raises:
        MissingDependencyError: nibabel is not installed.
        OutputError: it cannot be written.
    """
    nibabel = require("nibabel", "stream", "writing NIfTI files")
    with quiet_nibabel():
        header = type(layout.header)(endianness="<")
        header.set_data_dtype(np.uint8)
        header.set_data_shape(layout.shape)
        for field in GEOMETRY:
            header[field] = layout.header[field]
        header["intent_code"] = LABELS
        kind = nibabel.Nifti2Image if header["sizeof_hdr"] == 540 else nibabel.Nifti1Image
        image = kind(layout.array(slices), None, header)
        with whole_file(path) as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            image.to_stream(packed)
