"""docs/python.md: its examples run, and it leaves out no public name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

import samedge
from tests.packaging.tree import ROOT

PAGE = ROOT / "docs" / "python.md"


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "tests" / "data" / "tiny.samedge", tmp_path / "samus.samedge")
    cv2.imwrite(str(tmp_path / "frame.png"), np.full((240, 320), 90, np.uint8))
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"python.md, example {number + 1}", "exec"), names)
    for file in ("result.npz", "mask.png", "second.png", "both.png", "out/results.json"):
        assert (tmp_path / file).is_file()
    printed = capsys.readouterr().out
    for words in (
        "Result(masks=1x240x320",
        "VolumeResult(masks=1x4x240x320",
        "BundleError 3",
        "cannot be pickled",
    ):
        assert words in printed
    matplotlib.pyplot.close("all")


def test_the_page_names_everything_public() -> None:
    text = PAGE.read_text()
    assert not [name for name in samedge.__all__ if name not in text and name != "__version__"]
