"""What `samedge doctor` recommends: to install, to rebuild, to set. Plain words, one line each."""

from __future__ import annotations

from typing import Any


def advice(found: dict[str, Any]) -> list[str]:
    """What to do about a machine as `samedge.cli.doctor.facts` describes it."""
    from samedge.machine import jetson, nvidia

    return [
        *nvidia.problems(found["nvidia"]),
        *jetson.advice(found["jetson"], found["nvidia"]),
        *_clock(found["cpu"]["governor"]),
        *_engines(found["engine_cache"]),
    ]


def _clock(governor: dict[str, str] | None) -> list[str]:
    if governor is None:
        return []
    # intel_pstate and amd-pstate-epp raise the clock under load in "powersave" as well.
    own = any(name in governor["driver"] for name in ("intel_pstate", "pstate-epp"))
    slow = [name for name in ("powersave", "conservative") if name in governor["governor"]]
    if not slow or (own and slow == ["powersave"]):
        return []
    return [
        f"the processor's frequency governor is '{governor['governor']}', which keeps its clock "
        "low: sudo cpupower frequency-set -g performance"
    ]


def _engines(cache: dict[str, Any]) -> list[str]:
    stale = cache["stale"]
    if not stale:
        return []
    size = sum(item["mb"] for item in stale)
    reasons = sorted({item["why"] for item in stale})
    return [
        f"{len(stale)} of {cache['engines']} cached engines are of no use any more, {size:.0f} MB "
        f"({'; '.join(reasons)}): remove them from the engine cache (the folder samedge/engines in "
        "your cache folder, or $SAMEDGE_CACHE); what is needed is built anew"
    ]
