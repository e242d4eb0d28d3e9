#!/usr/bin/env python3
"""Run reference cases through samedge and write their arrays.

    python tests/golden/run.py GOLDEN_DIR OUT_DIR --stage eager|folded|onnx|openvino|half|all

GOLDEN_DIR is any folder in the layout of tests/golden/vectors: other seeds, images and prompts,
too. Each supported case becomes OUT_DIR/<system>/<case>.npz, with the file and array names of the
reference; prompts are copied through. With --compare the arrays are held against the reference.

| stage | what runs |
|---|---|
| eager | the torch modules of samedge.models; the only stage with traces of inner layers |
| folded | the folded model in torch |
| onnx | the graphs of an exported bundle, in ONNX Runtime |
| openvino | the bundle in a samedge Session |
| half | its half-precision graphs as a GPU computes them, in ONNX Runtime; not part of `all` |
| all | one after the other, into OUT_DIR/<stage>; folds and exports every checkpoint once |

Exit code 0: all supported cases ran (and passed); 5: some failed the comparison.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from samedge.checkpoint import Checkpoint
from samedge.errors import ParityError, SamEdgeError, SourceError
from tests.golden.build import Build
from tests.golden.cases import Case, read_cases
from tests.golden.compare import Row, compare_case, table
from tests.golden.engines import HALF, STAGES, Options, engine_of
from tests.golden.runner import CaseRunner, opened_checkpoint, unsupported, write_arrays

ALL = "all"
DEFAULTS = Options()
Opener = Callable[[Case], AbstractContextManager[Checkpoint]]


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        out: folder per stage.
        options: of all stages.
        compare: hold the arrays against the reference.
    """

    out: dict[str, Path]
    options: Options = DEFAULTS
    compare: bool = False


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Command line arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("golden", type=Path, help="folder of reference vectors")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--stage", choices=(*STAGES, HALF, ALL), default="eager")
    parser.add_argument(
        "--precision", default=DEFAULTS.precision, help="fp32 or bf16 (openvino only)"
    )
    parser.add_argument("--threads", type=int, default=DEFAULTS.threads, help="CPU threads")
    parser.add_argument("--case", action="append", help="only this case id (repeatable)")
    parser.add_argument("--system", action="append", help="only this system (repeatable)")
    parser.add_argument("--compare", action="store_true", help="hold against the reference")
    return parser.parse_args(arguments)


def chosen_cases(args: argparse.Namespace) -> list[Case]:
    """The cases asked for that samedge supports; says which are skipped, and why."""
    asked = [
        case
        for case in read_cases(args.golden)
        if (not args.case or case.id in args.case)
        and (not args.system or case.system in args.system)
    ]
    if not asked:
        raise SourceError(f"{args.golden.name}: has no such case")
    for case in asked:
        if reason := unsupported(case):
            print(f"skipped  {case.system}/{case.id}: {reason}", flush=True)
    supported = [case for case in asked if not unsupported(case)]
    if not supported:
        raise SourceError(f"{args.golden.name}: none of these cases can be run here")
    return supported


def run_cases(
    cases: list[Case], plan: Plan, opener: Opener = opened_checkpoint
) -> dict[str, list[Row]]:
    """Run and write all cases, one checkpoint after the other.

    Returns:
        Stage -> rows of the comparison; empty without one.
    """
    rows: dict[str, list[Row]] = {stage: [] for stage in plan.out}
    with torch_threads(plan.options.threads):
        for _, group in grouped(
            cases, lambda case: (case.checkpoints, case.weights, repr(case.options))
        ):
            with opener(group[0]) as checkpoint:
                for three, same in grouped(group, lambda case: case.three_channels):
                    with TemporaryDirectory(prefix="samedge-golden-") as folder:
                        build = Build(checkpoint, 3 if three else None, Path(folder))
                        run_stages(same, build, plan, rows)
    return rows


def run_stages(cases: list[Case], build: Build, plan: Plan, rows: dict[str, list[Row]]) -> None:
    """Run cases of one build in all stages of the plan, and add to `rows`."""
    for stage, out in plan.out.items():
        # Tables are a matter of the checkpoint alone: no need to export it for them.
        needed = stage if any(case.kind != "tables" for case in cases) else "eager"
        with closing(engine_of(needed)(build, plan.options)) as engine:
            runner = CaseRunner(engine, build.checkpoint, cases)
            for case in cases:
                arrays = runner.run(case)
                write_arrays(out / case.file, arrays)
                print(f"{stage:<8} {case.system}/{case.id}: {len(arrays)} arrays", flush=True)
                while engine.notes:
                    print(f"         {engine.notes.pop(0)}", flush=True)
                if plan.compare:
                    precision = "fp16" if stage == HALF else plan.options.precision
                    rows[stage] += compare_case(case, arrays, precision)


def grouped(cases: list[Case], key: Callable[[Case], Any]) -> list[tuple[Any, list[Case]]]:
    """Cases by key; within a group those of one image stand together, for it is encoded once."""
    ordered = sorted(cases, key=lambda case: (key(case), case.images))
    return [(value, list(group)) for value, group in groupby(ordered, key=key)]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch's number of threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    args = parse(arguments)
    stages = STAGES if args.stage == ALL else (args.stage,)
    out = {stage: args.out / stage if args.stage == ALL else args.out for stage in stages}
    try:
        plan = Plan(out, Options(args.precision, args.threads), args.compare)
        report(run_cases(chosen_cases(args), plan))
    except SamEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def report(compared: dict[str, list[Row]]) -> None:
    """Print the tables of a comparison.

    Raises:
        ParityError: names all arrays that fail.
    """
    failed = []
    for stage, rows in compared.items():
        if rows:
            print(f"\n{stage}\n{table(rows)}")
        failed += [f"{stage} {row.case}/{row.array}" for row in rows if not row.passed]
    if failed:
        total = sum(map(len, compared.values()))
        raise ParityError(f"{len(failed)} of {total} arrays fail: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
