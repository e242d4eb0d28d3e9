"""What is common to peers: a row, a check of the first mask, frames that are sent through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders.entry import Entry
from samedge.bench.contenders.sessions import threads_text
from samedge.bench.peers.subject import Subject
from samedge.bench.report.values import Row
from samedge.bench.schedule import Call
from samedge.geometry.mask_values import dice

LEAST_DICE = 0.99  # of the same network, also float32, with samedge's mask
# uint8 frame [H, W] or [H, W, 3] -> mask [H, W], and milliseconds per stage.
Masks = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], Mapping[str, float]]]


def peer_row(subject: Subject, engine: str, packages: tuple[str, ...], *notes: str) -> Row:
    """An untimed row of a peer, in float32."""
    versions = {name: version for name in packages if (version := _version(name))}
    name = f"{engine} fp32 {threads_text(subject.threads)}"
    about = {"engine": engine, "precision": "fp32", "threads": subject.threads, **versions}
    return Row(name, about, baseline=True, notes=notes)


def checked(subject: Subject, row: Row, masks: Masks) -> Entry:
    """A peer that runs the same network: timed if its first mask is samedge's."""
    found, _ = masks(subject.clip.frame(0))
    overlap = dice(found, subject.own_mask)
    parity = {
        "passed": overlap >= LEAST_DICE,
        "dice": overlap,
        "dice_limit": LEAST_DICE,
        "against": "samedge, OpenVINO fp32",
    }
    row = replace(row, parity=parity)
    if not parity["passed"]:
        return refused(row, f"its mask is another one (Dice {overlap:.4f}, limit {LEAST_DICE})")
    return timed(subject, row, masks)


def timed(subject: Subject, row: Row, masks: Masks) -> Entry:
    """A peer that is timed as it is."""

    def frame(index: int) -> Mapping[str, float]:
        return masks(subject.clip.frame(index))[1]

    return Entry(row, Call(row.name, frame))


def refused(row: Row, reason: str) -> Entry:
    """A peer that is not timed, and why."""
    return Entry(replace(row, refused=reason))


def absent(row: Row, error: BaseException, remedy: str) -> Entry:
    """A peer that cannot be imported."""
    missing = getattr(error, "name", None)
    reason = f"{missing} is not installed" if missing else f"{type(error).__name__} at import"
    return refused(row, f"{reason}; {remedy}")


def coloured(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a frame [H, W] or [H, W, 3]: what peers want."""
    return frame if frame.ndim == 3 else np.repeat(frame[:, :, None], 3, axis=2)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def only_for(subject: Subject, family: str, row: Row) -> Entry | None:
    """A refusal, if the peer runs another family's network alone."""
    if subject.family == family:
        return None
    return refused(row, f"it runs networks of {family} alone; see --family {family}")


def positive(logits: Any) -> NDArray[np.uint8]:
    """A mask of logits."""
    mask: NDArray[np.uint8] = np.asarray(logits > 0, dtype=np.uint8)
    return mask
