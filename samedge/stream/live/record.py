"""What is left of a stream when it has ended: a record for people and for programs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from samedge._version import __version__
from samedge.bundle import Bundle
from samedge.stream.live.account import Alarms, Counts

SCHEMA = 1


@dataclass(frozen=True)
class StreamRecord:
    """What happened in a stream. Nothing of a patient is in it: no pixels, no file's tags.

    Attributes:
        ended: why it ended.
        error: what ended it, or None.
        seconds: that it ran.
        started: UTC, ISO 8601.
        source, bundle, session, settings: what ran on what.
        counts: frames by what became of them.
        alarms: the first thousand, and how many of each kind.
        stages_ms: latencies of the stages: "wait" in the mailbox, "encode", "decode", "own" (from
            the mailbox to the sinks without the network).
        sinks: per sink what it took, dropped and wrote, and its latency from capture to written.
        restarts: how often the source was opened again.
        rate: frames per second that were segmented, over the whole run.
    """

    ended: str
    error: str | None
    seconds: float
    started: str
    source: Mapping[str, Any]
    bundle: Mapping[str, Any]
    session: Mapping[str, Any]
    settings: Mapping[str, Any]
    counts: Mapping[str, int]
    alarms: Mapping[str, Any]
    stages_ms: Mapping[str, Any]
    sinks: Sequence[Mapping[str, Any]]
    restarts: int
    rate: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with versions."""
        return {"schema": SCHEMA, "samedge": __version__, **asdict(self)}


def counts_json(counts: Counts) -> dict[str, int]:
    """Counts as JSON values, with the sum of those whose fate is known."""
    return {**asdict(counts), "accounted": counts.accounted}


def alarms_json(alarms: Alarms, started_s: float) -> dict[str, Any]:
    """Alarms with seconds since the start."""
    return {
        "counts": {kind.value: number for kind, number in sorted(alarms.counts.items())},
        "first": [
            {"kind": a.kind.value, "message": a.message, "at_s": round(a.at_s - started_s, 3)}
            for a in list(alarms.kept)
        ],
    }


def bundle_of(model: object) -> dict[str, str]:
    """Name of a bundle and SHA-256 of its manifest, which has the hashes of all its files; nothing
    for a session, whose bundle may be anywhere."""
    if not isinstance(model, Bundle):
        return {}
    text = json.dumps(model.manifest.as_mapping(), sort_keys=True, default=dict)
    return {"name": model.path.name, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}
