"""`samedge verify`: does this device compute what the float32 reference computed?"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli.inspect import PARITY_COLUMNS, parity_rows
from samedge.cli.printing import Printer, common_options, write
from samedge.errors import ParityError
from samedge.progress import Step

if TYPE_CHECKING:
    from samedge.bundle import ParityRow
    from samedge.runtime.parity.drift import Drift


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--backend", default="auto", show_default=True, help="Engine, e.g. openvino.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="fp32, bf16, fp16 or int8; auto tries all that this device and the bundle have.",
)
@click.option(
    "--locate",
    is_flag=True,
    help="Find the first tensor inside the graphs that differs: of precisions that fail, or of "
    "the one that --precision names.",
)
@common_options
def command(
    bundle: Path, backend: str, precision: str, locate: bool, quiet: bool, as_json: bool
) -> None:
    """Run the self-test of BUNDLE on this device and compare with the float32 reference.

    Run it before a device serves: engines are known to be silently wrong on some hardware. Exit
    code 5 if a result is farther from the reference than its precision allows.

    With --locate the graphs are computed again with tensors from inside given out, and compared
    with float32 until the operation is found where the results part.
    """
    from samedge.runtime.parity.verify import verify

    printer = Printer(quiet, as_json)
    rows = verify(bundle, backend=backend, precision=precision)
    failed = [row for row in rows if not row.passed]
    drifts: list[Drift] = []
    if locate:
        for row in rows if precision != "auto" else failed:
            drifts += _locate(printer, bundle, row)
    found = {"located": [drift.to_json() for drift in drifts]} if locate else {}
    shown = [row.to_json() for row in rows]
    printer.json({"bundle": bundle.name, "passed": not failed, "rows": shown, **found})
    printer.table("Parity with the float32 reference", PARITY_COLUMNS, parity_rows(rows))
    for drift in drifts:
        _print(printer, drift)
    if locate and not drifts:
        printer.line("Every precision passed: there is nothing to locate.")
    if failed:
        raise ParityError(_failure(bundle, rows, located=locate))


def _failure(bundle: Path, rows: list[ParityRow], located: bool) -> str:
    passed = [row.precision for row in rows if row.passed]
    failed = [row for row in rows if not row.passed]
    names = ", ".join(f"{row.backend} {row.precision}" for row in failed)
    remedy = f"use --precision {passed[0]}" if passed else "do not use it on this device"
    where = "" if located else (
        f"; `samedge verify {bundle} --backend {failed[0].backend} --precision "
        f"{failed[0].precision} --locate` finds the operation where it goes wrong"
    )  # fmt: skip
    return (
        f"{bundle.name} does not compute on this device what it should: {names}; {remedy}, and "
        f"report what `samedge doctor` prints{where}"
    )


def _locate(printer: Printer, path: Path, row: ParityRow) -> list[Drift]:
    from samedge.bundle import Bundle
    from samedge.machine.cpu import physical_cores
    from samedge.runtime.choice import named_backend
    from samedge.runtime.parity.drift import locate

    def tell(step: Step, /) -> None:
        if printer.progress_wanted:
            write(sys.stderr, f"comparing {row.precision} {step}\n")

    backend = named_backend(row.backend)
    opened, threads = Bundle.open(path), physical_cores()
    return locate(opened, backend, row.precision, threads, 0, tell, thorough=not row.passed)


def _print(printer: Printer, drift: Drift) -> None:
    """The tensors that were compared, in order, and what follows from them."""
    inputs = {tensor.name for tensor in drift.inputs}
    rows = []
    for tensor in drift.checkpoints:
        role = "input of the first" if tensor.name in inputs else ""
        if tensor == drift.first:
            role = "FIRST OUTSIDE"
        rows.append(
            (
                tensor.place,
                tensor.name,
                tensor.kind,
                f"{tensor.error:.1e}" if math.isfinite(tensor.error) else "not finite",
                f"{tensor.largest:.3g}",
                "inside" if tensor.error <= drift.level else "outside",
                role,
            )
        )
    printer.table(
        f"{drift.backend} {drift.precision}, {drift.graph}, self-test '{drift.case}': relative RMS "
        f"error, level {drift.level:.2g}",
        ("place", "tensor", "operator", "error", "largest", "", ""),
        rows,
        drift.verdict,
    )
    printer.line()
