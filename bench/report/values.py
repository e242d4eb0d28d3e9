"""What a run has found, with every frame's time, and what is computed from that.

A report is plain data: it is written to JSON whole, and read back for `samedge bench compare` and
for plots. Percentiles and ratios are never stored alone: whoever reads a report can take their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from samedge.bench.report.compact import compact_json
from samedge.bench.report.reading import (
    Damaged,
    blocks_of,
    listed,
    number,
    numbers,
    plain,
    record,
    text,
    texts,
    truth,
)
from samedge.bench.schedule import FLAT, STREAM, Block
from samedge.bench.statistics import (
    LEAST_ROUNDS,
    Bounded,
    Summary,
    Verdict,
    paired_ratio,
    summarise,
    unpaired_ratio,
    verdict,
)
from samedge.errors import SourceError
from samedge.files.whole import json_bytes, write_bytes

SCHEMA = 2
KIND = "samedge bench"
# Blocks of one contender are alike to a few per cent on a machine of its own.
UNSTEADY = 1.25
_QUEUE = 0.5  # of the work on a frame; what waits for less waits for a clock or a thread


@dataclass(frozen=True)
class Mode:
    """A row's frames in one mode, block by block, all in milliseconds.

    Attributes:
        latency_ms: from the time a frame was due (flat out: begun) to its answer.
        service_ms: from the beginning of the work to the answer.
        at_s: when each frame was due, from the first one of the run.
        stages_ms: stage -> of each frame; nothing where the contender does not tell.
        seconds: of each block, from its first frame to its last answer.
        joules: of each block; None where the machine does not tell.
    """

    latency_ms: tuple[tuple[float, ...], ...]
    service_ms: tuple[tuple[float, ...], ...]
    at_s: tuple[tuple[float, ...], ...]
    stages_ms: Mapping[str, tuple[tuple[float, ...], ...]]
    seconds: tuple[float, ...]
    joules: tuple[float, ...] | None = None

    @classmethod
    def of(cls, blocks: Sequence[Block], start_s: float = 0.0) -> Mode:
        """From what `schedule.measure` found; `start_s` is the run's first moment."""
        stages = dict.fromkeys(name for b in blocks for frame in b.stages for name in frame)
        joules = tuple(b.joules for b in blocks if b.joules is not None)
        return cls(
            tuple(tuple(block.latency_ms) for block in blocks),
            tuple(tuple(block.service_ms) for block in blocks),
            tuple(tuple(due - start_s for due in block.arrived) for block in blocks),
            {
                name: tuple(tuple(f.get(name, 0.0) for f in b.stages) for b in blocks)
                for name in stages
            },
            tuple(block.seconds for block in blocks),
            joules if len(joules) == len(blocks) else None,
        )

    @property
    def frames(self) -> list[float]:
        """Latencies of all frames, in the order they were taken."""
        return [value for block in self.latency_ms for value in block]

    @property
    def block_ms(self) -> list[float]:
        """The median latency of each block: one observation of the machine each."""
        return [median(block) for block in self.latency_ms]

    @property
    def fps(self) -> float:
        """Frames per second, by the wall clock."""
        return len(self.frames) / sum(self.seconds)

    @property
    def wait_ms(self) -> list[float]:
        """How long each frame waited for its turn: behind others, and for the thread to wake up."""
        pairs = zip(self.latency_ms, self.service_ms, strict=True)
        return [late - own for a, b in pairs for late, own in zip(a, b, strict=True)]

    @property
    def falls_behind(self) -> bool:
        """Most frames wait behind others: their latency says for how long it was measured, and no
        longer how fast it is, so that a ratio of it has no meaning."""
        return median(self.wait_ms) > _QUEUE * median(v for block in self.service_ms for v in block)

    @property
    def joules_per_frame(self) -> float | None:
        """Of the whole machine, idle power included."""
        return None if self.joules is None else sum(self.joules) / len(self.frames)

    def summary(self, deadline_ms: float | None = None) -> Summary:
        """Percentiles of the latency."""
        return summarise(self.frames, deadline_ms)

    def stages(self) -> dict[str, Summary]:
        """Percentiles of each stage."""
        return {
            name: summarise([value for block in blocks for value in block])
            for name, blocks in self.stages_ms.items()
        }

    def to_json(self, deadline_ms: float | None) -> dict[str, Any]:
        """Plain values; the summary is for readers, and is not read back."""
        return {
            "summary": {**self.summary(deadline_ms).to_json(), "fps": self.fps},
            "latency_ms": self.latency_ms,
            "service_ms": self.service_ms,
            "at_s": self.at_s,
            "stages_ms": dict(self.stages_ms),
            "seconds": self.seconds,
            "joules": self.joules,
        }

    @classmethod
    def from_json(cls, value: Any) -> Mode:
        """From `to_json`.

        Raises:
            Damaged: it is none, or its parts do not fit each other.
        """
        value = record(value)
        latency = blocks_of(value["latency_ms"])
        shape = [len(block) for block in latency]
        if not shape:
            raise Damaged("a mode without frames")
        joules = value["joules"]
        found = cls(
            latency,
            blocks_of(value["service_ms"], shape),
            blocks_of(value["at_s"], shape),
            {
                text(name): blocks_of(blocks, shape)
                for name, blocks in record(value["stages_ms"]).items()
            },
            numbers(value["seconds"], len(shape)),
            None if joules is None else numbers(joules, len(shape)),
        )
        if min(map(min, latency)) < 0 or min(found.seconds) <= 0:
            raise Damaged("time that runs backwards")
        return found


@dataclass(frozen=True)
class Row:
    """One contender.

    Attributes:
        name: unique in the report; the same in every run of the same thing.
        about: plain values to tell by what it is: "bundle", "backend", "precision", "threads",
            "engine" and so on, as far as there are any.
        modes: mode -> its frames; empty if it was not timed.
        baseline: it stands for what one has without samedge.
        against: name of the row that it is to be compared with; "" for the report's first baseline.
        parity: of the self-test or of the comparison that allowed it to be timed.
        refused: why it was not timed, or "".
        load: "cold" and "warm" -> {"start_s", "load_s", "first_frame_ms", "resident_mb",
            "peak_mb"}, each from a process of its own; empty if it was not measured.
        extra: further figures, name -> plain value: "share of peak", "device_mb", "gflop".
        warmup: {"frames", "settled"}.
        notes: what a reader has to know.
    """

    name: str
    about: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, Mode] = field(default_factory=dict)
    baseline: bool = False
    against: str = ""
    parity: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    load: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    warmup: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def times_flat(self, mode: str) -> Bounded | None:
        """How many times as long a frame takes in `mode` as flat out, which is what a clock or
        a thread that goes to sleep between frames costs; None if one of the two is not there, or
        falls behind."""
        if mode == FLAT or not {mode, FLAT} <= set(self.modes):
            return None
        return _times(self.modes[mode], self.modes[FLAT])

    def to_json(self, deadline_ms: float | None) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.__dict__,
            "modes": {name: mode.to_json(deadline_ms) for name, mode in self.modes.items()},
        }

    @classmethod
    def from_json(cls, value: Any) -> Row:
        """From `to_json`.

        Raises:
            Damaged: it is none.
        """
        value = record(value)
        return cls(
            text(value["name"]),
            record(value["about"]),
            {name: Mode.from_json(mode) for name, mode in record(value["modes"]).items()},
            truth(value["baseline"]),
            text(value["against"]),
            record(value["parity"]),
            text(value["refused"]),
            {name: record(part) for name, part in record(value["load"]).items()},
            record(value["extra"]),
            record(value["warmup"]),
            texts(value["notes"]),
        )


@dataclass(frozen=True)
class Layer:
    """Time of one layer of an engine, from its own profile.

    Attributes:
        row: name of the row that it belongs to.
        part: "preprocess", "encoder", "decoder".
        name, kind, kernel: of the layer, as the engine tells them.
        ms: median.
    """

    row: str
    part: str
    name: str
    kind: str
    kernel: str
    ms: float

    @classmethod
    def from_json(cls, value: Any) -> Layer:
        """From its fields.

        Raises:
            Damaged: it is none.
        """
        value = record(value)
        words = {key: text(value[key]) for key in ("row", "part", "name", "kind", "kernel")}
        return cls(**words, ms=number(value["ms"]))


@dataclass(frozen=True)
class Report:
    """A run.

    Attributes:
        title: what was measured.
        rows: contenders, in the order to show them.
        machine: of `samedge.machine.fingerprint`.
        condition: of `samedge.machine.condition.Watch.condition`: what the machine did meanwhile,
            and "warnings", sentences on why the run is not clean.
        plan: "rounds", "frames" per block, "fps", "modes", "warmup", "pause_s".
        source: where the frames are from.
        command: that repeats it.
        made: date and time in UTC, ISO 8601.
        layers: of `--layers`.
        overhead_us: what measuring adds to a frame, measured with a contender that does nothing.
        interrupted: the user ended it before it was done.
        notes: what a reader has to know.
        part: the only part of a frame that was timed, "image encoder"; "" for whole frames.
    """

    title: str
    rows: tuple[Row, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    condition: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    command: str = ""
    made: str = ""
    layers: tuple[Layer, ...] = ()
    overhead_us: float | None = None
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    part: str = ""

    @property
    def deadline_ms(self) -> float | None:
        """Milliseconds between two frames at the plan's rate; None if no rate was asked for."""
        fps = self.plan.get("fps")
        return 1e3 / fps if fps else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the run is not clean: what was seen of the machine, and what the figures show."""
        seen = tuple(self.condition.get("warnings", ()))
        spread = self._spread
        if spread <= UNSTEADY:
            return seen
        return (
            *seen,
            f"the same work took {spread:.2f} times as long in one round as in another: something "
            "slows this machine that it does not tell, such as other virtual machines beside it; "
            "trust the ratios and their bounds more than the milliseconds",
        )

    @property
    def _spread(self) -> float:
        """How far blocks of one contender lie apart, flat out: p90 over p10, the median of all
        contenders that have enough blocks; 1 if none has."""
        blocks = [row.modes[FLAT].block_ms for row in self.rows if FLAT in row.modes]
        enough = [b for b in blocks if len(b) >= LEAST_ROUNDS and min(b) > 0]
        if not enough:
            return 1.0
        return median(float(np.percentile(b, 90) / np.percentile(b, 10)) for b in enough)

    @property
    def modes(self) -> tuple[str, ...]:
        """That any row was measured in, in the plan's order."""
        return tuple(dict.fromkeys(mode for row in self.rows for mode in row.modes))

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            KeyError: there is none.
        """
        return {row.name: row for row in self.rows}[name]

    def yardstick(self, row: Row) -> Row | None:
        """What a row is compared with: the one that it names, else the first baseline; None for
        that one itself, and where nothing was measured."""
        return next(iter(self.yardsticks(row)), None)

    def yardsticks(self, row: Row) -> tuple[Row, ...]:
        """The row that it names and the first baseline, as far as they are two others and timed."""
        timed = {other.name: other for other in self.rows if other.modes}
        first = next((other.name for other in timed.values() if other.baseline), "")
        names = dict.fromkeys(name for name in (row.against, first) if name != row.name)
        return tuple(timed[name] for name in names if name in timed) if row.modes else ()

    def ratio(self, row: Row, other: Row, mode: str = FLAT) -> tuple[Bounded, Verdict] | None:
        """How many times as fast `row` is as `other`; None if one has no frames in that mode, or
        falls behind."""
        if mode not in row.modes or mode not in other.modes:
            return None
        found = _times(other.modes[mode], row.modes[mode], in_turn=mode != STREAM)
        return None if found is None else (found, verdict(found))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            **self.__dict__,
            "rows": [row.to_json(self.deadline_ms) for row in self.rows],
            "layers": [layer.__dict__ for layer in self.layers],
        }

    @classmethod
    def from_json(cls, value: Any) -> Report:
        """From `to_json`.

        Raises:
            SourceError: it is no report, or of another schema.
        """
        if not isinstance(value, dict) or value.get("kind") != KIND:
            raise SourceError("no report of samedge bench; give a file that it wrote with -o")
        if value.get("schema") != SCHEMA:
            came = value.get("schema")
            raise SourceError(
                f"a report of schema {came if isinstance(came, int) else 'unknown'} came, expected "
                f"{SCHEMA}: measure again with this version of samedge"
            )
        try:
            return cls._checked(plain(value))
        except Damaged as error:
            raise SourceError(f"the report is damaged ({error}); measure again") from error
        except KeyError as error:
            raise SourceError(
                f"the report is damaged ({error} is missing); measure again"
            ) from error

    @classmethod
    def _checked(cls, value: Mapping[str, Any]) -> Report:
        overhead = value["overhead_us"]
        found = cls(
            text(value["title"]),
            tuple(Row.from_json(row) for row in listed(value["rows"])),
            record(value["machine"]),
            record(value["condition"]),
            record(value["plan"]),
            text(value["source"]),
            text(value["command"]),
            text(value["made"]),
            tuple(Layer.from_json(layer) for layer in listed(value["layers"])),
            None if overhead is None else number(overhead),
            truth(value["interrupted"]),
            texts(value["notes"]),
            text(value["part"]),
        )
        texts(found.condition.get("warnings", []))
        fps = found.plan.get("fps")
        if fps is not None and not number(fps) > 0:
            raise Damaged("a rate that is not above 0")
        if len({row.name for row in found.rows}) < len(found.rows):
            raise Damaged("two rows of one name")
        return found

    def to_text(self) -> str:
        """As JSON, with a line for each block of frames."""
        return compact_json(self.to_json())

    def save(self, path: Path) -> None:
        """Write it to a JSON file, whole or not at all.

        Raises:
            OutputError: that cannot be done.
        """
        write_bytes(path, json_bytes(self.to_text()))

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what `save` wrote.

        Raises:
            SourceError: no such file, or no report.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise SourceError(f"{path.name} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, numbers without end
            raise SourceError(f"{path.name} is no report of samedge bench: {error}") from error

    def with_notes(self, *notes: str) -> Report:
        """The same, with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def with_command(self, command: str) -> Report:
        """The same, with the command that repeats it."""
        return replace(self, command=command)


def _times(slow: Mode, fast: Mode, in_turn: bool = True) -> Bounded | None:
    """`slow / fast` of block by block; None for what took no time or falls behind: there is no
    ratio of that."""
    if slow.falls_behind or fast.falls_behind:
        return None
    slow_ms, fast_ms = slow.block_ms, fast.block_ms
    if min(*slow_ms, *fast_ms) <= 0:
        return None
    # Not as many blocks: they were not taken in turn.
    ratio = paired_ratio if in_turn and len(slow_ms) == len(fast_ms) else unpaired_ratio
    return ratio(slow_ms, fast_ms)
