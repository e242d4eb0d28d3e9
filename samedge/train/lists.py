"""The lists of a run, read as a whole before its first step: what is broken shows at once."""

from __future__ import annotations

from collections.abc import Callable

from samedge.errors import SourceError
from samedge.progress import Progress, silent
from samedge.train.data import check_dataset
from samedge.train.data.checking import DatasetReport
from samedge.train.data.joined import Sources, open_sources, with_split
from samedge.train.data.samples import Sample, Samples

USUAL_HELD_OUT = "val"


def held_out_samples(data: Sources, held_out: str) -> Samples | None:
    """The list to score on; None if it is the usual one, and no data set has one.

    Of several data sets those count that have such a list.

    Raises:
        SourceError: a list that was asked for by another name is not there.
    """
    having = with_split(data, held_out)
    if held_out == USUAL_HELD_OUT and not having:
        return None
    return open_sources(having or data, held_out)


def check_lists(
    samples: Samples,
    scored: Samples | None,
    fits: Callable[[Sample], None],
    labelled: bool = True,
    progress: Progress = silent,
) -> list[str]:
    """Read both lists.

    Args:
        samples, scored: to train and to score on.
        fits: raises what is wrong with a sample for the model.
        labelled: the samples have labels.
        progress: told the samples that are done.

    Returns:
        Notes for the user.

    Raises:
        SourceError: samples of either list that cannot be used; no label has anything to learn.
    """
    names: list[set[str]] = []
    reports: list[DatasetReport] = []
    for one in (samples, scored):
        seen: set[str] = set()

        def look(sample: Sample, seen: set[str] = seen) -> None:
            seen.add(sample.name)
            fits(sample)

        if one is not None:
            reports.append(check_dataset(one, progress, fits=look))
        names.append(seen)
    problems = tuple(problem for report in reports for problem in report.problems)
    total = sum(report.samples for report in reports)
    DatasetReport(total, problems, 0, {}, None).require_good()
    if labelled and reports[0].empty == reports[0].samples:
        raise SourceError(
            f"no label of the {reports[0].samples} samples to train on has a pixel of its class: "
            "there is nothing to learn; look at the label files"
        )
    return [*dict.fromkeys(n for r in reports for n in r.notes), *_about(names, reports, labelled)]


def _about(names: list[set[str]], reports: list[DatasetReport], labelled: bool) -> list[str]:
    """What is odd about the lists as such."""
    if len(reports) < 2:
        return [f"there is no list '{USUAL_HELD_OUT}': nothing is scored, the last weights count"]
    found = []
    if both := len(names[0] & names[1]):
        found.append(
            f"{both} of {reports[1].samples} held-out samples are trained on as well: the score "
            "is too good"
        )
    if labelled and reports[1].empty:
        found.append(
            f"{reports[1].empty} of {reports[1].samples} held-out labels are empty: an empty mask "
            "has Dice 1 there, any other 0"
        )
    return found
