"""A pretended /proc and /sys, and a clock and counters that a test sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samedge.machine.condition import Watch
from samedge.machine.load import Usage
from samedge.machine.nvml import Gpu


@dataclass
class Machine:
    """Two processors, which rest until a test lets time pass."""

    root: Path
    now: float = 100.0
    own_s: float = 0.0
    faults: int = 0
    switches: int = 0
    runnable: int = 1
    busy: list[int] = field(default_factory=lambda: [0, 0])
    idle: list[int] = field(default_factory=lambda: [0, 0])
    stolen: list[int] = field(default_factory=lambda: [0, 0])

    def write(self, path: str, value: object) -> None:
        """A file below the root."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{value}\n")

    def spend(
        self,
        seconds: float,
        own: tuple[float, float] = (0.0, 0.0),
        others: tuple[float, float] = (0.0, 0.0),
        stolen: float = 0.0,
    ) -> None:
        """Let time pass. Shares of each processor that this process and others took, and that a
        hypervisor took of both."""
        self.now += seconds
        self.own_s += sum(own) * seconds
        for cpu in range(2):
            busy = own[cpu] + others[cpu]
            self.busy[cpu] += round(busy * seconds * 100)
            self.stolen[cpu] += round(stolen * seconds * 100)
            self.idle[cpu] += round((1 - busy - stolen) * seconds * 100)
        self.write_stat()

    def write_stat(self) -> None:
        """/proc/stat: half of the busy time is user time, half is the system's."""
        rows = []
        for cpu in range(2):
            user = self.busy[cpu] // 2
            system = self.busy[cpu] - user
            values = (user, 0, system, self.idle[cpu], 0, 0, 0, self.stolen[cpu], 0, 0)
            rows.append((f"cpu{cpu}", *values))
        sums = [sum(row[i] for row in rows) for i in range(1, 11)]
        lines = [" ".join(map(str, row)) for row in [("cpu ", *sums), *rows]]
        self.write("proc/stat", "\n".join([*lines, "intr 5", f"procs_running {self.runnable}"]))

    def watch(self, *gpus: Any) -> Watch:
        """Of this machine, after its first look."""
        self.write_stat()
        made = Watch(
            self.root,
            lambda: self.now,
            lambda: Usage(self.own_s, self.faults, self.switches),
            cpus=[0, 1],
            gpus=[Gpu(gpu, 0) for gpu in gpus],
        )
        made.look()
        return made
