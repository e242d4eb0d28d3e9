"""Who else wanted the processor: a hypervisor, other processes, a container's quota, the disk."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from samedge.machine.reading import folders, text

HZ = 100  # of the counters in /proc/stat, on every architecture that Linux shows them to users
# Shares beyond which a run is not clean.
STOLEN, OTHERS, WAITED, SHORT_OF_MEMORY = 0.01, 0.05, 0.02, 0.01
FAULTS_PER_S = 1.0  # pages read from the disk
JUDGED_FROM_S = 1.0  # a tick is 10 ms: shares of a shorter time are noise
_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


@dataclass(frozen=True)
class Ticks:
    """The processors' counters at one moment, in 1 / `HZ` seconds.

    Attributes:
        busy: of all processors: everything but idle, waiting for disks and stolen time.
        stolen: that a hypervisor gave to others.
        total: of all states.
        each: processor -> busy ticks.
        runnable: threads that run or wait for a processor, of all processes.
    """

    busy: int
    stolen: int
    total: int
    each: Mapping[int, int]
    runnable: int | None


@dataclass(frozen=True)
class Usage:
    """What this process took so far, children that it waited for included.

    Attributes:
        seconds: of processors.
        faults: pages that had to be read from a disk.
        switches: times that it was made to leave a processor.
    """

    seconds: float
    faults: int
    switches: int


def own_usage() -> Usage:
    """Of this process, at this moment."""
    times = os.times()
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = times.user + times.system + times.children_user + times.children_system
    return Usage(seconds, used.ru_majflt, used.ru_nivcsw)


def ticks(root: Path) -> Ticks | None:
    """The counters of /proc/stat below `root`; None where there are none."""
    rows = [line.split() for line in (text(root / "proc/stat") or "").splitlines()]
    states: dict[str, dict[str, int]] = {}
    runnable = None
    for name, *values in (row for row in rows if row):
        if name.startswith("cpu"):
            states[name] = dict(zip(_STATES, map(int, values), strict=False))
        elif name == "procs_running":
            runnable = int(values[0])
    if "cpu" not in states:
        return None
    every = states.pop("cpu")
    each = {int(name[3:]): _busy(values) for name, values in states.items()}
    return Ticks(_busy(every), every.get("steal", 0), sum(every.values()), each, runnable)


def _busy(states: Mapping[str, int]) -> int:
    return sum(n for name, n in states.items() if name not in ("idle", "iowait", "steal"))


class Load:
    """Counters since the first look.

    Args:
        root: where /proc and /sys stand; a test has its own.
        clock: seconds.
        usage: of this process.
    """

    def __init__(self, root: Path, clock: Callable[[], float], usage: Callable[[], Usage]) -> None:
        self._root, self._clock, self._usage = root, clock, usage
        self._groups = _cpu_groups(root)
        self._runnable: list[int] = []
        self._first: tuple[float, Ticks | None, Usage] | None = None
        self._begun: dict[str, Any] = {}

    def look(self, now: Ticks | None) -> None:
        """Take a sample of the run queue; the first one is what the others are counted from."""
        if self._first is None:
            self._begun = self._slow_counters()
            self._first = self._clock(), now, self._usage()
        elif now is not None and now.runnable is not None:
            self._runnable.append(now.runnable)

    def found(self) -> dict[str, Any]:
        """Plain values, each left out where the system does not tell:

        Returns:
            {"seconds", "stolen", "others": shares of all processors' time, "runnable": {"median",
            "most"} threads, this process's own among them, "processors", "waited": share of the
            time that own threads wanted to run and had to wait, "switches_per_s", "major_faults",
            "pressure": {"cpu", "memory", "io"} -> share of the time in which something waited for
            it, "quota": {"times", "seconds"} that a container's quota stopped it}
        """
        if self._first is None:
            return {}
        start, before, used = self._first
        seconds, now, usage = self._clock() - start, ticks(self._root), self._usage()
        found: dict[str, Any] = {"seconds": seconds}
        if before is not None and now is not None and now.total > before.total:
            total = now.total - before.total
            own = (usage.seconds - used.seconds) * HZ
            found["stolen"] = (now.stolen - before.stolen) / total
            found["others"] = max(0.0, now.busy - before.busy - own) / total
            found["processors"] = len(now.each)
        if self._runnable:
            found["runnable"] = {"median": median(self._runnable), "most": max(self._runnable)}
        if seconds > 0:
            found["switches_per_s"] = (usage.switches - used.switches) / seconds
        found["major_faults"] = usage.faults - used.faults
        return found | self._slowly(seconds, usage.seconds - used.seconds)

    def _slowly(self, seconds: float, own_s: float) -> dict[str, Any]:
        """Differences of `_slow_counters`."""
        now, begun = self._slow_counters(), self._begun
        found: dict[str, Any] = {}
        if now["waited"]:
            waited = sum(ns - begun["waited"].get(t, 0) for t, ns in now["waited"].items()) * 1e-9
            found["waited"] = waited / (waited + own_s) if waited + own_s > 0 else 0.0
        if now["pressure"] and seconds > 0:
            found["pressure"] = {
                name: (us - begun["pressure"].get(name, us)) * 1e-6 / seconds
                for name, us in now["pressure"].items()
            }
        if now["quota"]:
            times, stopped = (
                sum(n[i] - begun["quota"].get(path, n)[i] for path, n in now["quota"].items())
                for i in range(2)
            )
            found["quota"] = {"times": times, "seconds": stopped}
        return found

    def _slow_counters(self) -> dict[str, Any]:
        """Counters of many files, which are read at the beginning and at the end alone."""
        proc = self._root / "proc"
        waited = {}
        for path in folders(proc / "self/task", "*/schedstat"):
            words = (text(path) or "").split()
            if len(words) > 1:
                waited[path.parent.name] = int(words[1])
        pressure = {}
        for name in ("cpu", "memory", "io"):
            found = _fields((text(proc / "pressure" / name) or "").partition("\n")[0], "=")
            if "total" in found:
                pressure[name] = found["total"]
        quota = {path: n for path in self._groups if (n := _stopped(path)) is not None}
        return {"waited": waited, "pressure": pressure, "quota": quota}


def warnings(found: Mapping[str, Any]) -> list[str]:
    """Why a run with these figures of `Load.found` is not clean, and what to do."""
    lines = []
    if found.get("seconds", 0.0) >= JUDGED_FROM_S:
        lines += _of_shares(found)
    if found.get("quota", {}).get("times"):
        quota = found["quota"]
        lines.append(
            f"a container's quota stopped the processor {quota['times']} times, "
            f"{quota['seconds']:.1f} s together: measure without a quota, or with fewer threads"
        )
    return lines


def _of_shares(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if found.get("stolen", 0.0) > STOLEN:
        lines.append(
            f"the hypervisor gave {found['stolen']:.1%} of the processors' time to other machines: "
            "measure on real hardware, or on a host that nobody else uses"
        )
    if found.get("others", 0.0) > OTHERS:
        lines.append(
            f"other processes took {found['others']:.1%} of the processors' time: "
            "end them, and measure again"
        )
    runnable, processors = found.get("runnable"), found.get("processors", 0)
    if runnable and runnable["median"] > processors:
        lines.append(
            f"{runnable['median']:.0f} threads wanted to run on {processors} processors: "
            "end other programs, or use fewer threads"
        )
    elif found.get("waited", 0.0) > WAITED:
        lines.append(
            f"threads of this process waited for a processor in {found['waited']:.1%} of their "
            "time: end other programs, or use fewer threads"
        )
    faults = found.get("major_faults", 0)
    if faults / found["seconds"] > FAULTS_PER_S:
        lines.append(
            f"{faults} pages of memory had to be read from the disk: free memory, and measure again"
        )
    pressure = found.get("pressure", {})
    if pressure.get("memory", 0.0) > SHORT_OF_MEMORY:
        lines.append(
            f"something waited for memory in {pressure['memory']:.1%} of the time: "
            "free memory, and measure again"
        )
    return lines


def _cpu_groups(root: Path) -> list[Path]:
    """Files with what the control groups around this process stopped. Inside a container the path
    may be the host's name, which is not there; the container's own group then is the root."""
    found = []
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        groups = root / "sys/fs/cgroup"
        if "cpu" in controllers.split(","):
            groups = groups / "cpu"
        elif controllers:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        files = (groups.joinpath(*parts[:n], "cpu.stat") for n in range(len(parts) + 1))
        found += [file for file in files if file.exists()]
    return found


def _stopped(path: Path) -> tuple[int, float] | None:
    """(times, seconds) of one group; None where it does not count them."""
    found = _fields(text(path) or "")
    if "nr_throttled" not in found:
        return None
    seconds = found.get("throttled_usec", 0) * 1e-6 + found.get("throttled_time", 0) * 1e-9
    return found["nr_throttled"], seconds


def _fields(words: str, between: str = " ") -> dict[str, int]:
    """Names and whole numbers: "some total=12" or lines of "nr_throttled 3"."""
    parts = words.split() if between == "=" else words.splitlines()
    pairs = (part.partition(between) for part in parts)
    return {name: int(value) for name, _, value in pairs if value.strip().isdigit()}
