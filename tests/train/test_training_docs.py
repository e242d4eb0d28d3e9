"""docs/training.md says what the recipes say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_current() -> None:
    document = runpy.run_path(str(ROOT / "docs" / "make_training.py"))["document"]
    page = (ROOT / "docs" / "training.md").read_text()
    assert page == document(page), "run: python docs/make_training.py"
