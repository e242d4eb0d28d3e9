"""The machine code of the frame and mask kernels, carried out on the CPU: still bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from samedge.families import LITEMEDSAM, MEDSAM, MSA_3D, SAM, SAMED, SAMUS, Family
from tests.kernels.frames import cases as frames
from tests.kernels.frames import test_mask
from tests.kernels.ptx.runner import PtxRunner

# family, [H, W, C], crop, side of the network's input
FRAMES: dict[str, tuple[Any, ...]] = {
    "grey": (SAMUS, (40, 50, 3), (3, 2, 45, 39), 24),
    "padded": (SAM, (60, 33, 3), None, 32),
    "tall": (SAM, (90, 20, 1), None, 32),
    "cubic": (MEDSAM, (30, 40, 1), (2, 3, 37, 30), 24),
    # Noise in which fused multiply-adds would change 5 values.
    "area": (replace(LITEMEDSAM, normalisation="fixed"), (96, 82, 3), None, 32),
    "area, 0 to 1": (LITEMEDSAM, (90, 61, 1), None, 32),
    "enlarged": (LITEMEDSAM, (20, 30, 1), (2, 3, 27, 20), 32),
    "zoom": (SAMED, (30, 40, 1), (2, 3, 37, 30), 24),
    "slices": (MSA_3D, (30, 40, 1), None, 24),
}


def check_frame(name: str, arch: int) -> None:
    run = PtxRunner(arch)
    with patch.object(frames, "Guarded", lambda: run):
        got, expected = frames.compared(*FRAMES[name])
    if FRAMES[name][0].normalisation == "min_max" or FRAMES[name][0].rounded:
        assert torch.equal(got, expected)
    else:
        torch.testing.assert_close(got, expected, atol=frames.PLAIN, rtol=0)


def check_mask(family: Family, arch: int) -> None:
    count = (1, len(family.classes)) if family.exclusive else (2, 2)
    with patch.object(test_mask, "Guarded", lambda: PtxRunner(arch)):
        got, expected, *_ = test_mask.compared(family, (33, 50), (2, 3, 37, 30), 32, count)
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("name", ["tall", "cubic", "area"])
def test_frames_on_sm_87(name: str) -> None:
    check_frame(name, 87)


def test_masks_on_sm_87() -> None:
    check_mask(SAM, 87)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [87, 120])
@pytest.mark.parametrize("name", FRAMES)
def test_frames(name: str, arch: int) -> None:
    check_frame(name, arch)


@pytest.mark.slow
@pytest.mark.parametrize("family", [SAM, MEDSAM, SAMED], ids=lambda f: f.name)
def test_masks(family: Family) -> None:
    check_mask(family, 87)
