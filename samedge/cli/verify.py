"""`samedge verify`: does this device compute what the float32 reference computed?"""

from __future__ import annotations

from pathlib import Path

import click

from samedge.cli.inspect import PARITY_COLUMNS, parity_rows
from samedge.cli.printing import Printer, common_options
from samedge.errors import ParityError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--backend", default="auto", show_default=True, help="Engine, e.g. openvino.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="fp32, bf16, fp16 or int8; auto tries all that this device and the bundle have.",
)
@common_options
def command(bundle: Path, backend: str, precision: str, quiet: bool, as_json: bool) -> None:
    """Run the self-test of BUNDLE on this device and compare with the float32 reference.

    Run it before a device serves: engines are known to be silently wrong on some hardware. Exit
    code 5 if a result is farther from the reference than its precision allows.
    """
    from samedge.runtime.verify import verify

    printer = Printer(quiet, as_json)
    rows = verify(bundle, backend=backend, precision=precision)
    failed = [f"{row['backend']} {row['precision']}" for row in rows if not row["passed"]]
    printer.json({"bundle": bundle.name, "passed": not failed, "rows": rows})
    printer.table("Parity with the float32 reference", PARITY_COLUMNS, parity_rows(rows))
    if failed:
        passed = [row["precision"] for row in rows if row["passed"]]
        remedy = f"use --precision {passed[0]}" if passed else "do not use it on this device"
        raise ParityError(
            f"{bundle.name} does not compute on this device what it should: {', '.join(failed)}; "
            f"{remedy}, and report what `samedge doctor` prints"
        )
