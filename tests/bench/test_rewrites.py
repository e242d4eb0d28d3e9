"""The table of rewrites names every step and says how often it applied."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from samedge.bench.rewrites import main, measure
from samedge.export import export
from samedge.fold import fold
from samedge.models import build_samus, tiny_samus_config


@pytest.mark.parametrize("precision", ["fp32"])
def test_rows(tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = export(fold(build_samus(tiny_samus_config())), tmp_path / "tiny.samedge").bundle
    rows = measure(bundle.path, precision, threads=1, rounds=2)
    assert [row["name"] for row in rows] == [
        "as exported",
        "+ split_linear",
        "+ winograd",
        "+ linear_as_convolution",
    ]
    assert rows[1]["count"] == 6  # four blocks and two cross-branch attentions
    assert rows[0]["times_first"]["median"] == 1.0
    assert main([str(bundle.path), "--rounds", "1", "--threads", "1"]) == 0
    assert "as exported" in capsys.readouterr().out
