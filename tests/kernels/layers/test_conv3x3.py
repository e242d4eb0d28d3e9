"""3x3 convolutions against torch in float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.interpreted import Guarded, interpreted

LIMIT = {"fp32": 1e-5, "fp16": 4e-3}  # of values of about 1
Shape = tuple[int, int, int, int, int]  # images, height, width, inputs, outputs


def convolution(
    shape: Shape,
    dtype: str,
    out: str = "fp32",
    stored: str = "",
    add: bool = False,
    planes: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The kernel's answer, the right one, and that without the zeros around the images."""
    from samedge.kernels.layers.conv3x3 import conv3x3
    from samedge.kernels.torch_runner import DTYPES

    b, height, width, i, o = shape
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(b, height, width, i, generator=generator).to(DTYPES[stored or dtype])
    weight = torch.randn(o, i, 3, 3, generator=generator) / (3 * i**0.5)
    kernel = weight.permute(2, 3, 1, 0).contiguous().to(DTYPES[dtype])
    extra = torch.randn(b, height, width, o, generator=generator)
    run = Guarded()
    given = run.given(extra) if add else None
    laid_out = x.permute(0, 3, 1, 2).contiguous() if planes else x
    got = conv3x3(run, run.given(laid_out), run.given(kernel), dtype=out, add=given, planes=planes)
    image = x.double().permute(0, 3, 1, 2)
    exact = kernel.double().permute(3, 2, 0, 1)
    answers = []
    for padded in (torch.nn.functional.pad(image, (1,) * 4), _repeated(image)):
        y = torch.nn.functional.conv2d(padded, exact).permute(0, 2, 3, 1)
        answers.append(y + extra if add else y)
    return run.result(got), answers[0], answers[1]


def _repeated(planes: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(planes, (1,) * 4, mode="replicate")


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1, 1),
        (2, 5, 7, 1, 33),
        (1, 9, 4, 3, 16),
        (2, 8, 8, 8, 20),
        (1, 7, 5, 100, 130),
        (2, 16, 16, 64, 96),
    ],
)
def test_against_float64(shape: Shape, dtype: str) -> None:
    got, expected, unpadded = interpreted(convolution, shape, dtype)
    limit = LIMIT[dtype]
    torch.testing.assert_close(got.double(), expected, atol=limit, rtol=limit)
    assert not torch.allclose(got.double(), unpadded, atol=10 * limit)


def test_something_is_added_and_written_in_half() -> None:
    got, expected, _ = interpreted(convolution, (2, 6, 5, 32, 24), "fp16", "fp16", add=True)
    assert got.dtype == torch.float16
    torch.testing.assert_close(got.double(), expected, atol=4e-3, rtol=4e-3)


@pytest.mark.parametrize("inputs", [1, 24])
def test_tokens_in_fp32_meet_weights_in_half(inputs: int) -> None:
    got, expected, _ = interpreted(convolution, (1, 6, 7, inputs, 8), "fp16", "fp32", "fp32")
    torch.testing.assert_close(got.double(), expected, atol=4e-3, rtol=4e-3)


def refusals() -> list[str]:
    """Messages of arrays that do not fit."""
    from samedge.errors import DeviceError
    from samedge.kernels.layers.conv3x3 import conv3x3

    run = Guarded()
    x, weight = torch.zeros(1, 4, 4, 8), torch.zeros(3, 3, 8, 8)
    messages = []
    for a, w, add in (
        (x, torch.zeros(3, 3, 4, 8), None),
        (x, weight.int(), None),
        (x[..., ::2], torch.zeros(3, 3, 4, 8), None),
        (x[..., :4], torch.zeros(3, 3, 4, 8), None),
        (x, weight, torch.zeros(1, 4, 4, 4)),
    ):
        arrays = [run._inner.array(t) for t in (a, w)]
        extra = None if add is None else run._inner.array(add)
        with pytest.raises(DeviceError) as error:
            conv3x3(run, *arrays, dtype="fp32", add=extra)
        messages.append(str(error.value))
    return messages


def test_what_does_not_fit_is_named() -> None:
    for message, words in zip(
        interpreted(refusals),
        ("weight came as [3, 3, 4, 8]", "i32", "elements 2 apart", "one behind the other", "add"),
        strict=True,
    ):
        assert words in message


@pytest.mark.parametrize("channels", [1, 3])
def test_planes(channels: int) -> None:
    found, expected, _ = interpreted(convolution, (2, 6, 9, channels, 5), "fp32", planes=True)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
