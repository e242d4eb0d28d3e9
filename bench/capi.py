"""libsamedge beside Python's session, in turn in one run, on one thread of control.

    python -m samedge.bench.capi BUNDLE [--precision fp32] [--threads 2] [--rounds 10] [--json F]
    python -m samedge.bench.capi --vit vit_b

The C library runs once with an engine of `samedge build --target openvino`, which is made into a
folder of its own, and once with the bundle's plain graphs. Its time is taken outside, through
ctypes; "outside the engines" is from inside (`samedge_get_timing`): the total without the stages
that are OpenVINO's own. A library with other answers than Python's is not timed.

`--vit` measures a SAMUS of that size with random weights, at 480 x 640 px.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bench.contenders.entry import Entries, Entry
from samedge.bench.contenders.native import native_entries
from samedge.bench.contenders.sessions import Variant, labels, session_entries
from samedge.bench.entry import add_files, add_plan, finish, parsed, parser, plan_of, run, tell
from samedge.bench.frames import Footage, footage
from samedge.bench.measurement import measured_report
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.schedule import Plan
from samedge.bench.statistics import summarise
from samedge.bundle import Bundle
from samedge.progress import Progress, silent
from samedge.runtime.openvino.building import build_engines

LOGITS = 1e-4
# What `samedge_get_timing` tells of work that is the engines'.
_ENGINES = ("preprocess", "encode", "decode")


def measure(
    path: Path, precision: str, threads: int, plan: Plan, progress: Progress = silent
) -> Report:
    """Rows for Python's session, the library with an engine, and the library without.

    Args:
        path: of a bundle, folder or zip.
        precision: "fp32", "bf16", "fp16" or "int8".
        threads: of inference, for all.
        plan: how much of each.
        progress: told each step.

    Raises:
        ParityError: nothing is as it should be.
        SamEdgeError: whatever the sessions raise.
    """
    bundle, clip = Bundle.open(path), footage(None)
    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder, Entries() as made:
        engines = Path(folder, "engines")
        build_engines(bundle, (precision,), engines)
        python = Variant(bundle, labels([bundle])[0], "openvino", precision, threads)
        for entry in session_entries([python], clip, progress):
            made.add(replace(entry, row=replace(entry.row, baseline=True)))
        ours = [
            replace(python, label=f"{python.label} with an engine", engines=engines),
            replace(python, label=f"{python.label} with plain graphs"),
        ]
        (reference,) = made
        for entry, variant in zip(native_entries(ours, clip, progress), ours, strict=True):
            made.add(compared(entry, reference, clip, variant.engines is not None))
        report = measured_report(
            f"libsamedge beside Python: {path.name}",
            made,
            plan,
            source=clip.about,
            progress=progress,
        )
    return replace(report, rows=tuple(_with_outside(row) for row in report.rows))


def compared(entry: Entry, reference: Entry, clip: Footage, exact: bool) -> Entry:
    """An entry of the library, refused if it answers otherwise than Python.

    Args:
        entry: of the library.
        reference: of Python's session.
        clip: whose first frame is asked about.
        exact: its masks must be the same, pixel by pixel.
    """
    ours: Any = entry.contender
    theirs: Any = reference.contender
    if ours is None or theirs is None:
        return entry
    asked = {**clip.prompts(theirs.session.family), "crop": clip.crop}
    found, expected = (one.session.segment(clip.frame(0), **asked) for one in (ours, theirs))
    error = float(np.abs(found.low_res_logits - expected.low_res_logits).max())
    row = replace(entry.row, extra={**entry.row.extra, "logits off by": error})
    if error <= LOGITS and (not exact or np.array_equal(found.masks, expected.masks)):
        return replace(entry, row=row)
    entry.close()
    refused = f"it answers otherwise than Python (largest difference of a logit {error:.3g})"
    return Entry(replace(row, refused=refused))


def _with_outside(row: Row) -> Row:
    """What the library itself costs, where a row is one of the library."""
    if row.baseline or not row.modes:
        return row
    (mode,) = row.modes.values()
    own = summarise(outside(mode))
    found = {
        "outside the engines p50, ms": round(own.p50.value, 3),
        "outside the engines p99, ms": round(own.p99.value, 3),
    }
    return replace(row, extra={**row.extra, **found})


def outside(mode: Mode) -> list[float]:
    """Milliseconds of each frame that none of the engines had."""
    stages = [blocks for name, blocks in mode.stages_ms.items() if name not in _ENGINES]
    return [sum(frame) for some in zip(*stages, strict=True) for frame in zip(*some, strict=True)]


@contextmanager
def _bundle_of_size(vit: str) -> Iterator[Path]:
    """A SAMUS bundle with random weights."""
    import samedge
    from samedge.bench.contenders.eager import synthetic_samus

    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        target = Path(folder, f"samus_{vit}.samedge")
        samedge.export(samedge.fold(synthetic_samus(vit)), target)
        yield target


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("capi", __doc__)
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("bundle", type=Path, nargs="?")
    what.add_argument("--vit", help="vit_b, vit_l, vit_h or tiny, instead of a bundle")
    made.add_argument("--precision", default="fp32")
    add_plan(made)
    add_files(made)
    given = parsed(made, arguments)
    how = given.precision, given.threads, plan_of(given), tell
    if given.vit is None:
        return finish(measure(given.bundle, *how), given, arguments)
    with _bundle_of_size(given.vit) as bundle:
        return finish(measure(bundle, *how), given, arguments)


if __name__ == "__main__":
    run(main)
