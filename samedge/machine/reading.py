"""Small files that the system answers in: /proc, /sys. What is not there is None."""

from __future__ import annotations

from pathlib import Path


def text(path: Path) -> str | None:
    """What a file holds; None where it is not there or must not be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The whole number that a file holds; None where it holds none."""
    words = (text(path) or "").split()
    try:
        return int(words[0]) if words else None
    except ValueError:
        return None


def folders(path: Path, pattern: str = "*") -> list[Path]:
    """What stands in a folder, sorted; nothing where there is none."""
    try:
        return sorted(path.glob(pattern))
    except OSError:
        return []
