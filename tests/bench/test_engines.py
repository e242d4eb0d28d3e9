"""The table of what TensorRT-RTX makes of an encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.bench import engines
from samedge.errors import DeviceError
from tests.export.rtx import needs_rtx

pytestmark = needs_rtx


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.main(["--vit", "tiny"]) == 0
    text = capsys.readouterr().out
    for words in ("plain export", "folded", "+ as columns of qkv", "fused attentions"):
        assert words in text


def test_what_is_no_graph(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(DeviceError, match=r"cannot read a\.onnx"):
        engines.build(path, 86)
