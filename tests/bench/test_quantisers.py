"""The comparison of quantisers: every row is measured in the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samedge.bench import quantisers
from samedge.bundle import Bundle
from samedge.errors import MissingDependencyError, NotSupportedError
from samedge.progress import Step
from tests.export.int8.cases import ultrasound


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


def test_rows(bundle: Bundle) -> None:
    pytest.importorskip("onnxruntime")
    said: list[Step] = []
    rows = quantisers.compare(bundle, ultrasound(8, 48), ("onnxruntime",), 1, said.append)
    assert [row["name"] for row in rows] == ["bf16, no INT8", "samedge", "onnxruntime"]
    assert [step.name for step in said] == ["samedge", "onnxruntime"]
    assert len({row["masks"] for row in rows}) == 1
    assert all(0 < row["dice"] <= 1 for row in rows)
    assert rows[0]["logit_rms"] < rows[1]["logit_rms"]
    assert rows[0]["logit_rms"] < rows[2]["logit_rms"] < 1


def test_an_unknown_one(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    only_others(monkeypatch)
    with pytest.raises(NotSupportedError, match="no quantiser 'magic' here; use nncf, onnxruntime"):
        quantisers.compare(bundle, ultrasound(8, 48), ("magic",), 1, lambda _: None)


def test_one_that_is_not_installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    only_others(monkeypatch)
    monkeypatch.setattr(quantisers, "import_module", missing)
    with pytest.raises(MissingDependencyError, match="nncf"):
        quantisers.compare(bundle, ultrasound(8, 48), ("nncf",), 1, lambda _: None)


def only_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours need not be made anew to see an error."""

    class Quantised:
        graph = None

    class Result:
        def to_json(self) -> dict[str, Any]:
            return {}

    class Masks:
        @classmethod
        def ask(cls, *_: Any) -> Masks:
            return cls()

        def compare(self, *_: Any) -> Result:
            return Result()

    made: Callable[..., Any] = lambda *_, **__: Quantised()  # noqa: E731
    monkeypatch.setattr(quantisers, "quantise", made)
    monkeypatch.setattr(quantisers, "MaskAgreement", Masks)
