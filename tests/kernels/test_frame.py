"""The frame kernel against `network_input` in numpy, in the interpreter: bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from samedge.families import MEDSAM, MSA_3D, SAM, SAMED, SAMUS, Family
from samedge.geometry.frame_geometry import Crop, FrameGeometry, frame_geometry
from samedge.geometry.network_input import encoder_inputs, network_input
from tests.geometry.frames import image
from tests.kernels.interpreted import Guarded, interpreted

PATTERNS = ("noise", "binary", "flat", "stripes", "ramp", "white", "blocks")
# grey levels of families that do not round: float32 sums in another order
PLAIN = 2e-4


def made(
    family: Family, geometry: FrameGeometry, pixels: np.ndarray, dtype: str, **changes: Any
) -> torch.Tensor:
    """What the kernels make of a frame; changes: of their inputs."""
    from samedge.kernels.bands import bands, negligible
    from samedge.kernels.frame import frame

    depth = 16 if pixels.dtype == np.uint16 else 8
    images = pixels[..., None] if pixels.ndim == 2 + (family.slices > 1) else pixels
    inputs, view = encoder_inputs(family, geometry, images.shape[-1], depth)
    view[:] = images
    inputs |= changes
    run = Guarded()
    given = {name: run.given(torch.from_numpy(array)) for name, array in inputs.items()}
    of = {name: bands(run, given[name], negligible(family)) for name in ("rows", "cols")}
    names = ("frame", "colour", "rows", "cols", "rows_first", "valid_rows", "valid_cols")
    out = frame(run, *(given[name] for name in names), of["rows"], of["cols"], family, dtype=dtype)
    return run.result(out)


def frame_of(family: Family, shape: tuple[int, int, int], pattern: str) -> np.ndarray:
    if family.slices == 1:
        return image(pattern, *shape, seed=sum(shape))
    return np.stack([image(pattern, *shape, seed=i) for i in range(family.slices)])


def compared(
    family: Family,
    shape: tuple[int, int, int],
    crop: Crop | None,
    side: int,
    pattern: str = "noise",
    dtype: str = "fp32",
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernels' result, and numpy's."""
    geometry = frame_geometry(family, *shape[:2], crop, side)
    pixels = frame_of(family, shape, pattern)
    expected = torch.from_numpy(network_input(pixels, geometry, family))
    return made(family, geometry, pixels, dtype), expected


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("family", [SAM, MEDSAM], ids=lambda f: f.name)
def test_whole_grey_levels_are_exact(family: Family, pattern: str) -> None:
    family = replace(family, normalisation="fixed", mean=(0.0,))
    channels = 1 if pattern in ("noise", "ramp") else 3
    got, expected = interpreted(compared, family, (57, 83, channels), (3, 0, 80, 51), 48, pattern)
    assert torch.equal(got, expected)


@pytest.mark.parametrize(
    ("shape", "crop", "side"),
    [
        ((16, 16, 1), None, 64),
        ((300, 40, 3), None, 64),  # the vertical pass first
        ((333, 57, 1), (7, 20, 40, 330), 33),
        ((500, 700, 1), None, 33),
        ((512, 40, 3), None, 32),  # 16 times smaller, one way
        ((31, 200, 3), (100, 3, 170, 30), 80),
    ],
)
@pytest.mark.parametrize("family", [SAM, SAMUS, MEDSAM], ids=lambda f: f.name)
def test_sizes_and_crops(
    family: Family, shape: tuple[int, int, int], crop: Crop | None, side: int
) -> None:
    got, expected = interpreted(compared, family, shape, crop, side)
    assert torch.equal(got, expected)
    if family is SAM and crop is None:
        assert not (expected == expected[0, :, :1, :1]).all()


@pytest.mark.parametrize("family", [SAM, SAMUS, MEDSAM], ids=lambda f: f.name)
def test_in_half_only_the_end_is_rounded(family: Family) -> None:
    got, expected = interpreted(compared, family, (45, 61, 3), (2, 3, 60, 41), 40, dtype="fp16")
    assert got.dtype == torch.float16
    assert torch.equal(got, expected.half())


@pytest.mark.parametrize(
    ("family", "shape"),
    [(SAMED, (60, 90, 3)), (SAMED, (229, 31, 1)), (MSA_3D, (50, 70, 1)), (MSA_3D, (33, 47, 3))],
    ids=lambda x: x.name if isinstance(x, Family) else "x".join(map(str, x)),
)
@pytest.mark.parametrize("crop", [None, (3, 2, 28, 31)])
def test_what_does_not_round(
    family: Family, shape: tuple[int, int, int], crop: Crop | None
) -> None:
    got, expected = interpreted(compared, family, shape, crop, 64)
    assert got.shape == (family.slices, family.channels, 64, 64)
    torch.testing.assert_close(got, expected, atol=PLAIN, rtol=0)


def deep(family: Family) -> tuple[torch.Tensor, torch.Tensor]:
    """A 16-bit frame in the kernels, and in numpy."""
    geometry = frame_geometry(family, 41, 65, None, 32)
    size = (family.slices, 41, 65) if family.slices > 1 else (41, 65)
    pixels = np.random.default_rng(1).integers(0, 65536, size, dtype=np.uint16)
    expected = torch.from_numpy(network_input(pixels, geometry, family))
    return made(family, geometry, pixels, "fp32"), expected


@pytest.mark.parametrize("family", [SAMED, MSA_3D], ids=lambda f: f.name)
def test_frames_of_16_bits(family: Family) -> None:
    got, expected = interpreted(deep, family)
    torch.testing.assert_close(got, expected, atol=PLAIN, rtol=0)


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("family", [MEDSAM, SAMED], ids=lambda f: f.name)
def test_each_image_by_its_own_extremes(family: Family, slices: int) -> None:
    family = replace(family, normalisation="min_max", slices=slices)
    got, expected = interpreted(compared, family, (40, 50, 3), (5, 5, 45, 39), 32)
    assert [float(f(image)) for image in got for f in (torch.min, torch.max)] == [0, 1] * slices
    torch.testing.assert_close(got, expected, atol=0 if family.rounded else 2e-6, rtol=0)


def test_a_flat_image_becomes_zero() -> None:
    got, expected = interpreted(compared, MEDSAM, (40, 50, 1), None, 32, "flat")
    assert not got.any()
    assert not expected.any()


def bands_of(matrix: torch.Tensor, least: float) -> torch.Tensor:
    """First and behind-last nonzero column."""
    from samedge.kernels.bands import bands

    run = Guarded()
    return run.result(bands(run, run.given(matrix), least))


@pytest.mark.parametrize("size", [1, 30, 1500])
def test_bands(size: int) -> None:
    matrix = torch.zeros(2, 5, size)
    matrix[0, 1, 0], matrix[1, 2, -1], matrix[0, 3, size // 2] = 1, -2, 1e-6
    matrix[1, 4, size // 3], matrix[0, 4, 2 * size // 3] = 3, 4
    expected = [[0, 0], [0, 1], [size - 1, size], [0, 0], [size // 3, 2 * size // 3 + 1]]
    assert interpreted(bands_of, matrix, 1e-5).tolist() == expected
    expected[3] = [size // 2, size // 2 + 1]
    assert interpreted(bands_of, matrix, 0.0).tolist() == expected
    assert interpreted(bands_of, matrix[0], 0.0)[2].tolist() == [0, 0]


def changed(name: str) -> bool:
    """Whether the result notices that one input is wrong."""
    geometry = frame_geometry(SAM, 300, 40, None, 64)
    pixels = frame_of(SAM, (300, 40, 3), "noise")
    inputs, view = encoder_inputs(SAM, geometry, 3)
    view[:] = pixels
    wrong = inputs[name].copy()
    if name == "rows_first":
        wrong = 1 - wrong
    elif name.startswith("valid"):
        wrong[:] = 1
    elif name == "frame":  # a pixel
        wrong[7, 9, 1] ^= 128
    else:  # a coefficient
        wrong[tuple(int(i[0]) for i in np.nonzero(wrong))] += 1
    right = torch.from_numpy(network_input(pixels, geometry, SAM))
    return not torch.equal(made(SAM, geometry, pixels, "fp32", **{name: wrong}), right)


@pytest.mark.parametrize("name", ["frame", "colour", "rows", "cols", "rows_first", "valid_cols"])
def test_every_input_counts(name: str) -> None:
    assert interpreted(changed, name)


def refusals() -> list[str]:
    """Messages of what does not fit."""
    from samedge.errors import DeviceError
    from samedge.kernels.bands import bands
    from samedge.kernels.frame import frame

    geometry = frame_geometry(SAM, 40, 30, None, 32)
    inputs, _ = encoder_inputs(SAM, geometry, 3)
    run, messages = Guarded(), []
    names = ("frame", "colour", "rows", "cols", "rows_first", "valid_rows", "valid_cols")
    good = {name: run.given(torch.from_numpy(inputs[name])) for name in names}
    of = [bands(run, good[name]) for name in ("rows", "cols")]
    for name, bad in {
        "frame": good["frame"].reshape(1, 40, 30, 3),
        "colour": good["rows_first"],
        "rows": good["cols"],
        "rows_first": None,
        "valid_cols": None,
    }.items():
        with pytest.raises(DeviceError) as error:
            frame(run, *({**good, name: bad}[n] for n in names), *of, SAM, dtype="fp32")
        messages.append(str(error.value))
    return messages


def test_what_does_not_fit_is_named() -> None:
    for message, words in zip(
        interpreted(refusals),
        ("frame came as", "colour came as", "rows came as", "needs rows_first", "needs valid_cols"),
        strict=True,
    ):
        assert words in message
