"""`samedge verify`: does this device compute what the float32 reference computed?"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samedge.cli.completion import engine_options, engines_option
from samedge.cli.inspect import margin_text, print_parity
from samedge.cli.terminal.printing import Printer, common_options, verbose_option, write
from samedge.errors import ParityError
from samedge.progress import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samedge.bundle import Bundle, ParityRow
    from samedge.runtime.parity.drift import Drift


_LEGEND = """\
margin: limit / error of logits, scores, pixels or Dice, the least; 1 x passes
RMS ratio: RMS of the logits' difference / RMS of the logits; it has no limit"""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@engine_options(
    precision="fp32, bf16, fp16 or int8; auto tries all that this device and the bundle have."
)
@engines_option
@click.option(
    "--locate",
    is_flag=True,
    help="Find the first tensor inside the graphs that differs: of precisions that fail, or of "
    "the one that --precision names.",
)
@verbose_option
@common_options
def command(
    bundle: Path,
    backend: str,
    precision: str,
    engines: Path | None,
    locate: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run the self-test of BUNDLE on this device and compare with the float32 reference.

    Run it before a device serves: engines are known to be silently wrong on some hardware. Its last
    line is the verdict. Exit code 5 if a result is farther from the reference than its precision
    allows.

    With --locate the graphs are computed again with tensors from inside given out, and compared
    with float32 until the operation is found where the results part.
    """
    from samedge.bundle import Bundle
    from samedge.runtime.parity.verify import verify
    from samedge.runtime.ready_engines import backend_for, engine_folders

    printer = Printer(quiet, as_json, verbose)
    opened, folders = Bundle.open(bundle), engine_folders(engines)
    why = backend_for(opened, backend, folders)[1]
    printer.detail(f"why this backend: {why}\n")
    rows = verify(opened, backend=backend, precision=precision, engines=engines)
    failed = [row for row in rows if not row.passed]
    drifts: list[Drift] = []
    if locate:
        for row in rows if precision != "auto" else failed:
            drifts += _locate(printer, opened, folders, row)
    found = {"located": [drift.to_json() for drift in drifts]} if locate else {}
    shown = [row.to_json() for row in rows]
    verdict = _verdict(bundle.name, rows)
    about = {"bundle": bundle.name, "passed": not failed, "verdict": verdict, "why": why}
    printer.json({**about, "rows": shown, **found})
    print_parity(printer, "Parity with the float32 reference", rows)
    printer.line(f"{_LEGEND}\n")
    for drift in drifts:
        _print(printer, drift)
    if locate and not drifts:
        printer.line("Every precision passed: there is nothing to locate.")
    printer.line(verdict)
    if failed:
        raise ParityError(_failure(bundle, engines, rows, located=locate))


def _verdict(name: str, rows: Sequence[ParityRow]) -> str:
    """Whether the bundle passes, in which precisions, and what decides; one line."""
    failed = [row for row in rows if not row.passed]
    passed = [row for row in rows if row.passed]
    if failed:
        also = f"; it passes in {_engines(passed)}" if passed else ""
        reasons = "; ".join(f"{_engine(row)}: {_reason(row)}" for row in failed)
        return f"{name} FAILS in {_engines(failed)}{also}. {reasons}."
    nearest = min(rows, key=lambda row: row.margin)
    where = f", {_engine(nearest)}" if len(rows) > 1 else ""
    return (
        f"{name} passes in {_engines(passed)} "
        f"(least margin {margin_text(nearest.margin)}: {_nearest_bound(nearest)}{where})."
    )


def _engine(row: ParityRow) -> str:
    return f"{row.backend} {row.precision}"


def _engines(rows: Sequence[ParityRow]) -> str:
    return ", ".join(map(_engine, rows))


def _reason(row: ParityRow) -> str:
    """Every bound that does not hold, with what was found."""
    reasons = []
    if row.max_logit_error > row.limit:
        reasons.append(f"logit error {row.max_logit_error:.2e} (limit {row.limit:.2e})")
    if row.flipped > row.flipped_limit:
        reasons.append(f"{row.flipped:.4%} of the pixels flipped (limit {row.flipped_limit:.4%})")
    if row.flipped_far:
        reasons.append(f"{row.flipped_far} pixels flipped that are far from an outline (limit 0)")
    if row.dice_limit and row.dice < row.dice_limit:
        reasons.append(f"Dice {row.dice:.5f} (limit {row.dice_limit:.5f} for all but small masks)")
    return " and ".join(reasons) or f"score error {row.score_error:.2e}, {_times(row)} its limit"


def _times(row: ParityRow) -> str:
    return "beyond" if math.isnan(row.margin) else f"{1 / max(row.margin, 1e-30):.3g} times"


def _nearest_bound(row: ParityRow) -> str:
    """Which of the errors the margin is of, in words."""
    bounds = {
        "logits": row.limit / max(row.max_logit_error, 1e-30),
        "flipped pixels": row.flipped_limit / max(row.flipped, 1e-30),
    }
    named = [name for name, ratio in bounds.items() if ratio <= row.margin * 1.000001]
    # Of the other two, scores and Dice, the row does not tell the limit.
    return named[0] if named else "Dice or scores"


def _failure(bundle: Path, engines: Path | None, rows: list[ParityRow], located: bool) -> str:
    passed = [row.precision for row in rows if row.passed]
    failed = [row for row in rows if not row.passed]
    names = ", ".join(f"{row.backend} {row.precision}" for row in failed)
    remedy = f"use --precision {passed[0]}" if passed else "do not use it on this device"
    given = "" if engines is None else f" --engines {engines}"
    where = "" if located else (
        f"; `samedge verify {bundle} --backend {failed[0].backend} --precision "
        f"{failed[0].precision}{given} --locate` finds the operation where it goes wrong"
    )  # fmt: skip
    return (
        f"{bundle.name} does not compute on this device what it should: {names}; {remedy}, and "
        f"report what `samedge doctor` prints{where}"
    )


def _locate(
    printer: Printer, bundle: Bundle, engines: Sequence[Path], row: ParityRow
) -> list[Drift]:
    from samedge.machine.cpu import physical_cores
    from samedge.runtime.choice import named_backend
    from samedge.runtime.parity.drift import locate

    def tell(step: Step, /) -> None:
        if printer.progress_wanted:
            write(sys.stderr, f"comparing {row.precision} {step}\n")

    backend = named_backend(row.backend)
    threads, thorough = physical_cores(), not row.passed
    return locate(bundle, backend, row.precision, threads, 0, tell, thorough, engines)


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
    )
    printer.line(f"{drift.verdict}\n")
