"""Renew the table of limits in docs/security.md.

    python docs/make_security.py

A test checks that it is current.
"""

from __future__ import annotations

from pathlib import Path

from samedge.files.limits import LIMITS

TARGET = Path(__file__).with_name("security.md")
BEGIN, END = "<!-- limits: begin -->", "<!-- limits: end -->"


def table() -> str:
    """All limits, in the order of samedge/files/limits.py."""
    lines = ["| of | at most | why |", "|---|---|---|"]
    lines += [f"| {limit.what} | {limit.text(limit.most)} | {limit.why} |" for limit in LIMITS]
    return "\n".join(lines)


def document(page: str) -> str:
    """The page with the table of today."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    TARGET.write_text(document(TARGET.read_text()))
    print(f"wrote {TARGET}")
