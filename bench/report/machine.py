"""The machine of a report in one line, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from samedge.bench.report.figures import said
from samedge.machine.fingerprint import title

# Parts of a fingerprint that are never twice the same, and say nothing about speed.
_PASSING = ("available", "free", "temperature", "uptime")
_FEATURES = ("avx2", "avx512", "avx512_vnni", "amx_bf16", "amx_int8", "asimddp", "i8mm", "sve")


def machine_line(machine: Mapping[str, Any]) -> str:
    """The machine with what decides its speed; "" of one that is not known."""
    cpu = machine.get("cpu")
    cpu = cpu if isinstance(cpu, Mapping) else {}
    features = cpu.get("features")
    words = [title(machine)]
    words += [name for name in _FEATURES if isinstance(features, list) and name in features]
    words += [f"governor {governor}"] if (governor := said(cpu.get("governor"))) else []
    words += [f"samedge {version}"] if (version := said(machine.get("samedge"))) else []
    return f"Machine: {', '.join(word for word in words if word)}." if any(words) else ""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What two fingerprints do not agree about: "cpu model: A, then B"."""
    old, new = dict(leaves(before)), dict(leaves(after))
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name) and not any(word in name for word in _PASSING):
            was, now = (said(side.get(name)) or "unknown" for side in (old, new))
            yield f"{name}: {was}, then {now}"


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Single values of a record within records, with all the names that lead there."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{name} {key}".strip().replace("_", " "))
    elif isinstance(value, list | tuple):
        if all(isinstance(inner, str) for inner in value):
            yield name, " ".join(sorted(value))
        else:
            for number, inner in enumerate(value):
                yield from leaves(inner, f"{name} {number}")
    elif value is not None:
        yield name, value
