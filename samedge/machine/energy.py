"""Counters of energy: processor packages and memory by RAPL, GPUs by NVML.

What has no counter is not estimated: a Jetson's rails tell the power of a moment, and a few moments
are no integral.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from samedge.machine.reading import folders, number, text

_RAPL = "sys/class/powercap"


@dataclass(frozen=True)
class Counter:
    """A counter that grows with the energy taken.

    Attributes:
        name: of what it counts.
        read: its value; None if it does not answer.
        unit: joules of one.
        span: value at which it begins at 0 again; 0 if it never does.
    """

    name: str
    read: Callable[[], int | None]
    unit: float
    span: int = 0


class Energy:
    """Joules of all counters together, since the first reading."""

    def __init__(self, counters: Iterable[Counter]) -> None:
        self._last: dict[Counter, int] = {}
        for counter in counters:
            value = counter.read()
            if value is not None:
                self._last[counter] = value
        self._joules = 0.0
        self._lost = False

    @property
    def names(self) -> list[str]:
        """What is counted."""
        return [] if self._lost else [counter.name for counter in self._last]

    def joules(self) -> float | None:
        """So far. None where nothing is counted, and for good once one of the counters is silent:
        a sum without it would be another sum."""
        for counter, before in self._last.items():
            value = None if self._lost else counter.read()
            if value is None:
                self._lost = True
                continue
            step = value - before
            if step < 0 and counter.span:
                step += counter.span
            self._joules += max(0, step) * counter.unit
            self._last[counter] = value
        return self._joules if self.names else None


def rapl(root: Path) -> list[Counter]:
    """Of the processors' packages and of their memory. Other domains are parts of a package
    (core, uncore) or of the whole machine (psys), and would count twice."""
    found = []
    for zone in folders(root / _RAPL, "intel-rapl:*"):
        name = (text(zone / "name") or "").strip()
        if name.startswith("package") or name == "dram":
            span = number(zone / "max_energy_range_uj") or 0
            found.append(Counter(_named(zone, name), _reader(zone / "energy_uj"), 1e-6, span))
    return found


def hint(root: Path, energy: Energy) -> list[str]:
    """How to make counters readable that are there and must not be read."""
    if energy.names or not folders(root / _RAPL, "intel-rapl:*/energy_uj"):
        return []
    return [
        "energy was not measured, because only root may read the processor's counters: "
        "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj, until the next start"
    ]


def rails(root: Path) -> dict[str, float]:
    """Watts of a Jetson's rails at this moment, by the names that their sensor gives them."""
    found: dict[str, float] = {}
    for chip in folders(root / "sys/class/hwmon", "hwmon*"):
        if (text(chip / "name") or "").strip() == "ina3221":
            found |= _rails_of(chip)
    return found


def most_watts(seen: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The highest value of every rail."""
    most: dict[str, float] = {}
    for sample in seen:
        most |= {name: max(watts, most.get(name, 0.0)) for name, watts in sample.items()}
    return most


def _rails_of(chip: Path) -> dict[str, float]:
    found = {}
    for path in folders(chip, "in*_label"):
        index = path.name[2:].partition("_")[0]
        millivolts = number(chip / f"in{index}_input")
        milliamps = number(chip / f"curr{index}_input")
        name = (text(path) or "").strip()
        if millivolts is not None and milliamps is not None and "sum" not in name.lower():
            found[name] = millivolts * milliamps * 1e-6
    return found


def _named(zone: Path, name: str) -> str:
    """Every package has memory of the same name: "dram of 0"."""
    return f"{name} of {zone.name.split(':')[1]}" if name == "dram" else name


def _reader(path: Path) -> Callable[[], int | None]:
    return lambda: number(path)
