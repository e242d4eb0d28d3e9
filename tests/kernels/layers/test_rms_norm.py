"""RMS norms and what follows them against torch in float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.kernels.interpreted import Guarded, interpreted

EPS = 1e-6
Shape = tuple[int, int, int, int]


def norm(
    shape: Shape,
    dtype: str,
    *,
    activation: str = "",
    pool: bool = False,
    planes: bool = False,
    factor: float | None = None,
    into: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's answer, and the right one."""
    from samedge.kernels.layers.rms_norm import rms_norm
    from samedge.kernels.reference import rms_norm as reference
    from samedge.kernels.torch_runner import DTYPES

    generator = torch.Generator().manual_seed(sum(shape))
    x = (torch.randn(shape, generator=generator) * 3 + 1).to(DTYPES[dtype])
    weight, bias = torch.randn(2, shape[3], generator=generator)
    y = reference(x.double(), weight.double(), bias.double(), EPS)
    y = F.gelu(y) if activation else y
    if pool:
        y = F.max_pool2d(y.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    run, add = Guarded(), None
    if factor is not None:
        other = torch.randn(y.shape, generator=generator)
        y, add = other.double() + factor * y, (run.given(other), factor)
    y = y.permute(0, 3, 1, 2) if planes else y
    out = run.empty(tuple(y.shape), "fp32") if into else None
    got = rms_norm(
        run,
        run.given(x),
        run.given(weight),
        run.given(bias),
        EPS,
        activation=activation,
        pool=pool,
        planes=planes,
        add=add,
        dtype="fp32",
        out=out,
    )
    assert out is None or got is out
    return run.result(got), y


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 3, 7), (1, 9, 11, 96), (2, 4, 4, 768)])
@pytest.mark.parametrize("activation", ["", "gelu"])
def test_against_float64(shape: Shape, dtype: str, activation: str) -> None:
    got, expected = interpreted(norm, shape, dtype, activation=activation)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 2, 3), (2, 5, 7, 33), (1, 8, 6, 96)])
@pytest.mark.parametrize("activation", ["", "gelu"])
def test_pooling_leaves_odd_ends_out(shape: Shape, activation: str) -> None:
    got, expected = interpreted(norm, shape, "fp16", activation=activation, pool=True)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("into", [False, True])
def test_planes(into: bool) -> None:
    got, expected = interpreted(norm, (2, 5, 9, 20), "fp16", planes=True, into=into)
    assert got.shape == (2, 20, 5, 9)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", [False, True])
def test_a_part_of_it_is_added_to_something(pool: bool) -> None:
    got, expected = interpreted(
        norm, (2, 6, 5, 40), "fp16", activation="gelu", pool=pool, factor=0.5
    )
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)


def refusals() -> list[str]:
    """Messages of what does not fit."""
    from samedge.errors import DeviceError
    from samedge.kernels.layers.rms_norm import rms_norm

    run = Guarded()
    x, row = run.given(torch.zeros(1, 4, 4, 8)), run.given(torch.ones(8))
    messages = []
    for options in (
        {"activation": "relu"},
        {"planes": True, "pool": True},
        {"add": (x, 1.0), "pool": True},
        {"out": x, "planes": True},
        {"out": x, "dtype": "fp16"},
    ):
        with pytest.raises(DeviceError) as error:
            rms_norm(run, x, row, row, EPS, **{"dtype": "fp32", **options})  # type: ignore[arg-type]
        messages.append(str(error.value))
    return messages


def test_what_does_not_fit_is_named() -> None:
    for message, words in zip(
        interpreted(refusals),
        ("'relu'", "neither pool nor add", "add came as", "out came as [1, 4, 4, 8]", "fp32"),
        strict=True,
    ):
        assert words in message
