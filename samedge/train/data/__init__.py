"""Labelled images on disk -> samples."""

from __future__ import annotations

from samedge.train.data.checking import DatasetReport, check_dataset
from samedge.train.data.folders import ImageFolders
from samedge.train.data.opening import DataSet, open_dataset, splits
from samedge.train.data.us30k import Us30k

__all__ = [
    "DataSet",
    "DatasetReport",
    "ImageFolders",
    "Us30k",
    "check_dataset",
    "open_dataset",
    "splits",
]
