"""The table of limits is one, and the page shows it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from samedge.errors import SourceError
from samedge.files import limits

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_shows_the_table() -> None:
    maker = runpy.run_path(str(ROOT / "docs" / "make_security.py"))
    page = (ROOT / "docs" / "security.md").read_text()
    assert page == maker["document"](page), "run: python docs/make_security.py"
    for limit in limits.LIMITS:
        assert f"| {limit.what} | {limit.text(limit.most)} |" in page


def test_every_limit_is_in_the_table() -> None:
    named = [value for value in vars(limits).values() if isinstance(value, limits.Limit)]
    assert named == list(limits.LIMITS)
    assert len({limit.what for limit in named}) == len(named)


def test_what_a_refusal_says() -> None:
    limit = limits.Limit("pixels of a picture", 100, "px", "for instance")
    limit.check(100, "a.png", SourceError)
    with pytest.raises(SourceError, match=r"a\.png: pixels of a picture: 1,000 px; at most 100 px"):
        limit.check(1000, "a.png", SourceError)
