"""Buffers that live at the same time never overlap, for any number of objects."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samedge.export.triton.arena import Need, pack
from samedge.runtime.triton.plan import ALIGNMENT
from samedge.runtime.triton.sizes import evaluate, named

NEEDS = st.lists(
    st.builds(
        lambda size, grows, first, life: Need(
            named("objects") * size if grows else size, first, first + life
        ),
        st.integers(1, 3000),
        st.booleans(),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=14,
)


@given(needs=NEEDS, objects=st.integers(1, 5))
def test_no_two_overlap(needs: list[Need], objects: int) -> None:
    offsets, total = pack(needs, {"objects": 16})
    values = {"objects": objects}
    places = [
        (evaluate(at, values), evaluate(need.size, values), need)
        for at, need in zip(offsets, needs, strict=True)
    ]
    for i, (start, size, need) in enumerate(places):
        assert start % ALIGNMENT == 0
        assert start + size <= evaluate(total, values)
        for other, its_size, its in places[:i]:
            together = need.first <= its.last and its.first <= need.last
            assert not together or start + size <= other or other + its_size <= start


def test_memory_is_used_again() -> None:
    chain = [Need(1000, i, i + 1) for i in range(10)]
    _, total = pack(chain, {})
    assert total == 2 * 1024


def test_other_sizes_are_taken_at_their_limit() -> None:
    offsets, total = pack([Need(named("height") * 8, 0, 1)], {"height": 4096})
    assert (offsets, total) == ([0], 4096 * 8)
