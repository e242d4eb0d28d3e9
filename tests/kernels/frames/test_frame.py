"""The frame kernel against `network_input` in numpy, in the interpreter: bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.families import LITEMEDSAM, MEDSAM, MSA_3D, SAM, SAMED, SAMUS, Family
from samedge.geometry.frame_geometry import Crop, frame_geometry
from samedge.geometry.network_input import encoder_inputs, network_input
from tests.geometry.frames import crops, patterns
from tests.kernels.frames.cases import PLAIN, compared, frame_of, made
from tests.kernels.interpreted import Guarded, interpreted

sides = st.integers(16, 120)
# Grey levels as they are, in which a last bit cannot hide.
AREA = replace(LITEMEDSAM, name="area", normalisation="fixed")


@settings(max_examples=settings().max_examples // 3)
@given(
    st.sampled_from([SAM, SAMUS, MEDSAM, LITEMEDSAM, AREA]),
    st.tuples(sides, sides, st.sampled_from([1, 3])),
    patterns,
    st.integers(16, 50),
    st.data(),
)
def test_whole_grey_levels_are_exact(
    family: Family, shape: tuple[int, int, int], pattern: str, side: int, data: st.DataObject
) -> None:
    crop = data.draw(crops(*shape[:2]))
    got, expected = interpreted(compared, family, shape, crop, side, pattern)
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
        ((64, 100, 3), None, 50),  # the mean of 2 x 2 px
        ((96, 60, 1), None, 32),  # and of 3 x 3
    ],
)
@pytest.mark.parametrize("family", [SAM, MEDSAM, AREA], ids=lambda f: f.name)
def test_sizes_and_crops(
    family: Family, shape: tuple[int, int, int], crop: Crop | None, side: int
) -> None:
    got, expected = interpreted(compared, family, shape, crop, side)
    assert torch.equal(got, expected)
    if family is SAM and crop is None:
        assert not (expected == expected[0, :, :1, :1]).all()


@pytest.mark.parametrize("family", [SAM, SAMUS, MEDSAM, LITEMEDSAM], ids=lambda f: f.name)
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


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    """A frame of two flat halves in the kernels, and in numpy."""
    family = replace(MEDSAM, normalisation="fixed", channels=1, mean=(0.0,))
    geometry = frame_geometry(family, 60, 90, None, 32)
    pixels = np.full((60, 90), 37, np.uint8)
    pixels[:, 45:] = 218
    expected = torch.from_numpy(network_input(pixels, geometry, family))
    return made(family, geometry, pixels, "fp32"), expected


def test_flat_areas_stay_as_they_are() -> None:
    """Without the slack half of them would be one level darker."""
    got, expected = interpreted(halves)
    assert torch.equal(got, expected)
    assert (expected == 37).sum() > 200


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
    from samedge.kernels.frames.bands import bands
    from samedge.kernels.frames.frame import frame

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
