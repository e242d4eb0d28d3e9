"""samedge beside what a user would pick instead: one machine, the same threads and frames.

    python -m samedge.bench.peers [--family sam] [--vit vit_b] [--record FOLDER]

segment-anything's predictor, samexporter's ONNX files, LiteMedSAM, and of the same checkpoint the
eager network, torch.compile and its plain ONNX export in ONNX Runtime and OpenVINO. Each mask of
the same network is compared before anything is timed; what is not installed is a row that says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from samedge.bench.contenders.baselines import BASELINES, baseline_entries
from samedge.bench.contenders.entry import Entries, Entry
from samedge.bench.contenders.sessions import session_entries, variants
from samedge.bench.entry import (
    INTERRUPTED,
    add_files,
    add_plan,
    finish,
    parsed,
    parser,
    plan_of,
    repeating,
    run,
    tell,
)
from samedge.bench.frames import footage
from samedge.bench.measurement import measured_report
from samedge.bench.peers.exporter import exporter_entry
from samedge.bench.peers.lite_medsam import lite_medsam_entry
from samedge.bench.peers.predictor import predictor_entry
from samedge.bench.peers.recording import record
from samedge.bench.peers.subject import FAMILIES, Subject, make_subject, precisions
from samedge.bench.report import Report
from samedge.errors import NotSupportedError, ParityError
from samedge.progress import Progress, Step

PEERS: dict[str, Callable[[Subject], Entry]] = {
    "predictor": predictor_entry,
    "samexporter": exporter_entry,
    "lite-medsam": lite_medsam_entry,
}
NAMES = ("predictor", "samexporter", *BASELINES, "lite-medsam")


def entries(subject: Subject, names: Sequence[str], progress: Progress) -> Iterator[Entry]:
    """Peers first, so that the first one is what the others are compared with; then samedge.

    Args:
        subject: the model.
        names: of `NAMES`, in the order to show them.
        progress: told each.

    Raises:
        NotSupportedError: there is no peer of that name.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise NotSupportedError(f"there is no peer '{unknown[0]}'; use some of: {', '.join(NAMES)}")
    done = 0
    for is_peer, group in groupby(names, PEERS.__contains__):
        together = list(group)
        progress(Step("getting ready", done, len(names), ", ".join(together)))
        if is_peer:
            yield from (PEERS[name](subject) for name in together)
        else:  # baselines share the checkpoint and its export
            yield from baseline_entries(
                together, subject.checkpoint, subject.bundle, subject.clip, subject.threads
            )
        done += len(together)
    wanted = variants([subject.bundle], ("openvino",), precisions(), (subject.threads,)).found
    yield from session_entries(wanted, subject.clip, progress)


def measured(options: argparse.Namespace, work: Path, progress: Progress = tell) -> Report:
    """What the options ask for.

    Args:
        options: of `_parser`.
        work: folder for the model's files.
        progress: told each step.
    """
    clip = footage(options.source)
    subject = make_subject(options.family, options.vit, clip, options.threads, work, progress)
    with Entries(entries(subject, options.peers.split(","), progress)) as found:
        title = f"{subject.bundle.manifest.title}: samedge and its peers"
        plan = replace(plan_of(options), warmup=options.warmup)
        about = f"{clip.about}; weights from a formula"
        return measured_report(title, found, plan, about, progress=progress)


def _parser() -> argparse.ArgumentParser:
    made = parser("peers", __doc__)
    made.add_argument("--family", choices=FAMILIES, default="sam")
    made.add_argument("--vit", default="vit_b", help="vit_b, vit_l, vit_h, or tiny to try it out")
    made.add_argument("--peers", default=",".join(NAMES), help=f"some of {','.join(NAMES)}")
    made.add_argument("--source", type=Path, help="image, folder, video or DICOM; else speckle")
    made.add_argument("--work", type=Path, help="keep the files here and use them again")
    made.add_argument("--record", type=Path, help="write JSON and a page here, of a whole run")
    made.add_argument(
        "--warmup", type=int, default=10, help="frames at most before anything counts"
    )
    add_plan(made, rounds=5, frames=2)
    add_files(made)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module.

    Returns:
        0, also if a peer was not there; 5 if one computed something else; 130 after Ctrl-C.
    """
    options = parsed(_parser(), arguments)
    with tempfile.TemporaryDirectory(prefix="samedge-peers-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        report = measured(options, work)
    if options.record is not None and not report.interrupted:
        command = repeating(options.program, sys.argv[1:] if arguments is None else arguments)
        what = f"peers-{options.family}-{options.vit}"
        record(report.with_command(command), options.record, what)
    if finish(report, options, arguments) == INTERRUPTED:
        return INTERRUPTED
    wrong = any(row.parity and not row.parity["passed"] for row in report.rows)
    return ParityError.exit_code if wrong else 0


if __name__ == "__main__":
    run(main)
