"""Folding: a torch model with adapters -> FoldedModel, by exact algebra, with a report."""

from __future__ import annotations

from samedge._callable import make_callable
from samedge._optional import require

require("torch", extra="export", what="samedge.fold")

from samedge.fold.folding import fold  # noqa: E402
from samedge.fold.model import FoldedModel, Variant  # noqa: E402
from samedge.fold.report import FoldReport  # noqa: E402

__all__ = ["FoldReport", "FoldedModel", "Variant", "fold"]

make_callable(__name__)
