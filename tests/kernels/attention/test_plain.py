"""Plain attention against float64, in the interpreter."""

from __future__ import annotations

import pytest
import torch

from samedge.errors import DeviceError
from samedge.kernels import reference
from tests.kernels.interpreted import Guarded, interpreted

LIMITS = {"fp32": 1e-5, "fp16": 4e-3}


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def found_and_expected(
    q: tuple[int, int],
    k: tuple[int, int],
    heads: int = 2,
    dim: int = 16,
    v_dim: int = 16,
    dtype: str = "fp32",
    one_more: bool = False,
    **options: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernel's answer and the right one; q and k are (batch, tokens)."""
    from samedge.kernels.attention.plain import attention
    from samedge.kernels.torch_runner import DTYPES

    x, y, z = (
        normal(i, *size, heads * d).to(DTYPES[dtype])
        for i, (size, d) in enumerate(((q, dim), (k, dim), (k, v_dim)))
    )
    run = Guarded()
    given = [run.given(a, name) for a, name in ((x, "q"), (y, "k"), (z, "v"))]
    out = run.result(attention(run, *given, heads, one_more, **options))
    right = reference.one_more_attention if one_more else reference.attention
    return out, right(x.double(), y.double(), z.double(), heads)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    difference = (found.double() - expected).abs().max()
    return float(difference) if difference.isfinite() else float("inf")


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("q", "k", "dim", "v_dim"),
    [
        ((2, 70), (2, 130), 16, 16),
        ((1, 64), (1, 128), 32, 32),
        ((3, 5), (3, 1), 64, 64),
        ((2, 17), (2, 33), 24, 40),
        ((1, 1), (1, 65), 5, 7),
    ],
)
@pytest.mark.parametrize("one_more", [False, True])
def test_equals_the_reference(
    q: tuple[int, int], k: tuple[int, int], dim: int, v_dim: int, one_more: bool, dtype: str
) -> None:
    pair = interpreted(
        found_and_expected, q, k, dim=dim, v_dim=v_dim, one_more=one_more, dtype=dtype
    )
    assert error(*pair) < LIMITS[dtype]


@pytest.mark.parametrize("case", ["few_queries", "few_keys"])
@pytest.mark.parametrize("one_more", [False, True])
@pytest.mark.parametrize(
    ("q", "k"), [((2, 7), (2, 300)), ((1, 17), (1, 64)), ((2, 130), (2, 7)), ((1, 1), (1, 65))]
)
def test_few_of_one_kind(q: tuple[int, int], k: tuple[int, int], one_more: bool, case: str) -> None:
    pair = interpreted(found_and_expected, q, k, heads=3, one_more=one_more, **{case: True})
    assert error(*pair) < LIMITS["fp32"]


@pytest.mark.parametrize(("q", "k"), [((1, 9), (3, 70)), ((3, 9), (1, 70))])
@pytest.mark.parametrize("few_queries", [False, True])
def test_a_batch_of_one_is_shared(
    q: tuple[int, int], k: tuple[int, int], few_queries: bool
) -> None:
    assert error(*interpreted(found_and_expected, q, k, few_queries=few_queries)) < LIMITS["fp32"]


def of_columns() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, k, v as columns of one array: the answer, the right one, and keys taken for values."""
    from samedge.kernels.attention.plain import attention

    run, x = Guarded(), normal(0, 2, 40, 96)
    whole = run.given(x)
    q, k, v = (whole.columns(a, a + 32) for a in (0, 32, 64))
    exact = x.double().chunk(3, -1)
    out = run.result(attention(run, q, k, v, 2))
    return out, reference.attention(*exact, 2), reference.attention(exact[0], exact[1], exact[1], 2)


def test_columns_of_a_wider_array() -> None:
    found, expected, wrong = interpreted(of_columns)
    assert error(found, expected) < LIMITS["fp32"]
    assert error(found, wrong) > 0.1


def far_from_zero(one_more: bool, few_queries: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of about 500, which 2^x of a float32 cannot hold without its peak taken away."""
    from samedge.kernels.attention.plain import attention

    q, k, v = normal(0, 1, 8, 32) * 40, normal(1, 1, 150, 32) * 4, normal(2, 1, 150, 32)
    run = Guarded()
    given = (run.given(x) for x in (q, k, v))
    out = run.result(attention(run, *given, 2, one_more, few_queries=few_queries))
    right = reference.one_more_attention if one_more else reference.attention
    return out, right(q.double(), k.double(), v.double(), 2)


@pytest.mark.parametrize("one_more", [False, True])
@pytest.mark.parametrize("few_queries", [False, True])
def test_large_scores(one_more: bool, few_queries: bool) -> None:
    assert error(*interpreted(far_from_zero, one_more, few_queries)) < 1e-3


def test_the_limits_tell_wrong_softmaxes_apart() -> None:
    found, expected = interpreted(found_and_expected, (2, 9), (2, 20))
    _, one_more = interpreted(found_and_expected, (2, 9), (2, 20), one_more=True)
    _, other_heads = interpreted(found_and_expected, (2, 9), (2, 20), heads=4, dim=8, v_dim=8)
    assert error(found, expected) < LIMITS["fp32"]
    for wrong in (one_more, other_heads, expected.roll(1, 0), expected.roll(1, 2)):
        assert error(found, wrong) > 10 * LIMITS["fp16"]


def refused(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], heads: int, message: str
) -> None:
    from samedge.kernels.attention.plain import attention

    run = Guarded()
    given = [run.given(torch.zeros(shape)) for shape in (q, k, v)]
    with pytest.raises(DeviceError, match=message):
        attention(run, *given, heads)


@pytest.mark.parametrize(
    ("q", "k", "v", "heads", "message"),
    [
        ((1, 4, 32), (1, 4, 16), (1, 4, 32), 2, r"k came as \[1, 4, 16\], expected \[\*, \*, 32\]"),
        ((1, 4, 32), (1, 4, 32), (1, 5, 32), 2, r"v came as \[1, 5, 32\], expected \[\*, 4, \*\]"),
        ((1, 4, 32), (1, 4, 32), (1, 4, 32), 3, "q has 32 columns, which 3 heads"),
        ((2, 4, 32), (3, 4, 32), (2, 4, 32), 2, "k has a batch of 3, expected 1 or 2"),
        ((4, 32), (4, 32), (4, 32), 2, "q came as"),
    ],
)
def test_what_does_not_fit_is_refused(
    q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], heads: int, message: str
) -> None:
    interpreted(refused, q, k, v, heads, message)


def first_rows(used: int, images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values are the first `used` of 11 places of each image; the others hold NaN."""
    from dataclasses import replace

    from samedge.kernels.attention.plain import attention

    q, k, v = (normal(i, images, 11, 32) for i in range(3))
    expected = reference.attention(q.double(), k[:, :used].double(), v[:, :used].double(), 2)
    for x in (k, v):
        x[:, used:] = float("nan")
    run = Guarded()
    given = [run.given(x, name) for x, name in ((q, "q"), (k, "k"), (v, "v"))]
    given[1:] = [replace(x, shape=(images, used, 32)) for x in given[1:]]
    return run.result(attention(run, *given, 2)), expected


@pytest.mark.parametrize("images", [1, 3])
def test_places_that_are_not_used(images: int) -> None:
    assert error(*interpreted(first_rows, 7, images)) < LIMITS["fp32"]
