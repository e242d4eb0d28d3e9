"""Folding: a torch model with adapters -> FoldedModel, by exact algebra, with a report."""

from __future__ import annotations

from samedge._callable import make_callable
from samedge._optional import importing
from samedge.bundle import Variant

with importing("torch", extra="export", what="samedge.fold"):
    from samedge.fold.folding import fold
    from samedge.fold.model import FoldedModel
    from samedge.fold.report import FoldReport

__all__ = ["FoldReport", "FoldedModel", "Variant", "fold"]

make_callable(__name__)
