"""Look at a whole data set once, before hours are spent on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from samedge.errors import SamEdgeError, SourceError
from samedge.progress import Progress, Step, silent
from samedge.train.data.labels import classes_in
from samedge.train.data.samples import Sample, Samples

MOST = 10  # problems that an error lists


@dataclass(frozen=True)
class DatasetReport:
    """What `check_dataset` found.

    Attributes:
        samples: how many there are.
        problems: one message for each that cannot be used.
        empty: samples without a pixel of the class that they ask for; they are allowed, and
            prompted with a click outside.
        present: class name -> samples that have a pixel of it.
        sizes: smallest and largest (width, height) in px; None if nothing could be read.
        notes: what was decided on the user's behalf, one for each kind of decision.
    """

    samples: int
    problems: tuple[str, ...]
    empty: int
    present: dict[str, int]
    sizes: tuple[tuple[int, int], tuple[int, int]] | None
    notes: tuple[str, ...] = ()

    def require_good(self) -> None:
        """Nothing, if every sample can be used.

        Raises:
            SourceError: with the first few problems.
        """
        if not self.problems:
            return
        shown = "\n  ".join(self.problems[:MOST])
        more = len(self.problems) - MOST
        rest = f"\n  and {more} more" if more > 0 else ""
        raise SourceError(
            f"{len(self.problems)} of {self.samples} samples cannot be used:\n  {shown}{rest}"
        )

    def __str__(self) -> str:
        found = ", ".join(f"{name} in {count}" for name, count in self.present.items())
        lines = [f"{self.samples} samples; {found or 'no class in any'}"]
        if self.sizes is not None:
            (w0, h0), (w1, h1) = self.sizes
            lines.append(f"{w0} x {h0} to {w1} x {h1} px")
        if self.empty:
            lines.append(f"{self.empty} without the class that they ask for")
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, *notes, *self.problems])


def check_dataset(
    samples: Samples,
    progress: Progress = silent,
    indices: Sequence[int] | None = None,
    fits: Callable[[Sample], None] | None = None,
) -> DatasetReport:
    """Read every sample and report all problems at once.

    Args:
        samples: of `open_dataset`, or any others.
        progress: told the samples that are done.
        indices: only these.
        fits: raises what is wrong with a sample besides.
    """
    places = range(len(samples)) if indices is None else indices
    total = len(places)
    problems: list[str] = []
    sides: list[tuple[int, int]] = []
    present: Counter[int] = Counter()
    notes: list[tuple[str, str]] = []
    empty = 0
    for done, index in enumerate(places, 1):
        try:
            sample = samples[index]
            if fits is not None:
                fits(sample)
        except SamEdgeError as error:
            problems.append(str(error))
        else:
            there = classes_in(sample.label)
            present.update(there.tolist())
            asked = sample.class_id
            empty += not (asked in there if asked else len(there))
            notes += [(note, sample.name) for note in sample.notes]
            sides.append((sample.label.shape[1], sample.label.shape[0]))
        progress(Step("reading", done, total))
    sizes = None
    if sides:
        widths, heights = zip(*sides, strict=True)
        sizes = ((min(widths), min(heights)), (max(widths), max(heights)))
    names = {samples.classes[i]: present[i] for i in sorted(present)}
    said = (*samples.notes, *_grouped(notes))
    return DatasetReport(total, tuple(problems), empty, names, sizes, said)


def _grouped(notes: Iterable[tuple[str, str]]) -> list[str]:
    """The first of the notes that differ in nothing but names and numbers, and how many there are.

    Args:
        notes: each with the name of its sample.
    """
    first: dict[str, str] = {}
    count: Counter[str] = Counter()
    for note, name in notes:
        kind = re.sub(r"[0-9., ]+", "#", note.replace(name, ""))
        first.setdefault(kind, note)
        count[kind] += 1
    return [
        note if count[kind] == 1 else f"{note} (the first of {count[kind]} such samples)"
        for kind, note in first.items()
    ]
