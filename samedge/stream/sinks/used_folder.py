"""An output folder that is not empty: new results among old ones would be taken for each other's.

What samedge wrote is known from `results.json`, and of a run that did not end from a list beside
it; nothing else is ever removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samedge._wording import option
from samedge.errors import OutputError
from samedge.files.numbers import parse_json
from samedge.files.paths import kind_at
from samedge.files.whole import abandoned_drafts, output_error

RESULTS = "results.json"
UNFINISHED = ".unfinished.txt"  # names of the files of a run, until its results.json is there
FOLDERS = ("masks", "overlays")
_OURS = re.compile(
    r"(masks|overlays)/[^/]+\.png|[^/]+\.mp4|[^/]+_contact\.png|[^/]+_labels\.(nii\.gz|npz)"
    r"|[^/]+\.seg\.nrrd|areas\.csv",
    re.S,
)


def check_unused(folder: Path, overwrite: bool, sources: Sequence[Path] = ()) -> list[Path]:
    """Refuse a folder with files that could be taken for results, or replaced by some.

    Args:
        folder: to be written to; need not exist.
        overwrite: files that samedge wrote there may go.
        sources: what is going to be segmented, which must stay.

    Returns:
        The files to remove first.

    Raises:
        OutputError: says what is in the way, and what to do.
    """
    try:
        there = _in_the_way(folder)
        ours = _written(folder) if there else set()
        drafts = _drafts(folder, ours)
    except OSError as error:
        raise output_error(error, folder) from error
    if not there:
        return []
    foreign = [path for path in there if path not in ours and path not in drafts]
    if foreign:
        raise OutputError(
            f"{folder} holds {_words(foreign, folder)}, which samedge does not know as its own and "
            "might replace: give another folder"
        )
    if not overwrite:
        raise OutputError(
            f"{folder} holds the results of an earlier run: give another folder, or "
            f"{option('overwrite', True, '--overwrite')} to remove the files that it wrote"
        )
    kept = {Path(os.path.realpath(path)) for path in sources}
    lost = [p for p in there if {real := Path(os.path.realpath(p)), *real.parents} & kept]
    if lost:
        raise OutputError(
            f"{_words(lost, folder)} in {folder} is to be segmented, and --overwrite would remove "
            "it: give another folder"
        )
    return [*there, *(draft for draft in drafts if draft not in there)]


def remove(paths: Iterable[Path]) -> None:
    """Remove files of an earlier run, and the folders in which nothing is left.

    Raises:
        OutputError: the operating system refuses.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
            if path.parent.name in FOLDERS and not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            raise output_error(error, path) from error


def _in_the_way(folder: Path) -> list[Path]:
    """Results, and what has the name of one. `results.json` comes first: it goes first."""
    if kind_at(folder, OutputError) != "folder":
        return []
    found = [folder / name for name in (RESULTS, UNFINISHED) if (folder / name).exists()]
    for path in sorted(folder.iterdir()):
        if path.name in FOLDERS and path.is_dir():
            found += sorted(path.iterdir())
        elif _OURS.fullmatch(path.name):
            found.append(path)
    return found


def _written(folder: Path) -> set[Path]:
    """Files that a finished or broken-off run of samedge wrote into the folder."""
    names: set[str] = set()
    if (folder / UNFINISHED).is_file():
        text = (folder / UNFINISHED).read_bytes().decode(errors="surrogateescape")
        names |= {UNFINISHED, *text.split("\0")}
    report = _report(folder / RESULTS)
    if report is not None:
        names |= {RESULTS, *_named(report)}
    links = [name for name in FOLDERS if (folder / name).is_symlink()]
    return {
        folder / name
        for name in names
        if name in (RESULTS, UNFINISHED)
        or (_OURS.fullmatch(name) and name.partition("/")[0] not in links)
    }


def _drafts(folder: Path, written: set[Path]) -> list[Path]:
    """What a run that was killed had half written of its files."""
    return [
        draft
        for place in (folder, *(folder / name for name in FOLDERS))
        for draft, names in abandoned_drafts(place).items()
        if any(place / name in written for name in names)
    ]


def _report(path: Path) -> dict[str, Any] | None:
    """A report of samedge; None for anything else."""
    try:
        report = parse_json(path.read_bytes())
    except (ValueError, FileNotFoundError, RecursionError):
        return None
    ours = isinstance(report, dict) and {"schema", "samedge", "sources"} <= set(report)
    return report if ours else None


def _named(report: dict[str, Any]) -> set[str]:
    """The files that a report names."""
    names: set[str] = set()
    try:
        for source in report["sources"]:
            names |= {str(name) for name in source["outputs"].values()}
            for row in source["results"]:
                files = [row.get("class_map"), row.get("overlay")]
                files += [mask["file"] for mask in row["masks"]]
                names |= {str(name) for name in files if name}
    except (KeyError, TypeError, AttributeError):
        return names
    return names


def _words(paths: Sequence[Path], folder: Path) -> str:
    names = ", ".join(path.relative_to(folder).as_posix() for path in paths[:3])
    return names if len(paths) <= 3 else f"{names} and {len(paths) - 3} more"
