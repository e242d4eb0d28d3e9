"""The mask kernel against `samedge.geometry.mask_values`, in the interpreter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from samedge.families import MEDSAM, SAM, SAMED, SAMUS, Family
from samedge.geometry.frame_geometry import Crop, FrameGeometry, frame_geometry
from samedge.geometry.mask_values import class_map, decide, mask_values
from tests.kernels.interpreted import Guarded, interpreted

CLEAR = 1e-4  # values closer to a tie than this may fall either way


def masks_of(
    family: Family, geometry: FrameGeometry, logits: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Masks and class map of the kernel."""
    from samedge.kernels.frames.bands import bands
    from samedge.kernels.frames.mask import mask

    run = Guarded()
    n, k = logits.shape[:2]
    rows, cols = (
        run.given(torch.from_numpy(m.copy())) for m in (geometry.mask_rows, geometry.mask_cols)
    )
    masks = run.empty((n, k, geometry.height, geometry.width), "u8")
    classes = run.empty((n, geometry.height, geometry.width), "u8") if family.exclusive else None
    mask(
        run,
        run.given(torch.from_numpy(logits)),
        rows,
        cols,
        bands(run, rows),
        bands(run, cols),
        family,
        masks,
        classes,
    )
    return run.result(masks), None if classes is None else run.result(classes)


def random_logits(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 2, shape).astype(np.float32)


def compared(
    family: Family, size: tuple[int, int], crop: Crop | None, side: int, count: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Masks of the kernel and of numpy, what decided there, and the kernel's class map."""
    geometry = frame_geometry(family, *size, crop, side)
    logits = random_logits((*count, geometry.low_res, geometry.low_res))
    masks, classes = masks_of(family, geometry, logits)
    values = mask_values(logits, geometry, family)
    return (
        masks.numpy(),
        decide(values, family),
        values,
        None if classes is None else classes.numpy(),
    )


CASES: list[tuple[tuple[int, int], Crop | None, int]] = [
    ((16, 16), None, 64),
    ((90, 133), None, 64),
    ((150, 70), (10, 20, 61, 149), 32),
    ((33, 140), (100, 3, 139, 30), 128),
]


@pytest.mark.parametrize(("size", "crop", "side"), CASES)
@pytest.mark.parametrize("family", [SAM, SAMUS, MEDSAM], ids=lambda f: f.name)
def test_thresholds(family: Family, size: tuple[int, int], crop: Crop | None, side: int) -> None:
    got, expected, values, _ = interpreted(compared, family, size, crop, side, (2, 3))
    clear = np.abs(values - family.threshold) > CLEAR
    outside = values == 0
    assert clear.mean() > 0.1
    assert set(np.unique(got)) == {0, 1}
    assert np.array_equal(got[clear | outside], expected[clear | outside])


def test_outside_the_crop_zero_is_compared() -> None:
    family = replace(SAM, threshold=-0.5)
    got, *_ = interpreted(compared, family, (60, 50), (10, 20, 40, 50), 64, (1, 1))
    inside = np.zeros((60, 50), bool)
    inside[20:50, 10:40] = True
    assert got[..., ~inside].all()
    assert not got[..., inside].all()


@pytest.mark.parametrize(("size", "crop", "side"), CASES)
@pytest.mark.parametrize("count", [1, 2])
def test_classes(size: tuple[int, int], crop: Crop | None, side: int, count: int) -> None:
    classes = len(SAMED.classes)
    got, expected, values, found = interpreted(compared, SAMED, size, crop, side, (count, classes))
    ordered = np.sort(values, axis=1)
    clear = (ordered[:, -1] - ordered[:, -2] > CLEAR) | ~values.any(axis=1)
    assert clear.mean() > 0.9
    assert found is not None
    assert np.array_equal(found[clear], class_map(values)[clear])
    assert np.array_equal(got == 1, found[:, None] == np.arange(classes)[:, None, None])
    everywhere = np.broadcast_to(clear[:, None], got.shape)
    assert np.array_equal(got[everywhere], expected[everywhere])


def ties() -> np.ndarray:
    """Class map of logits of which classes 2 and 5 are equal."""
    geometry = frame_geometry(SAMED, 30, 40, None, 32)
    logits = np.zeros((1, len(SAMED.classes), geometry.low_res, geometry.low_res), np.float32)
    logits[:, [2, 5]] = random_logits((1, 1, geometry.low_res, geometry.low_res))
    found = masks_of(SAMED, geometry, logits)[1]
    assert found is not None
    return found.numpy()


def test_the_first_of_equals() -> None:
    assert set(np.unique(interpreted(ties))) == {0, 2}


def refusals() -> list[str]:
    """Messages of what does not fit."""
    from samedge.errors import DeviceError
    from samedge.kernels.frames.bands import bands
    from samedge.kernels.frames.mask import mask

    run, messages = Guarded(), []
    logits, masks = run.given(torch.zeros(1, 2, 8, 8)), run.empty((1, 2, 20, 30), "u8")
    rows, cols = run.given(torch.zeros(20, 8)), run.given(torch.zeros(30, 8))
    of = bands(run, rows), bands(run, cols)
    classes = run.empty((1, 20, 30), "u8")
    for arguments in (
        (run.given(torch.zeros(1, 2, 8, 9)), rows, cols, *of, SAM, masks),
        (logits, cols, cols, *of, SAM, masks),
        (logits, rows, cols, *of, SAM, run.empty((1, 1, 20, 30), "u8")),
        (logits, rows, cols, *of, SAM, masks, classes),
        (logits, rows, cols, *of, SAMED, masks),
    ):
        with pytest.raises(DeviceError) as error:
            mask(run, *arguments)
        messages.append(str(error.value))
    return messages


def test_what_does_not_fit_is_named() -> None:
    for message, words in zip(
        interpreted(refusals),
        ("logits came as", "row_bands came as", "masks came as", "has no", "needs class_map"),
        strict=True,
    ):
        assert words in message
