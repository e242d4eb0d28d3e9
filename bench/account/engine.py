"""What an engine of our own starts for one frame, from its plan: nothing is compiled or run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from samedge._optional import importing
from samedge.bench.account.launches import Cost, Ledger
from samedge.runtime.triton.plan import Program
from samedge.runtime.triton.sizes import evaluate

with importing("torch", extra="export", what="counting an engine's launches"):
    from samedge.export.triton.trace import Source, trace
    from samedge.geometry.frame_geometry import MAX_SIDE

FRAME = (480, 640)  # px, height and width
POINTS = 2  # a click and the padding point beside it, or a box's corners
_BLOCK = re.compile(r"encoder\.(blocks\.\d+)")


def engine_launches(
    source: Source, precision: str = "fp16", arch: int = 87, frame: tuple[int, int] = FRAME
) -> Ledger:
    """Encoder and decoder for one frame (or stack of slices) and one object in each.

    Args:
        source: an opened bundle (`samedge.export.triton.trace.opened`) or an outline of one.
        precision: "fp16", "bf16", "fp32" or "int8".
        arch: compute capability that tiles are chosen for; of all that is counted only launches
            can depend on it.
        frame: height and width, px.
    """
    kinds: list[str] = []

    def kernel_of(launch: Any) -> int:
        name = str(launch.kernel.__name__).removesuffix("_kernel")
        if name not in kinds:
            kinds.append(name)
        return kinds.index(name)

    programs = trace(source, precision, arch, MAX_SIDE, kernel_of)
    family = source.bundle.family
    sizes = {
        "height": frame[0],
        "width": frame[1],
        "frame_channels": family.channels,
        "objects": family.slices,
        "points": POINTS,
        "masks": 1,
        "mask_prompts": 1,
    }
    ledger = Ledger()
    for graph in ("encoder", "decoder"):
        program = next(p for p in programs if p.graph == graph and fits(p, sizes))
        for step in program.steps:
            values = (evaluate(size, sizes) for size in (step.flops, step.reads, step.writes))
            ledger.add(part_of(step.label), kinds[step.kernel], Cost(1, *values))
    return ledger


def fits(program: Program, sizes: Mapping[str, int]) -> bool:
    """Whether a program takes these sizes."""
    return all(sizes.get(name, 1) <= most for name, most in program.limits.items())


def part_of(label: str) -> str:
    """The part of a network that a step belongs to; see `samedge.bench.account.launches.Entry`."""
    block = _BLOCK.match(label)
    if block:
        return block[1]
    first, _, rest = label.partition(".")
    return rest.partition(".")[0] if first == "encoder" else first
