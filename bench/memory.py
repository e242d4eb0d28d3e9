"""Memory and time of every step of an export, beside what was predicted from the sizes.

    python -m samedge.bench.memory CHECKPOINT [--family medsam] [--chunk 4] [--json F]

Memory is what the process takes beyond what it has when the checkpoint is open: its anonymous
pages, read fifty times a second from outside. Pages of mapped files (checkpoint, weights of the
bundle) are the system's to drop and are counted in the peak of resident memory only. The bundle is
thrown away. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.report.sheet import Column, Sheet, Table
from samedge.errors import DeviceError, NotSupportedError
from samedge.progress import Step

CHILD = "--write-to"
_BEGIN, _END = "begin", "end"  # of the export, among the names of its steps
_EVERY_S = 0.02
COLUMNS = (
    Column("step"),
    Column("seconds", ".1f", "s"),
    Column("measured_mb", ".0f", "MB"),
    Column("predicted_mb", ".0f", "predicted MB"),
)


def measure(checkpoint: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    """Export in a process of its own: `{"steps": {name: {"seconds", "measured_mb",
    "predicted_mb"}}, "title", "vit", "seconds", "peak_rss_mb", "bundle_mb"}`.

    Raises:
        NotSupportedError: this is not Linux.
        DeviceError: the process failed; its message is passed on.
    """
    if not Path("/proc/self/status").exists():
        raise NotSupportedError("memory is measured by /proc, which only Linux has")
    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        command = [sys.executable, "-m", "samedge.bench.memory", str(checkpoint), *options]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*command, CHILD, folder], stdout=pipe, stderr=pipe, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            with Watch(child.pid) as watch:
                for line in child.stdout:
                    told = json.loads(line)
                    if isinstance(told, str):
                        watch.begins(told)
            message = child.stderr.read()
    if child.returncode != 0:
        raise DeviceError(f"the process that exports failed: {message[-2000:]}")
    return _report(watch, told)


def _report(watch: Watch, told: dict[str, Any]) -> dict[str, Any]:
    base = watch.steps.pop(_BEGIN)["measured_mb"]
    watch.steps.pop(_END)
    for name, row in watch.steps.items():
        row["measured_mb"] -= base
        if name in told["needs"]:
            row["predicted_mb"] = told["needs"][name] / 1e6
    seconds = sum(row["seconds"] for row in watch.steps.values())
    return {**told, "steps": watch.steps, "seconds": seconds, "peak_rss_mb": watch.peak_rss_mb}


class Watch:
    """Peaks of another process's memory, step by step, while the `with` block lasts.

    Attributes:
        steps: name -> {"seconds", "measured_mb"}.
        peak_rss_mb: of the resident memory, mapped files included.
    """

    def __init__(self, pid: int) -> None:
        self.steps: dict[str, dict[str, float]] = {}
        self.peak_rss_mb = 0.0
        self._status = Path(f"/proc/{pid}/status")
        self._name, self._start, self._peak = "", 0.0, 0.0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def begins(self, name: str) -> None:
        """The step before has ended, `name` begins."""
        with self._lock:
            self._sample()
            if self._name:
                seconds = time.monotonic() - self._start
                self.steps[self._name] = {"seconds": seconds, "measured_mb": self._peak}
            self._name, self._start, self._peak = name, time.monotonic(), 0.0
            self._sample()

    def _look(self) -> None:
        while not self._stop.wait(_EVERY_S):
            with self._lock:
                self._sample()

    def _sample(self) -> None:
        sizes = dict(_sizes(self._status))
        self._peak = max(self._peak, sizes.get("RssAnon", 0.0) + sizes.get("RssShmem", 0.0))
        self.peak_rss_mb = max(self.peak_rss_mb, sizes.get("VmHWM", 0.0))


def _sizes(status: Path) -> Iterator[tuple[str, float]]:
    """Sizes in /proc/PID/status in MB (10^6 bytes); none of a process that has gone."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(":")
        if value.strip().endswith("kB"):
            yield key, int(value.split()[0]) * 1024 / 1e6


def _export(args: argparse.Namespace, folder: Path) -> None:
    """What is measured: tells the name of each step as it begins, and at last the rest."""
    from samedge.checkpoint import open_checkpoint
    from samedge.export import export
    from samedge.fold import fold
    from samedge.fold.work import pipeline_needs, work_of

    opened = open_checkpoint(
        args.checkpoint,
        family=args.family,
        input_size=args.input_size,
        slices=args.slices,
        chunk=args.chunk,
    )
    needs = pipeline_needs(work_of(opened.config, opened.parameters))
    about = {"title": opened.family.title, "vit": opened.variant.vit}
    _tell(_BEGIN)
    _tell("building the model")
    model = opened.build(copy=False)
    del opened
    folded = fold(model, progress=_begins)
    del model
    bundle = export(folded, folder / "a.samedge", consume=True, progress=_begins).bundle
    _tell(_END)
    _tell(_END)
    size = bundle.manifest.size
    predicted = {need.step: need.bytes for need in needs}
    _tell({**about, "needs": predicted, "bundle_mb": size / 1e6})


def _begins(step: Step, /) -> None:
    _tell(step.name)


def _tell(value: str | dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("memory", __doc__)
    made.add_argument("checkpoint", type=Path)
    made.add_argument("--family")
    made.add_argument("--input-size", type=int)
    made.add_argument("--slices", type=int)
    made.add_argument("--chunk", type=int)
    made.add_argument(CHILD, type=Path, help=argparse.SUPPRESS)
    add_files(made, page=False)
    args = parsed(made, arguments)
    if args.write_to is not None:
        _export(args, args.write_to)
        return 0
    names = ("family", "input_size", "slices", "chunk")
    given = {name: getattr(args, name) for name in names}
    options = [f"--{k.replace('_', '-')}={v}" for k, v in given.items() if v is not None]
    return finish(sheet(measure(args.checkpoint, options)), args, arguments)


def sheet(report: Mapping[str, Any]) -> Sheet:
    """What `measure` found."""
    rows = [
        [name, row["seconds"], row["measured_mb"], row.get("predicted_mb")]
        for name, row in report["steps"].items()
    ]
    about = {k: report[k] for k in ("title", "vit", "seconds", "peak_rss_mb", "bundle_mb")}
    note = (
        f"{report['seconds']:.0f} s, peak of resident memory {report['peak_rss_mb']:.0f} MB "
        f"(mapped files included), bundle {report['bundle_mb']:.0f} MB"
    )
    table = Table(f"{report['title']} {report['vit']}", COLUMNS, rows)
    return Sheet("memory", (table,), about, (note,))


if __name__ == "__main__":
    run(main)
