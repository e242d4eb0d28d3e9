"""samedge/_optional.py: the package, or the extra that brings it."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from samedge._optional import importing, require
from samedge.errors import MissingDependencyError, NotSupportedError


def test_what_is_there_is_returned() -> None:
    assert require("json", extra="export", what="a test") is json
    assert require("json.decoder", extra="export", what="a test").__name__ == "json.decoder"


@pytest.mark.parametrize("name", ["no_such_package", "no_such_package.part"])
def test_what_is_missing_names_the_extra(name: str) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        require(name, extra="stream", what="reading DICOM")
    assert str(caught.value) == (
        "reading DICOM needs the package 'no_such_package', which is not installed. "
        "Install it with: pip install -e '.[stream]' (in the clone of samedge)"
    )
    assert isinstance(caught.value, NotSupportedError | ImportError)
    assert (caught.value.package, caught.value.extra) == ("no_such_package", "stream")
    assert caught.value.exit_code == 4


def test_a_fault_inside_a_package_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import its_own_missing_part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError) as caught:
        require("half_installed", extra="export", what="a test")
    assert not isinstance(caught.value, MissingDependencyError)
    assert caught.value.name == "its_own_missing_part"


def test_a_block_of_imports_names_the_extra_too() -> None:
    with importing("json", extra="export", what="a test"):
        import_module("json")
    with (
        pytest.raises(MissingDependencyError, match=r"a test needs .*\[train\]"),
        importing("no_such_package", extra="train", what="a test"),
    ):
        import_module("no_such_package.part")


def test_the_outermost_block_is_the_subject() -> None:
    with (
        pytest.raises(MissingDependencyError, match="training needs"),
        importing("no_such_package", extra="train", what="training"),
    ):
        require("no_such_package", extra="export", what="samedge.part")
    with (
        pytest.raises(MissingDependencyError, match=r"samedge\.part needs .*export"),
        importing("another_package", extra="train", what="training"),
    ):
        require("no_such_package", extra="export", what="samedge.part")
