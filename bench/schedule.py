"""When which contender gets which frame: blocks in turn, flat out or paced, on one clock.

* **In turn.** In every round each contender runs one block of frames in each mode; every second
  round goes backwards. Whatever else the machine does then meets all of them.
* **Flat out** asks for the next frame as soon as the last is done.
* **Paced** has frames arrive at fixed times, as from a camera, and counts from when a frame was
  *due*: a contender that stalls is late for every frame behind the stall, and each of them
  is charged for it. Nothing is left out (Gil Tene's "coordinated omission").
* **Kept warm** is paced with a client that spins while it waits, so that clocks and threads do not
  go to sleep between frames.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from samedge.errors import NotSupportedError
from samedge.progress import Progress, Step, silent

FLAT, PACED, KEPT_WARM = "flat out", "paced", "kept warm"
MODES = (FLAT, PACED, KEPT_WARM)
# From a source to a sink through `LiveStream`, one contender after the other: not of this schedule.
STREAM = "stream"
# A sleep ends late by the kernel's timer slack and the way back into a thread. The rest is spun, so
# that this is not charged to the contender; it is too short to wake a clock that has gone to sleep.
SLACK_S = 0.0003
_WINDOW = 5  # frames that make up one look at whether a contender has warmed up
_SETTLED = 0.05


class Clock(Protocol):
    """Seconds, and two ways to wait for a time."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def sleep_until(self, when: float) -> None:
        """Return at `when`, having let the processor rest."""
        ...

    def spin_until(self, when: float) -> None:
        """Return at `when`, having kept the processor busy."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """As `Clock.now`."""
        return time.perf_counter()

    def sleep_until(self, when: float) -> None:
        """As `Clock.sleep_until`."""
        rest = when - time.perf_counter() - SLACK_S
        if rest > 0:
            time.sleep(rest)
        self.spin_until(when)

    def spin_until(self, when: float) -> None:
        """As `Clock.spin_until`."""
        while time.perf_counter() < when:
            pass


class Contender(Protocol):
    """What is measured.

    Attributes:
        name: unique in a run.
        counted: name of the one stage whose time counts instead of the whole call, or "". For parts
            that cannot be called alone.
    """

    @property
    def name(self) -> str: ...

    @property
    def counted(self) -> str: ...

    def frame(self, index: int) -> Mapping[str, float]:
        """Work on frame number `index`; milliseconds per stage, in order, if it knows them."""
        ...


@dataclass(frozen=True)
class Call:
    """A contender that is a function of the frame's number, which may return stages in ms."""

    name: str
    call: Callable[[int], Mapping[str, float] | None]
    counted: str = ""

    def frame(self, index: int) -> Mapping[str, float]:
        """As `Contender.frame`."""
        return self.call(index) or {}


@dataclass(frozen=True)
class Block:
    """Frames of one contender behind each other.

    Attributes:
        arrived: seconds at which each frame was due; flat out that is when it was begun.
        began, ended: of the work on it.
        stages: milliseconds per stage of each frame; empty mappings where a contender has none.
        joules: that the machine took meanwhile; None where it does not tell.
    """

    arrived: tuple[float, ...]
    began: tuple[float, ...]
    ended: tuple[float, ...]
    stages: tuple[Mapping[str, float], ...]
    joules: float | None = None

    @property
    def latency_ms(self) -> list[float]:
        """From the time a frame was due to its answer."""
        return [(e - a) * 1e3 for a, e in zip(self.arrived, self.ended, strict=True)]

    @property
    def service_ms(self) -> list[float]:
        """From the beginning of the work to its answer."""
        return [(e - b) * 1e3 for b, e in zip(self.began, self.ended, strict=True)]

    @property
    def seconds(self) -> float:
        """From the first frame's arrival to the last answer."""
        return self.ended[-1] - self.arrived[0]


@dataclass(frozen=True)
class Plan:
    """What is measured of each contender.

    Attributes:
        rounds: blocks of each contender in each mode.
        frames: of one block.
        modes: of `MODES`, in the order in which they are taken.
        fps: frames per second of the paced modes.
        warmup: frames at most before anything counts; it ends sooner when latencies have settled.
        pause_s: rest before every block, until the threads of the one before have stopped to spin.
    """

    rounds: int = 10
    frames: int = 10
    modes: tuple[str, ...] = (FLAT,)
    fps: float = 30.0
    warmup: int = 50
    pause_s: float = 0.05

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.frames < 1 or not self.fps > 0 or self.pause_s < 0:
            raise NotSupportedError(
                f"{self.rounds} rounds of {self.frames} frames at {self.fps:g} per second came; "
                "expected at least one of each"
            )
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown or not self.modes:
            raise NotSupportedError(
                f"the mode '{', '.join(unknown)}' came; expected some of: {', '.join(MODES)}"
            )


@dataclass(frozen=True)
class WarmUp:
    """How a contender came to its speed.

    Attributes:
        frames: that it took.
        settled: whether the last latencies were alike; else the plan's limit ended it.
    """

    frames: int
    settled: bool


@dataclass
class Measured:
    """What a run has found, so far.

    Attributes:
        blocks: (name, mode) -> blocks, one per round.
        warmups: name -> how it warmed up.
        interrupted: the user ended it; whole rounds were kept.
    """

    blocks: dict[tuple[str, str], list[Block]] = field(default_factory=dict)
    warmups: dict[str, WarmUp] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def rounds(self) -> int:
        """That are complete."""
        return min((len(blocks) for blocks in self.blocks.values()), default=0)


def flat_out(contender: Contender, frames: int, clock: Clock, first: int = 0) -> Block:
    """`frames` frames behind each other, from number `first` on."""
    began, ended, stages = [], [], []
    for index in range(first, first + frames):
        start = clock.now()
        found = contender.frame(index)
        end = clock.now()
        began.append(start)
        ended.append(start + found[contender.counted] / 1e3 if contender.counted else end)
        stages.append(found)
    return Block(tuple(began), tuple(began), tuple(ended), tuple(stages))


def paced(
    contender: Contender,
    frames: int,
    fps: float,
    clock: Clock,
    first: int = 0,
    keep_warm: bool = False,
) -> Block:
    """`frames` frames that arrive `fps` times per second, none of them left out.

    The first arrives one period after the call, so that it meets what every other one meets.
    """
    wait = clock.spin_until if keep_warm else clock.sleep_until
    start = clock.now() + 1 / fps
    arrived, began, ended, stages = [], [], [], []
    for number in range(frames):
        due = start + number / fps
        wait(due)
        begin = clock.now()
        found = contender.frame(first + number)
        end = clock.now()
        arrived.append(due)
        began.append(begin)
        ended.append(begin + found[contender.counted] / 1e3 if contender.counted else end)
        stages.append(found)
    return Block(tuple(arrived), tuple(began), tuple(ended), tuple(stages))


def warm_up(contender: Contender, most: int, clock: Clock) -> WarmUp:
    """Frames that do not count, until two windows of five have medians within 5 %, or `most`."""
    medians: list[float] = []
    done = 0
    while done < most:
        count = min(_WINDOW, most - done)
        medians.append(statistics.median(flat_out(contender, count, clock, done).service_ms))
        done += count
        if len(medians) > 1 and abs(medians[-1] / medians[-2] - 1) <= _SETTLED:
            return WarmUp(done, True)
    return WarmUp(done, False)


def measure(
    contenders: Sequence[Contender],
    plan: Plan,
    clock: Clock | None = None,
    progress: Progress = silent,
    joules: Callable[[], float | None] = lambda: None,
    between: Callable[[], object] = lambda: None,
) -> Measured:
    """Warm every contender up, then run all of them in turn, round by round.

    Ctrl-C ends it: rounds that are complete are kept, and the caller writes its report of them.

    Args:
        contenders: with names of their own.
        plan: how much of each.
        clock: seconds; a test passes its own.
        progress: told the rounds that are done.
        joules: a counter that only grows; read around every block.
        between: called after every block, outside of what is timed: to look at the machine.

    Raises:
        NotSupportedError: there is no contender, or two have one name.
    """
    names = [contender.name for contender in contenders]
    if not names or len(set(names)) != len(names):
        raise NotSupportedError(f"contenders need names of their own; these came: {names}")
    clock = clock or SystemClock()
    found = Measured({(name, mode): [] for name in names for mode in plan.modes})
    try:
        for number, contender in enumerate(contenders):
            progress(Step("warming up", number, len(contenders), contender.name))
            found.warmups[contender.name] = warm_up(contender, plan.warmup, clock)
        for number in range(plan.rounds):
            progress(Step("measuring in turn, round", number, plan.rounds))
            blocks = list(_round(contenders, plan, number, clock, joules, between))
            for key, block in blocks:
                found.blocks[key].append(block)
        progress(Step("measuring in turn, round", plan.rounds, plan.rounds))
    except KeyboardInterrupt:
        found.interrupted = True
        _even(found)
    return found


def _round(
    contenders: Sequence[Contender],
    plan: Plan,
    number: int,
    clock: Clock,
    joules: Callable[[], float | None],
    between: Callable[[], object],
) -> Iterator[tuple[tuple[str, str], Block]]:
    turns = [(contender, mode) for contender in contenders for mode in plan.modes]
    for contender, mode in turns if number % 2 == 0 else reversed(turns):
        if plan.pause_s:
            clock.sleep_until(clock.now() + plan.pause_s)
        before = joules()
        first = number * plan.frames
        if mode == FLAT:
            block = flat_out(contender, plan.frames, clock, first)
        else:
            block = paced(contender, plan.frames, plan.fps, clock, first, mode == KEPT_WARM)
        after = joules()
        if before is not None and after is not None:
            block = Block(block.arrived, block.began, block.ended, block.stages, after - before)
        between()
        yield (contender.name, mode), block


def _even(found: Measured) -> None:
    """Drop blocks of a round that others do not have."""
    with suppress(ValueError):
        least = min(len(blocks) for blocks in found.blocks.values())
        for blocks in found.blocks.values():
            del blocks[least:]
