"""What an engine does for one frame, counted from its plan: an account, not a speed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from samedge.runtime.triton.plan import EnginePlan, Program, Target
from samedge.runtime.triton.sizes import evaluate

# Sizes that launches are counted for, where the program's limits do not forbid it.
USUAL = {"height": 600, "width": 800, "frame_channels": 1, "objects": 1, "points": 2}
_KIND = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class KindRow:
    """The launches of one graph with kernels of one kind.

    Attributes:
        graph: "encoder" or "decoder".
        kind: of kernel: the first word of its name.
        launches: how many.
        flops: multiplications and additions, a fused one counted as two.
        reads, writes: bytes, of each launch's arrays once.
    """

    graph: str
    kind: str
    launches: int
    flops: int
    reads: int
    writes: int


@dataclass(frozen=True)
class LaunchRow:
    """One launch.

    Attributes:
        graph: "encoder" or "decoder".
        label: the layer that it belongs to.
        kernel: its name.
        index: of the kernel in its target; names need not be different.
        grid: blocks.
        flops, reads, writes: as in `KindRow`.
    """

    graph: str
    label: str
    kernel: str
    index: int
    grid: tuple[int, int, int]
    flops: int
    reads: int
    writes: int


def sizes_for(program: Program) -> dict[str, int]:
    """The sizes that a program's launches are counted for."""
    return {name: min(USUAL.get(name, 1), most) for name, most in program.limits.items()}


def counted(target: Target) -> Iterator[Program]:
    """Of each graph the program that runs for the usual sizes."""
    for graph in dict.fromkeys(program.graph for program in target.programs):
        found = [program for program in target.programs if program.graph == graph]
        fits = (p for p in found if all(USUAL.get(n, 1) <= m for n, m in p.limits.items()))
        yield next(fits, found[-1])


def counted_for(target: Target) -> dict[str, int]:
    """The sizes that launches are counted for: the usual ones, or the largest that it takes."""
    found: dict[str, int] = {}
    for program in counted(target):
        found |= sizes_for(program)
    return found


def launches(target: Target) -> list[LaunchRow]:
    """All launches of both graphs, in order."""
    rows = []
    for program in counted(target):
        values = sizes_for(program)
        for step in program.steps:
            x, y, z = (evaluate(size, values) for size in step.grid)
            flops, reads, writes = (
                evaluate(size, values) for size in (step.flops, step.reads, step.writes)
            )
            name = target.kernels[step.kernel].name
            rows.append(
                LaunchRow(
                    program.graph, step.label, name, step.kernel, (x, y, z), flops, reads, writes
                )
            )
    return rows


def kinds(target: Target) -> list[KindRow]:
    """Launches by graph and kind of kernel, those with the most work first."""
    sums: dict[tuple[str, str], list[int]] = {}
    for row in launches(target):
        total = sums.setdefault((row.graph, _kind(row.kernel)), [0, 0, 0, 0])
        for at, number in enumerate((1, row.flops, row.reads, row.writes)):
            total[at] += number
    rows = [KindRow(graph, kind, *numbers) for (graph, kind), numbers in sums.items()]
    order = {"encoder": 0, "decoder": 1}
    return sorted(rows, key=lambda row: (order[row.graph], -row.flops, -row.reads, row.kind))


def uses(target: Target) -> list[int]:
    """How many launches each kernel has, in the order of the target's kernels."""
    found = [0] * len(target.kernels)
    for row in launches(target):
        found[row.index] += 1
    return found


def arenas(target: Target) -> list[dict[str, Any]]:
    """For each program its limits, its launches, and the bytes of its arena: for the usual sizes,
    and for the largest."""
    return [
        {
            "graph": program.graph,
            "limits": dict(program.limits),
            "launches": len(program.steps),
            "arena": evaluate(program.arena, sizes_for(program)),
            "largest_arena": evaluate(program.arena, program.limits),
        }
        for program in target.programs
    ]


def account(plan: EnginePlan) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "samedge": plan.samedge,
        "bundle": plan.bundle,
        "precision": plan.precision,
        "weights": plan.weights_size,
        "files": dict(plan.files),
        "targets": [_target(target) for _, target in sorted(plan.targets.items())],
    }


def _target(target: Target) -> Mapping[str, Any]:
    return {
        "compute_capability": target.compute_capability,
        "counted_for": counted_for(target),
        "programs": arenas(target),
        "kernels": [
            {
                "name": kernel.name,
                "launches": count,
                "threads": kernel.threads,
                "bytes": kernel.size,
                **asdict(kernel.resources),
            }
            for kernel, count in zip(target.kernels, uses(target), strict=True)
        ],
        "kinds": [asdict(row) for row in kinds(target)],
        "launches": [asdict(row) for row in launches(target)],
    }


def _kind(name: str) -> str:
    found = _KIND.search(name)
    return name if found is None else found[0].removesuffix("_kernel")
