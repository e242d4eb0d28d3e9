"""docs/cli.md says what the commands say."""

from __future__ import annotations

import runpy
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_line_reference_is_current() -> None:
    # Other versions of click wrap and word things a little differently.
    if f"click=={version('click')}\n" not in (ROOT / "constraints.txt").read_text():
        pytest.skip("written with the version of click in constraints.txt")
    document = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))["document"]
    assert (ROOT / "docs" / "cli.md").read_text() == document(), "run: python docs/make_cli.py"
