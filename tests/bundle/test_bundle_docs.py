"""docs/bundle.md names what a bundle holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from samedge.bundle import SelfTest
from samedge.families import Family

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Text from a heading to the next one of any level."""
    return TEXT.split(f"# {title}\n")[1].split("\n#")[0]


@pytest.mark.parametrize("field", dataclasses.fields(Family), ids=lambda field: field.name)
def test_fields_of_the_family_record(field: dataclasses.Field[object]) -> None:
    assert f"`{field.name}`" in section("The family record")


@pytest.mark.parametrize("field", dataclasses.fields(SelfTest), ids=lambda field: field.name)
def test_arrays_of_a_selftest(field: dataclasses.Field[object]) -> None:
    if field.name != "name":  # the file's
        assert f"| `{field.name}` |" in section("selftest/NAME.npz")
