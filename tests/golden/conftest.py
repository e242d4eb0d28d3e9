"""What tests of reference vectors share."""

from __future__ import annotations

import pytest

from samedge.export import exporting
from samedge.fold import folding
from samedge.fold.probes import selftest_prompts


@pytest.fixture
def fewer_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors are stricter than the proofs that fold and export run by themselves, which would
    double the time."""
    monkeypatch.setattr(folding, "selftest_prompts", lambda *about: selftest_prompts(*about)[:1])
    monkeypatch.setattr(exporting, "gate", lambda _bundle: [])
