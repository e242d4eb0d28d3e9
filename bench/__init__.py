"""Honest latency: contenders in turn, statistics with bounds, reports with every frame's time.

`samedge bench` is `run` of this package; what else it measures are modules of their own:

    python -m samedge.bench.encoder     SAMUS ViT-B encoder: eager, plain export, samedge
    python -m samedge.bench.peers       whole frames beside what a user would pick instead
    python -m samedge.bench.rewrites    what each rewrite for OpenVINO brings
    python -m samedge.bench.capi        libsamedge beside Python's session
    python -m samedge.bench.kernels     samedge's GPU kernels next to what PyTorch offers
    python -m samedge.bench.live        a whole stream, to a viewer and to another process
    python -m samedge.bench.live.soak   whether memory and files stay flat for hours
    python -m samedge.bench.startup     session start and memory
    python -m samedge.bench.layers      where a frame's time goes, layer by layer

and without any time in them:

    python -m samedge.bench.peak        how fast this machine multiplies matrices
    python -m samedge.bench.memory      memory of every step of an export
    python -m samedge.bench.families    what folding does to each of the systems
    python -m samedge.bench.quantisers  masks of INT8, ours and that of others
    python -m samedge.bench.engines     kernels and memory of TensorRT-RTX engines, step by step
    python -m samedge.bench.ops         what samedge's own engines start and move: an account

Nothing is timed before it was shown to compute the right thing.
"""

from __future__ import annotations

if __name__ == "bench":
    raise ImportError(
        "this folder is the package samedge.bench: import it under that name "
        "(and keep the repository root off sys.path)"
    )

from samedge.bench.bundles import run
from samedge.bench.report import render
from samedge.bench.report.values import Report
from samedge.bench.report.writing import write

__all__ = ["Report", "render", "run", "write"]
