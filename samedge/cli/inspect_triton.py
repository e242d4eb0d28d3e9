"""`samedge inspect ENGINE` of samedge's own engines: what they are for, and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge.cli.filetype import ENGINE, size_text
from samedge.cli.printing import Printer
from samedge.errors import SourceError

if TYPE_CHECKING:
    from samedge.runtime.engines.records import EngineRecord
    from samedge.runtime.triton.engine_file import EngineFile
    from samedge.runtime.triton.plan import Target

_KERNELS = (
    "kernel", "launches", "registers", "shared", "blocks", "spilled", "tensor core", "code",
)  # fmt: skip
_KINDS = ("graph", "kind", "launches", "GFLOP", "MB read", "MB written")


def inspect_triton(printer: Printer, path: Path, layers: bool) -> None:
    """Print an engine's plan: it needs no GPU, and nothing of it is loaded.

    Args:
        printer: where to.
        path: of the engine; its record may lie beside it.
        layers: also list every launch.

    Raises:
        SourceError: the engine is damaged, or not the one that its record is of.
    """
    from samedge.runtime.triton.account import account
    from samedge.runtime.triton.engine_file import read_engine

    file = read_engine(path)
    record = _record(path, file)
    said = account(file.plan)
    parity = [] if record is None else [dict(row) for row in record.parity]
    printer.json({"kind": ENGINE, "engine": "triton", "parity": parity, **said})
    printer.table(f"{path.name}: an engine of samedge's own", ("", ""), _about(file, record))
    for number, target in sorted(file.plan.targets.items()):
        _print_target(printer, f"sm_{number}", target, layers)


def _record(path: Path, file: EngineFile) -> EngineRecord | None:
    import hashlib

    from samedge.runtime.engines.records import read_record, record_path

    if not record_path(path).exists():
        return None
    try:
        record = read_record(path)
    except SourceError as error:
        raise SourceError(f"{path.name}: {error}") from error
    if record.sha256 != hashlib.sha256(file.data).hexdigest():
        raise SourceError(
            f"{path.name} is not the file that was built: its hash is another one than in its "
            "record. Do not use it; build it again with: samedge build BUNDLE --force"
        )
    return record


def _about(file: EngineFile, record: EngineRecord | None) -> list[tuple[str, str]]:
    plan = file.plan
    rows = [
        ("precision", plan.precision),
        ("for", ", ".join(f"sm_{number}" for number in sorted(plan.targets))),
        ("bundle", plan.bundle),
        *((f"weights in {name}", f"sha256 {digest}") for name, digest in plan.files.items()),
        ("weights on the device", size_text(plan.weights_size)),
        ("size", size_text(len(file.data))),
        ("hash", "as it says"),
        ("written by", f"samedge {plan.samedge}"),
    ]
    if record is None:
        return [*rows, ("record", "none: no session takes it (samedge build writes one)")]
    checked: list[tuple[str, str]] = [
        (
            f"parity in {row['precision']}",
            f"{'passed' if row['passed'] else 'FAILED'}, margin {row.get('margin', 0):.3g} x",
        )
        for row in record.parity
    ]
    return rows + (checked or [("parity", "never checked on a GPU: run `samedge verify` there")])


def _print_target(printer: Printer, name: str, target: Target, layers: bool) -> None:
    from samedge.runtime.triton.account import arenas, counted_for, kinds, launches

    counts = counted_for(target).items()
    sizes = ", ".join(f"{size.replace('_', ' ')} {number}" for size, number in counts)
    programs = [
        (
            row["graph"],
            ", ".join(f"{key} {most}" for key, most in row["limits"].items()),
            str(row["launches"]),
            size_text(row["arena"]),
            size_text(row["largest_arena"]),
        )
        for row in arenas(target)
    ]
    title = f"{name}: programs; arena for {sizes}, and for the largest"
    columns = ("graph", "sizes up to", "launches", "arena", "largest")
    printer.table(title, columns, programs)
    rows: list[tuple[Any, ...]] = [
        (row.graph, row.kind, row.launches, row.flops, row.reads, row.writes)
        for row in kinds(target)
    ]
    total = [sum(column) for column in zip(*(row[2:] for row in rows), strict=True)]
    cells = [_work(*row) for row in [*rows, ("sum", "", *total)]]
    printer.table(f"{name}: launches by kind, counted, for {sizes}", _KINDS, cells)
    used = {row.kernel: 0 for row in launches(target)}
    for row in launches(target):
        used[row.kernel] += 1
    kernels = [
        (
            kernel.name,
            str(used.get(kernel.name, 0)),
            str(kernel.resources.registers),
            size_text(kernel.resources.shared),
            str(kernel.resources.blocks),
            str(kernel.resources.spilled),
            str(kernel.resources.tensor_core),
            size_text(kernel.size),
        )
        for kernel in target.kernels
    ]
    printer.table(f"{name}: kernels; blocks are resident on a multiprocessor", _KERNELS, kernels)
    if layers:
        listed = [
            (r.graph, r.label, r.kernel, " x ".join(map(str, r.grid)),
             f"{r.flops / 1e9:.3f}", f"{r.reads / 1e6:.2f}", f"{r.writes / 1e6:.2f}")
            for r in launches(target)
        ]  # fmt: skip
        heads = ("graph", "layer", "kernel", "blocks", *_KINDS[3:])
        printer.table(f"{name}: all launches, in order", heads, listed)


def _work(
    graph: str, kind: str, count: int, flops: int, reads: int, writes: int
) -> tuple[str, ...]:
    return (
        graph, kind, str(count), f"{flops / 1e9:.2f}", f"{reads / 1e6:.1f}", f"{writes / 1e6:.1f}",
    )  # fmt: skip
