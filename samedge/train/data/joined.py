"""Several data sets as one: each counts as many times per epoch as was said."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from samedge.errors import SourceError
from samedge.train.data.opening import AnyPath, open_dataset, splits
from samedge.train.data.samples import Sample, Samples

# A data set, or several.
Sources: TypeAlias = AnyPath | Sequence[AnyPath]


class JoinedSamples:
    """`Samples` of several data sets, one behind the other.

    Args:
        parts: data sets with the same classes.
        times: how often each part's samples stand in the list; 1 each by default.

    Raises:
        SourceError: other classes in one than in another; a number below 1; not as many numbers as
            parts.
    """

    def __init__(self, parts: Sequence[Samples], times: Sequence[int] = ()) -> None:
        times = tuple(times) or (1,) * len(parts)
        if len(times) != len(parts) or min(times) < 1:
            raise SourceError(
                f"times {','.join(map(str, times))} came for {len(parts)} data set(s); expected a "
                "whole number from 1 for each of them"
            )
        for other in parts[1:]:
            if other.classes != parts[0].classes:
                raise SourceError(
                    f"data sets with the classes {', '.join(parts[0].classes)} and "
                    f"{', '.join(other.classes)} cannot be trained on together; expected the same"
                )
        self.classes = tuple(parts[0].classes)
        self.notes = tuple(dict.fromkeys(chain.from_iterable(part.notes for part in parts)))
        self._parts = tuple(parts)
        self._places = [
            (part, index)
            for part, (samples, often) in enumerate(zip(parts, times, strict=True))
            for _ in range(often)
            for index in range(len(samples))
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        part, place = self._places[index]
        return self._parts[part][place]


def paths_of(data: Sources) -> list[Path]:
    """One path or several, as a list.

    Raises:
        SourceError: there is none.
    """
    paths = [Path(data)] if isinstance(data, str | os.PathLike) else [Path(each) for each in data]
    if not paths:
        raise SourceError("no data set came; expected one folder or several")
    return paths


def open_sources(data: Sources, split: str, times: Sequence[int] = ()) -> Samples:
    """The list `split` of one data set, or of several together.

    Args:
        data: as for `open_dataset`, one or several.
        split: a list that all of them have.
        times: see `JoinedSamples`.

    Raises:
        SourceError: as `open_dataset` and `JoinedSamples`.
    """
    paths = paths_of(data)
    parts: list[Samples] = [open_dataset(path, split) for path in paths]
    return parts[0] if len(parts) == 1 and not times else JoinedSamples(parts, times)


def with_split(data: Sources, split: str) -> list[Path]:
    """Those of the data sets that have a list of this name."""
    return [path for path in paths_of(data) if split in splits(path)]
