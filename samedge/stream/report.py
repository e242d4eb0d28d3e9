"""`results.json`: what was segmented, with what, and how long it took. No patient data.

Schema 1. Everything is in frame pixels, (x, y), unless its name says mm; times are in ms or s. The
only words that come from the user's files are file names as given and technical warnings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samedge import __version__
from samedge.stream.frame import Source
from samedge.stream.segmenting import Options, Segmented
from samedge.stream.writing import write_bytes

SCHEMA = 1
NOTICE = "Research use only. Not a medical device."


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a bundle's manifest (sorted keys, no spaces); it holds the hashes of all files."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def header(
    bundle_name: str,
    manifest: Mapping[str, Any],
    session: Mapping[str, Any],
    options: Options,
    notice: str = "",
) -> dict[str, Any]:
    """The part before the results.

    Args:
        bundle_name: without folders.
        manifest: the bundle's.
        session: `Session.describe()`.
        options: how it was run.
        notice: a further warning about these results.
    """
    crop = options.crop
    return {
        "schema": SCHEMA,
        "samedge": __version__,
        "notice": f"{notice} {NOTICE}".strip(),
        "bundle": {
            "name": bundle_name,
            "manifest_sha256": manifest_hash(manifest),
            "family": session.get("family"),
            "title": manifest.get("title"),
            "weights_sha256": list((manifest.get("source") or {}).get("sha256", [])),
        },
        "session": {k: session.get(k) for k in ("backend", "precision", "device", "threads")},
        "options": {
            "multimask": options.multimask,
            "track": options.track,
            "crop": list(crop) if isinstance(crop, tuple) else crop,
        },
    }


def frame_record(item: Segmented, files: Sequence[str]) -> dict[str, Any]:
    """One frame's results; `files[k]` is the mask PNG of mask k, relative, or "" if not written."""
    masks = []
    for k, owner in enumerate(int(i) for i in item.object_index):
        area = item.area_mm2(k)
        masks.append(
            {
                "object": owner + 1,
                "best": k in item.best,
                "score": round(float(item.scores[k]), 5),
                "area_px": item.area_px(k),
                "area_mm2": None if area is None else round(area, 3),
                "file": files[k] or None,
            }
        )
    return {
        "index": item.frame.index,
        "name": item.frame.name,
        "file": item.frame.source,
        "time_s": None if item.frame.time_s is None else round(item.frame.time_s, 4),
        "width": item.frame.width,
        "height": item.frame.height,
        "crop": None if item.crop is None else list(item.crop),
        "prompts": [item.prompt.to_json(i) for i in range(item.prompt.objects)],
        "lost": [i + 1 for i, gone in enumerate(item.lost) if gone],
        "masks": masks,
        "latency_ms": {k: round(v, 3) for k, v in item.timing_ms.items()},
    }


def source_record(
    source: Source,
    spacing_mm: tuple[float, float] | None,
    region: Sequence[int] | None,
    outputs: Mapping[str, str],
    frames: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """One source's results."""
    return {
        **source.describe(),
        "frames": len(frames),
        "spacing_mm": None if spacing_mm is None else list(spacing_mm),
        "region": None if region is None else list(region),
        "warnings": list(source.warnings),
        "outputs": dict(outputs),
        "latency_ms": latency(frames),
        "results": list(frames),
    }


def latency(frames: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile per stage, in ms. The first frame counts like the others."""
    if not frames:
        return {}
    stages = frames[0]["latency_ms"]
    return {
        stage: {
            f"p{p}": round(float(np.percentile([f["latency_ms"][stage] for f in frames], p)), 3)
            for p in (50, 95)
        }
        for stage in stages
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write the report as JSON, atomically.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())
