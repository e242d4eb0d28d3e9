"""Places in one piece of memory for buffers that live only for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samedge.runtime.triton.plan import aligned
from samedge.runtime.triton.sizes import Size, evaluate, named, names_in

# What grows with the number of objects that are asked about at a time. Mask prompts are one, or one
# per object.
GROWING = ("objects", "mask_prompts")


@dataclass(frozen=True)
class Need:
    """A buffer: its bytes, and the first and last launch that touch it."""

    size: Size
    first: int
    last: int


def pack(needs: Sequence[Need], limits: Mapping[str, int]) -> tuple[list[Size], Size]:
    """Offset of every buffer, and the bytes of the whole arena.

    Buffers that live at the same time do not overlap. What grows with the objects lies behind the
    rest, in units of one object: at `fixed + objects * unit`. Other sizes are taken at their
    limits.

    Args:
        needs: the buffers.
        limits: name of a size -> its largest value.

    Returns:
        offsets, sizes or expressions in "objects", and the size of the arena likewise.
    """
    growing = [bool(names_in(need.size).intersection(GROWING)) for need in needs]
    one = {**limits, **dict.fromkeys(GROWING, 1)}
    sizes = [evaluate(need.size, one) for need in needs]
    for need, size, grows in zip(needs, sizes, growing, strict=True):
        two = {**limits, **dict.fromkeys(GROWING, 2)}
        assert not grows or evaluate(need.size, two) == 2 * size, "not so many times one object"
    offsets: list[Size] = [0] * len(needs)
    totals: list[int] = []
    for group in (False, True):
        members = [i for i, grows in enumerate(growing) if grows is group]
        placed, total = _placed([(sizes[i], needs[i].first, needs[i].last) for i in members])
        for i, at in zip(members, placed, strict=True):
            offsets[i] = totals[0] + named("objects") * at if group else at
        totals.append(total)
    return offsets, totals[0] + named("objects") * totals[1]


def _placed(buffers: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Large ones first, each at the lowest place that is free during its life."""
    offsets = [0] * len(buffers)
    done: list[int] = []
    for i in sorted(range(len(buffers)), key=lambda i: (-buffers[i][0], i)):
        size, first, last = buffers[i]
        taken = sorted(
            (offsets[j], offsets[j] + aligned(buffers[j][0]))
            for j in done
            if buffers[j][1] <= last and first <= buffers[j][2]
        )
        at = 0
        for start, stop in taken:
            if at + aligned(size) <= start:
                break
            at = max(at, stop)
        offsets[i] = at
        done.append(i)
    return offsets, max((offsets[i] + aligned(buffers[i][0]) for i in done), default=0)
