"""`samedge cache`: what samedge keeps in the user's cache folder, and clearing it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.completion import Choice
from samedge.cli.filetype import size_text
from samedge.cli.terminal.printing import Printer, common_options
from samedge.errors import Cancelled, DeviceError, NotSupportedError, SourceError
from samedge.files.paths import kind_at, shown

if TYPE_CHECKING:
    from samedge.runtime.engines.contents import Cleared, Contents, Kept

EPILOG = """\b
Examples:
  samedge cache                            what lies there
  samedge cache clear                      all of it; asks first on a terminal
  samedge cache clear --older-than 30d     what was not used for so long (h, d, w)
  samedge cache clear --stale              engines that nothing on this machine loads any more
  samedge cache trust samus.samedge        engines that came with a bundle: you know from where
\b
The folder is $SAMEDGE_CACHE, or samedge in $XDG_CACHE_HOME or ~/.cache. Everything in it is made
anew when it is needed: engines are compiled, zipped bundles unpacked, frames for INT8 measured.
"""
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def _age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    parts = re.fullmatch(r"(\d{1,6})([hdw])", value.strip().lower())
    if parts is None:
        raise click.BadParameter(f"'{value}': expected hours, days or weeks, like 12h, 30d, 4w")
    return float(int(parts[1]) * _SECONDS[parts[2]])


@click.command(epilog=EPILOG)
@click.argument("action", type=Choice(["show", "clear", "trust"]), default="show")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--older-than",
    "age",
    metavar="TIME",
    callback=_age,
    help="Clear only what was not used for so long: 12h, 30d, 4w.",
)
@click.option("--stale", is_flag=True, help="Clear only engines of no use on this machine.")
@click.option("-y", "--yes", is_flag=True, help="Clear, or trust, without asking.")
@click.option("--dry-run", is_flag=True, help="Tell what would be cleared, and stop.")
@common_options
def command(
    action: str,
    folder: Path | None,
    age: float | None,
    stale: bool,
    yes: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show or clear what samedge keeps in your cache folder; trust engines from elsewhere.

    That are compiled engines, unpacked copies of zipped bundles and the statistics of INT8
    calibrations. What a running process uses is left, and so is every file that is not samedge's.

    Engines are code, and are loaded where this user built them. `trust` takes your word for those
    in FOLDER (a bundle, or what `samedge build -o` wrote on another machine).
    """
    from samedge.runtime.engines.contents import contents

    printer = Printer(quiet, as_json)
    if action == "trust":
        if stale or age is not None or folder is None:
            raise click.UsageError("what to trust is one folder: samedge cache trust FOLDER")
        _trust(folder, yes, dry_run, printer)
        return
    if folder is not None:
        raise click.UsageError(f"samedge cache {action} takes no folder")
    found = contents()
    if action == "show":
        if stale or yes or dry_run or age is not None:
            raise click.UsageError(
                "--older-than, --stale, --yes and --dry-run belong to: samedge cache clear"
            )
        printer.json(_to_json(found))
        _print(found, printer)
        return
    chosen = _chosen(found.kept, age, stale)
    if dry_run:
        printer.json({"dry_run": True, "bytes": _bytes(chosen), "items": list(map(_item, chosen))})
        _table(f"Would be removed from {found.folder}", chosen, printer)
        printer.line(f"{_sum(chosen)}. Dry run: nothing was removed.")
        return
    if chosen and not yes and sys.stdin is not None and sys.stdin.isatty():
        _table(f"To be removed from {found.folder}", chosen, Printer(quiet))
        if not click.confirm(f"Remove {_sum(chosen)}?", err=True):
            raise Cancelled("nothing was removed")
    _clear(chosen, printer)


def _trust(folder: Path, yes: bool, dry_run: bool, printer: Printer) -> None:
    from samedge.runtime.engines.store import cache_folder
    from samedge.runtime.engines.trust import engines_in, trust

    if kind_at(folder, SourceError) != "folder":
        raise SourceError(f"there is no folder '{shown(folder)}' with engines")
    cache = cache_folder().parent
    found = engines_in(cache, folder)
    new = [one for one in found if not one.trusted]
    asking = not (yes or dry_run) and bool(new)
    rows = [
        (one.path.name, one.record.sha256, "already" if one.trusted else "new") for one in found
    ]
    told = Printer(quiet=printer.quiet and not asking, as_json=printer.as_json and not asking)
    told.table(f"Engines in {folder}", ("engine", "SHA-256", "trusted"), rows)
    if asking:
        if sys.stdin is None or not sys.stdin.isatty():
            raise NotSupportedError(
                "engines are code: compare the SHA-256 with those of the machine that built them, "
                "and say --yes"
            )
        if not click.confirm("Is this what was built? Trust it?", err=True):
            raise Cancelled("nothing is trusted")
    if not dry_run:
        trust(cache, new)
    printer.json(
        {
            "dry_run": dry_run,
            "engines": [
                {"engine": one.path.name, "sha256": one.record.sha256, "before": one.trusted}
                for one in found
            ],
        }
    )
    printer.line("Dry run: nothing was trusted." if dry_run else f"{len(new)} new, trusted now.")


def _clear(chosen: Sequence[Kept], printer: Printer) -> None:
    from samedge.runtime.engines.contents import clear

    cleared: Cleared = clear(chosen)
    printer.json(
        {
            "dry_run": False,
            "bytes": _bytes(cleared.removed),
            "removed": list(map(_item, cleared.removed)),
            "in_use": list(map(_item, cleared.in_use)),
            "failed": list(cleared.failed),
        }
    )
    printer.line(f"Removed {_sum(cleared.removed)}.")
    if cleared.in_use:
        printer.line(f"Left {_sum(cleared.in_use)}: a running process uses them.")
    if cleared.failed:
        raise DeviceError("not removed: " + "; ".join(cleared.failed))


def _chosen(kept: Sequence[Kept], age: float | None, stale: bool) -> list[Kept]:
    before = time.time() - (age or 0.0)
    chosen = [item for item in kept if age is None or item.last_used < before]
    if stale:
        from samedge.cli.doctor import facts

        useless = {item["engine"] for item in facts()["engine_cache"]["stale"]}
        chosen = [item for item in chosen if item.path.name in useless]
    return chosen


def _print(found: Contents, printer: Printer) -> None:
    if found.kept:
        _table(f"Kept in {found.folder}", found.kept, printer)
        printer.line(f"{_sum(found.kept)}. Clear them with: samedge cache clear")
    else:
        printer.line(f"Nothing is kept in {found.folder}.")
    if found.foreign:
        names = ", ".join(found.foreign[:5]) + ", ..." * (len(found.foreign) > 5)
        printer.line(f"note: {len(found.foreign)} files there are not samedge's: {names}")


def _table(title: str, kept: Sequence[Kept], printer: Printer) -> None:
    """One row for each kind and bundle, the largest first."""
    if not printer.text_wanted or not kept:
        return
    groups: dict[tuple[str, str], list[Kept]] = {}
    for item in kept:
        what = f"{item.library} {item.kind}".strip()
        groups.setdefault((what, item.bundle or "-"), []).append(item)
    rows = []
    for (what, bundle), items in sorted(groups.items(), key=lambda pair: -_bytes(pair[1])):
        used = "in use" if any(i.in_use for i in items) else _ago(max(i.last_used for i in items))
        rows.append((what, bundle, len(items), size_text(_bytes(items)), used))
    printer.table(title, ("what", "for the bundle", "number", "size", "last used"), rows)


def _sum(items: Sequence[Kept]) -> str:
    count = len(items)
    return f"{count} thing{'s' * (count != 1)}, {size_text(_bytes(items))}" if count else "nothing"


def _bytes(items: Sequence[Kept]) -> int:
    return sum(item.bytes for item in items)


def _ago(moment: float) -> str:
    """ "just now", "5 h ago", "12 d ago"."""
    seconds = max(time.time() - moment, 0.0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def _to_json(found: Contents) -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "bytes": found.bytes,
        "items": list(map(_item, found.kept)),
        "foreign": list(found.foreign),
    }


def _item(item: Kept) -> dict[str, Any]:
    used = datetime.fromtimestamp(item.last_used, timezone.utc)
    return {
        "kind": item.kind,
        "name": item.path.name,
        "library": item.library or None,
        "bundle": item.bundle or None,
        "bytes": item.bytes,
        "last_used": used.isoformat(timespec="seconds"),
        "in_use": item.in_use,
    }
