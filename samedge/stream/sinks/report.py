"""`results.json`: what was segmented, with what, and how long it took. No patient data.

Schema 1. Everything is in frame pixels, (x, y), unless its name says mm; times are in ms or s. The
only words that come from the user's files are file names as given and technical warnings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from samedge._version import __version__
from samedge.sources.frame import Source
from samedge.stream.classes import number_of
from samedge.stream.options import SegmentOptions
from samedge.stream.segmenting import Segmented
from samedge.stream.summary import Structure, Tally

SCHEMA = 1
NOTICE = "Research use only. Not a medical device."


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a bundle's manifest (sorted keys, no spaces); it holds the hashes of all files."""
    text = json.dumps(dict(manifest), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def full_notice(notice: str) -> str:
    """A further warning, and the one that all results carry."""
    return f"{notice} {NOTICE}".strip()


def header(
    bundle_name: str | None,
    manifest: Mapping[str, Any],
    session: Mapping[str, Any],
    options: SegmentOptions,
    notice: str = "",
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """The part before the results.

    Args:
        bundle_name: without folders; None: a session was given, which does not know it.
        manifest: the bundle's.
        session: `Session.describe()`.
        options: how it was run.
        notice: a further warning about these results.
        classes: names of those that were asked for, if not all were.
    """
    crop = options.crop
    return {
        "schema": SCHEMA,
        "samedge": __version__,
        "notice": full_notice(notice),
        "bundle": {
            "name": bundle_name,
            "manifest_sha256": manifest_hash(manifest),
            "family": session.get("family"),
            "title": manifest.get("title"),
            "weights_sha256": list((manifest.get("source") or {}).get("sha256", [])),
        },
        "session": {
            k: session.get(k) for k in ("backend", "precision", "device", "why", "threads")
        },
        "options": {
            "multimask": options.multimask,
            "track": options.track,
            "crop": list(crop) if isinstance(crop, tuple) else crop,
            **({"classes": list(classes)} if classes else {}),
        },
    }


def frame_record(
    item: Segmented,
    files: Sequence[str],
    class_map: str = "",
    overlay: str = "",
    measure: bool = False,
) -> dict[str, Any]:
    """One frame's results.

    Args:
        item: the frame.
        files: the PNG of each mask, relative, or "" if it was not written.
        class_map: that of the class map, or "".
        overlay: that of the picture with its masks, or "" (there is none, or it is in a video).
        measure: tell the measures of every mask.
    """
    record = {
        "index": item.frame.index,
        "name": item.frame.name,
        "file": item.frame.source,
        "time_s": None if item.frame.time_s is None else round(item.frame.time_s, 4),
        "width": item.frame.width,
        "height": item.frame.height,
        "crop": None if item.crop is None else list(item.crop),
        "prompts": [item.prompt.to_json(i) for i in range(item.prompt.objects)],
        "lost": [item.prompt.number(i) for i, gone in enumerate(item.lost) if gone],
        "masks": [_mask_record(item, k, file, measure) for k, file in enumerate(files)],
        "latency_ms": {k: round(v, 3) for k, v in item.timing_ms.items()},
    }
    if item.class_map is not None:
        record["class_map"] = class_map or None
    if overlay:
        record["overlay"] = overlay
    return record


def _mask_record(item: Segmented, k: int, file: str, measure: bool) -> dict[str, Any]:
    area = item.area_mm2(k)
    record: dict[str, Any] = {"object": item.object_number(k)}
    if item.class_names:
        record |= {"class": item.class_name(k), "label": item.class_number(k)}
    record |= {
        "best": k in item.best,
        "score": round(float(item.scores[k]), 5),
        "area_px": item.area_px(k),
        "area_mm2": None if area is None else round(area, 3),
        "file": file or None,
    }
    if measure:
        found = item.measures(k)
        record["measures"] = None if found is None else found.to_json()
    return record


def source_record(
    source: Source,
    last: Segmented | None,
    tally: Tally,
    outputs: Mapping[str, str],
    is_volume: bool,
) -> dict[str, Any]:
    """One source's results; "results" stands where the rows of its frames belong, which are kept
    elsewhere.

    Args:
        source: where the frames are from.
        last: the last one.
        tally: all of them in numbers.
        outputs: kind of output -> file or folder, relative.
        is_volume: give voxels and ml of each object and class.
    """
    frame = None if last is None else last.frame
    spacing = None if frame is None else frame.spacing_mm
    region = None if frame is None else frame.region
    record = {
        **source.describe(),
        "frames": tally.frames,
        "spacing_mm": None if spacing is None else list(spacing),
        "region": None if region is None else list(region),
        "warnings": list(tally.warnings(source)),
        "outputs": dict(outputs),
        "latency_ms": tally.latency_ms(),
        "results": [],
    }
    if last is not None and last.class_names:
        record["classes"] = class_records(last)
    if is_volume:
        found = tally.structures(source.voxel_mm3)
        record |= {"voxel_mm3": source.voxel_mm3, "volumes": [volume_record(s) for s in found]}
        record["volumes"].sort(key=lambda volume: (volume["object"], volume.get("label", 0)))
    return record


def volume_record(found: Structure) -> dict[str, Any]:
    """Voxels, mm3 and ml of one object and class."""
    record: dict[str, Any] = {"object": found.object}
    if found.label is not None:
        record |= {"class": found.name, "label": found.label}
    return record | {
        "voxels": found.voxels,
        "mm3": None if found.mm3 is None else round(found.mm3, 3),
        "ml": None if found.ml is None else round(found.ml, 6),
    }


def class_records(item: Segmented) -> list[dict[str, Any]]:
    """Number and name of all classes."""
    exclusive = item.class_map is not None
    return [
        {"label": number_of(i, exclusive), "name": name} for i, name in enumerate(item.class_names)
    ]
