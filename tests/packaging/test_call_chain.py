"""CONTRIBUTING's chain of calls for one frame is what happens."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np

from samedge.cli import run
from tests.packaging.tree import ROOT

Call = tuple[str, str]  # module, function


def chain() -> list[tuple[Call, ...]]:
    """Every line of the page's block, as the calls on the way to it."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    block = re.search(r"### The longest chain.*?```text\n(.*?)```", page, re.DOTALL)
    assert block is not None
    found: list[tuple[Call, ...]] = []
    way: list[tuple[int, Call]] = []
    for line in block[1].splitlines():
        name = line.split()[0]
        module = re.match(r"[a-z_.]+(?=\.)", name)
        assert module is not None, line
        indent = len(line) - len(line.lstrip())
        way = [(depth, call) for depth, call in way if depth < indent]
        way.append((indent, (f"samedge.{module[0]}", name.rpartition(".")[2])))
        found.append(tuple(call for _, call in way))
    return found


def is_on_stack(way: tuple[Call, ...], frame: FrameType) -> bool:
    """Whether these calls led to `frame`, others between them or not."""
    left = list(way)
    at: FrameType | None = frame
    while at is not None and left:
        if (at.f_globals.get("__name__"), at.f_code.co_name) == left[-1]:
            left.pop()
        at = at.f_back
    return not left


def test_the_chain_of_calls_for_one_frame(tmp_path: Path, tiny_bundle: Path) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (90, 120), np.uint8))
    expected = chain()
    assert len(expected) > 10
    seen: list[tuple[Call, ...]] = []

    def watch(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_globals.get("__name__", "").startswith("samedge."):
            last = frame.f_globals["__name__"], frame.f_code.co_name
            seen.extend(w for w in expected if w[-1] == last and is_on_stack(w, frame))

    words = ["--point", "30,30", "--backend", "openvino", "--precision", "fp32", "--quiet"]
    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        code = run(["segment", str(tiny_bundle), str(picture), "-o", str(tmp_path / "out"), *words])
    finally:
        sys.setprofile(before)
    assert code == 0
    first = list(dict.fromkeys(seen))
    assert first == expected  # all of them, in this order
