"""Small media for the readers' tests."""

from tests.sources.fixtures import dicom, grey, nifti, rgb, series, video

__all__ = ["dicom", "grey", "nifti", "rgb", "series", "video"]
