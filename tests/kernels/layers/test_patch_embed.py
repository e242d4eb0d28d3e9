"""Patch embeddings against torch in float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.kernels.interpreted import Guarded, interpreted

LIMIT = {"fp32": 1e-5, "fp16": 4e-3}  # of values of about 1
Case = tuple[int, int, int, int, int, int, int]  # images, channels, side, size, stride, dim, hidden


def embedded(case: Case, dtype: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Tokens and hidden vectors of the kernel, and the right ones."""
    from samedge.kernels.layers.patch_embed import patch_embed
    from samedge.kernels.torch_runner import DTYPES

    b, channels, side, size, stride, dim, hidden = case
    generator = torch.Generator().manual_seed(sum(case))
    grid = (side - size) // stride + 1
    pixels = torch.randn(b, channels, side, side, generator=generator).to(DTYPES[dtype])
    inner = channels * size * size
    weight = torch.randn(inner, dim + hidden, generator=generator) / inner**0.5
    weight = weight.to(DTYPES[dtype])
    pos = torch.randn(grid * grid, dim, generator=generator)
    bias = torch.randn(hidden, generator=generator) if hidden else None
    run = Guarded()
    got = patch_embed(
        run,
        run.given(pixels),
        run.given(weight),
        stride,
        size,
        run.given(pos),
        adapter_bias=None if bias is None else run.given(bias),
    )
    kernel = weight.double().t().reshape(dim + hidden, channels, size, size)
    y = F.conv2d(pixels.double(), kernel, stride=stride).flatten(2).transpose(1, 2)
    expected = [y[..., :dim] + pos.double()]
    if bias is not None:
        expected.append(F.gelu(y[..., dim:] + bias.double()))
    parts = got if isinstance(got, tuple) else (got,)
    return [run.result(part) for part in parts], expected


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "case",
    [
        (1, 1, 16, 16, 16, 5, 0),
        (2, 3, 48, 16, 16, 40, 0),
        (1, 1, 40, 16, 8, 130, 0),  # overlapping
        (2, 1, 44, 8, 8, 32, 0),  # a rest of 4 px
        (1, 3, 32, 8, 8, 48, 12),
        (2, 1, 64, 16, 16, 128, 33),  # the hidden columns in a tile of their own
    ],
)
def test_against_float64(case: Case, dtype: str) -> None:
    got, expected = interpreted(embedded, case, dtype)
    assert len(got) == len(expected) == (2 if case[-1] else 1)
    assert got[0].dtype == torch.float32
    for one, right in zip(got, expected, strict=True):
        torch.testing.assert_close(one.double(), right, atol=LIMIT[dtype], rtol=LIMIT[dtype])


def refusals() -> list[str]:
    """Messages of what does not fit."""
    from samedge.errors import DeviceError
    from samedge.kernels.layers.patch_embed import patch_embed

    run = Guarded()
    pixels, pos = run.given(torch.zeros(1, 1, 32, 32)), run.given(torch.zeros(4, 8))
    weight = run.given(torch.zeros(256, 8))
    messages = []
    for arguments in (
        (run.given(torch.zeros(1, 1, 32, 16)), weight, 16, 16, pos),
        (pixels, weight, 8, 16, pos),
        (pixels, weight, 16, 64, pos),
        (pixels, run.given(torch.zeros(256, 9)), 16, 16, pos),
        (pixels, run.given(torch.zeros(256, 8).half()), 16, 16, pos),
    ):
        with pytest.raises(DeviceError) as error:
            patch_embed(run, *arguments)
        messages.append(str(error.value))
    return messages


def test_what_does_not_fit_is_named() -> None:
    for message, words in zip(
        interpreted(refusals),
        ("pixels came as", "pos came as [4, 8]", "64 px", "weight came as", "fp16"),
        strict=True,
    ):
        assert words in message
