"""Cells of tables that spreadsheets open."""

from __future__ import annotations

# A cell that begins so is taken for a formula; the last four are the same signs in full width.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def plain(text: str) -> str:
    """A name as a cell that no spreadsheet computes: with an apostrophe before it if need be."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
