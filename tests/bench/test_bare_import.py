"""The folder must not be imported under its bare name."""

from __future__ import annotations

import importlib

import pytest


def test_bare_import_is_refused() -> None:
    with pytest.raises(ImportError, match=r"samedge\.bench"):
        importlib.import_module("bench")
