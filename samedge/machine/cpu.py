"""What the runtime has to know about the processor: its cores, and what sets their clock."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus() -> list[int]:
    """Logical processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores() -> int:
    """Cores this process may use: hyper-threads count once, a container's quota is respected."""
    cpus = usable_cpus()
    cores = set()
    for cpu in cpus:
        topology = _CPUS / f"cpu{cpu}" / "topology"
        try:
            package = (topology / "physical_package_id").read_text().strip()
            core = (topology / "core_id").read_text().strip()
        except OSError:  # not Linux, or a container that hides it: every processor is a core
            return _within_quota(len(cpus))
        cores.add((package, core))
    return _within_quota(len(cores))


def governor() -> dict[str, str] | None:
    """{"governor", "driver"} of the usable processors' clocks, joined by commas where they differ;
    None where the system does not tell (virtual machines, other systems than Linux)."""
    found: dict[str, list[str]] = {"governor": [], "driver": []}
    for cpu in usable_cpus():
        for key, values in found.items():
            try:
                value = (_CPUS / f"cpu{cpu}" / "cpufreq" / f"scaling_{key}").read_text().strip()
            except OSError:
                return None
            if value not in values:
                values.append(value)
    return {key: ", ".join(values) for key, values in found.items()}


def _within_quota(cores: int) -> int:
    """`cores`, or fewer where the container's CPU quota (cgroup v2) is smaller."""
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
        limit = cores if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup v2 here: no quota to respect
        limit = cores
    return max(1, min(cores, limit))
