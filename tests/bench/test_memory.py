"""Memory per step of an export, measured from outside."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from samedge.bench import memory
from samedge.errors import DeviceError
from samedge.models import tiny_sam_config
from tests.fold.oracle import random_model

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def test_every_step_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    torch.save(random_model(tiny_sam_config()).state_dict(), path)
    report = memory.measure(path, ["--family=sam"])
    assert (report["title"], report["vit"]) == ("Segment Anything", "custom")
    steps = report["steps"]
    assert next(iter(steps)) == "building the model"
    predicted = {name: row for name, row in steps.items() if "predicted_mb" in row}
    assert len(predicted) == 4
    for row in predicted.values():
        assert row["measured_mb"] <= row["predicted_mb"]
    assert report["peak_rss_mb"] > max(row["measured_mb"] for row in steps.values()) > 0
    sheet = memory.sheet(report)
    assert [row[0] for row in sheet.tables[0].rows] == list(steps)
    assert "peak of resident memory" in sheet.render()


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("not a checkpoint\n")
    with pytest.raises(DeviceError, match="is not a checkpoint"):
        memory.measure(tmp_path / "x.pth")


def test_peaks_are_kept_per_step() -> None:
    """Of this very process: what one step takes and gives back is not the next one's."""
    with memory.Watch(os.getpid()) as watch:
        watch.begins("base")
        watch.begins("large")
        block = np.ones(25_000_000)  # 200 MB
        watch.begins("still there")
        del block
        watch.begins("gone")
        watch.begins("end")
    size = {name: row["measured_mb"] for name, row in watch.steps.items()}
    assert size["large"] - size["base"] > 150
    assert size["still there"] - size["base"] > 150
    assert size["large"] - size["gone"] > 150
    assert watch.peak_rss_mb > size["large"]
