"""The operations that a FoldedModel computes with: torch references on a CPU."""

from __future__ import annotations

if __name__ == "kernels":
    raise ImportError(
        "this folder is the package samedge.kernels: import it under that name "
        "(and keep the repository root off sys.path)"
    )

from samedge._optional import require

require("torch", extra="export", what="samedge.kernels")
