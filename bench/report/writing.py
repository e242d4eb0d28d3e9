"""The files that a report goes into."""

from __future__ import annotations

from pathlib import Path

from samedge.bench.report.lines import to_csv
from samedge.bench.report.page import page
from samedge.bench.report.values import Report
from samedge.errors import OutputError
from samedge.files.whole import check_target, json_bytes, write_bytes


def write(
    report: Report, json: Path | None = None, csv: Path | None = None, html: Path | None = None
) -> None:
    """Write a report to each file that is named, each of them whole or not at all.

    Raises:
        OutputError: one cannot be written; the others are, for a run is not easily repeated.
    """
    forms = ((json, Report.to_text), (csv, to_csv), (html, page))
    failed: list[OutputError] = []
    for path, text in forms:
        if path is not None:
            try:
                write_bytes(path, json_bytes(text(report)))
            except OutputError as error:
                failed.append(error)
    if failed:
        raise failed[0]


def check_targets(*paths: Path | None) -> None:
    """Say before anything is measured whether the files can be written, as far as that can be seen.

    Args:
        paths: None stands for a file that is not asked for.

    Raises:
        OutputError: one cannot, or two are the same file.
    """
    given = [path for path in paths if path is not None]
    for path in given:
        check_target(path)
    if len({path.resolve() for path in given}) < len(given):
        raise OutputError(
            f"two reports would go into one file ({', '.join(path.name for path in given)}); give "
            "each a name of its own"
        )
