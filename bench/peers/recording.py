"""A report in a folder of records: the JSON with every frame's time, and a page to read."""

from __future__ import annotations

import re
from pathlib import Path

from samedge.bench.report import Report, render
from samedge.errors import OutputError
from samedge.files.whole import write_bytes


def record(report: Report, folder: Path, what: str) -> Path:
    """Write `<date>-<machine>-<what>.json` and the same with `.md`; returns the latter.

    Args:
        report: with its command.
        folder: made if it is not there.
        what: was measured, in a word or three.

    Raises:
        OutputError: they cannot be written.
    """
    stem = "-".join((report.made[:10], slug(machine_name(report)), slug(what)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder.name} cannot be made: {error.strerror}") from error
    report.save(folder / f"{stem}.json")
    write_bytes(folder / f"{stem}.md", page(report).encode())
    return folder / f"{stem}.md"


def page(report: Report) -> str:
    """A report in Markdown: what, where, when, how clean, the table, and how to repeat it."""
    cpu, system = report.machine.get("cpu", {}), report.machine.get("system", {})
    facts = {
        "Machine": f"{machine_name(report)}, {cpu.get('physical_cores')} cores",
        "System": str(system.get("os")),
        "Packages": ", ".join(f"{k} {v}" for k, v in _libraries(report).items()),
        "Date": report.made,
        "Frames": report.source,
        "Plan": ", ".join(f"{key} {value}" for key, value in report.plan.items()),
        "Clean": "; ".join(report.warnings) or "yes: nothing else was seen to run",
    }
    lines = [f"# {report.title}", "", "    " + report.command, ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines += ["", "```text", render(report).rstrip(), "```", ""]
    return "\n".join(lines)


def machine_name(report: Report) -> str:
    """The processor's model, or the board's."""
    board = report.machine.get("system", {}).get("board")
    return str(board or report.machine.get("cpu", {}).get("model") or "unknown machine")


def slug(words: str) -> str:
    """For a file name: "Intel(R) Xeon(R) Processor" -> "intel-xeon-processor"."""
    plain = re.sub(r"\((R|TM|C)\)", "", words, flags=re.IGNORECASE).lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _libraries(report: Report) -> dict[str, str]:
    return dict(report.machine.get("libraries", {}))
