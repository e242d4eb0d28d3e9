"""Honest latency: frames through a session, against the eager PyTorch model in the same run.

    python -m samedge.bench.encoder     SAMUS ViT-B encoder: eager, plain export, samedge
    python -m samedge.bench.startup     session start and resident memory
    python -m samedge.bench.engines     kernels and memory of TensorRT-RTX engines, step by step
    python -m samedge.bench.layers      where the encoder's time goes, layer by layer
    python -m samedge.bench.kernels     samedge's GPU kernels next to what PyTorch offers
    python -m samedge.bench.ops         what its engines start and move: an account, nothing timed

Nothing is timed before it was shown to compute the right thing.
"""

from __future__ import annotations

if __name__ == "bench":
    raise ImportError(
        "this folder is the package samedge.bench: import it under that name "
        "(and keep the repository root off sys.path)"
    )

from samedge.bench.report import render, svg
from samedge.bench.session import run

__all__ = ["render", "run", "svg"]
