"""FoldedModel -> ONNX graphs -> bundle."""

from __future__ import annotations

if __name__ == "export":
    raise ImportError(
        "this folder is the package samedge.export: import it under that name "
        "(and keep the repository root off sys.path)"
    )

from samedge._callable import make_callable
from samedge._optional import importing

# PyTorch is needed for a FoldedModel only: a bundle's graphs are turned into other ones without it.
with importing("onnx", extra="export", what="samedge.export"):
    from samedge.export.exporting import ExportResult, export

__all__ = ["ExportResult", "export"]

make_callable(__name__)
