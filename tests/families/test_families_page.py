"""docs/families.md says what the records say, and has figures of every system."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from samedge.bench import families as bench
from samedge.bench.report.sheet import Table
from samedge.errors import ModelError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "families.md").read_text()


def test_the_conventions_are_current() -> None:
    block = runpy.run_path(str(ROOT / "docs" / "make_families.py"))["conventions"]()
    assert block in PAGE, "run: python docs/make_families.py"


def test_every_system_has_figures() -> None:
    figures = PAGE.partition("<!-- figures: begin -->")[2].partition("<!-- figures: end -->")[0]
    for title, _ in bench.configs().values():
        assert f"| {title} |" in figures, "run: python docs/make_families.py --figures"
    assert figures.strip().startswith(Table("", bench.COLUMNS, ()).markdown())


def test_a_small_one_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from samedge import models as m

    tiny = {"tiny": ("A tiny SAMed", lambda: m.tiny(m.SamedConfig))}
    monkeypatch.setattr(bench, "configs", lambda: tiny)
    (folded,) = bench.measured()
    assert folded.report.flops_after < folded.report.flops_before
    (cells,) = Table("", bench.COLUMNS, [bench.row(folded)]).texts()
    assert cells[0] == "A tiny SAMed"
    assert cells[1] == f"{folded.report.flops_before / 1e9:.1f}"


def test_unknown_systems_are_named() -> None:
    with pytest.raises(ModelError, match="no system 'yolo'; known: sam, medsam"):
        next(bench.measured(["yolo"]))
