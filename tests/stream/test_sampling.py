"""Even samples of streams of unknown length."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from samedge.stream.sampling import EvenSampler


@given(st.integers(1, 400), st.integers(2, 14))
def test_it_spreads_evenly_and_stays_small(count: int, capacity: int) -> None:
    sampler: EvenSampler[int] = EvenSampler(capacity)
    for i in range(count):
        if sampler.wants_next:
            sampler.add(i)
        else:
            sampler.skip()
        assert len(sampler.items()) <= capacity
    kept = sampler.items()
    assert sampler.seen == count
    assert kept[0] == 0
    assert len({after - before for before, after in pairwise(kept)}) <= 1
    if count <= capacity:
        assert kept == list(range(count))
    else:
        assert len(kept) >= capacity / 2
        assert count - kept[-1] <= kept[1] - kept[0]


@given(st.integers(1, 60), st.integers(2, 14))
def test_a_few_of_them(count: int, most: int) -> None:
    sampler: EvenSampler[int] = EvenSampler(60)
    for i in range(count):
        sampler.add(i)
    few = sampler.items(most)
    assert len(few) == min(count, most)
    assert (few[0], few[-1]) == (0, count - 1)
    assert few == sorted(set(few))
