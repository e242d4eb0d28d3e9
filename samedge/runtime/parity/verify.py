"""Does this device compute what the float32 reference computed? Run before serving.

The reference are the bundle's self-test frames: raw frame, prompts, and the results of the eager
model. Every row reports its margin, not only pass or fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle, ParityRow, SelfTest
from samedge.errors import BundleError, NonFiniteError
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.mask_values import decision_distance, dice, mask_values
from samedge.machine.memory import release_memory
from samedge.runtime.loading import load
from samedge.runtime.precision import runnable
from samedge.runtime.ready_engines import backend_for, engine_folders
from samedge.runtime.result import Result, Timing
from samedge.runtime.session import Session
from samedge.tolerances import LIMITS, Limit

# Stands for an error that is NaN or infinite: a manifest is JSON and can hold neither.
BROKEN = 1e30


def verify(
    bundle: str | os.PathLike[str] | Bundle,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    device: int = 0,
    cache: bool = True,
    engines: str | os.PathLike[str] | None = None,
) -> list[ParityRow]:
    """Run a bundle's self-test on this device.

    Args:
        bundle: folder, zip, or open Bundle.
        backend: "auto" or a backend's name.
        precision: one precision, or "auto" for all that this device computes natively and the
            bundle has graphs for.
        threads, device, cache, engines: as for `samedge.load`; of engines "auto" tries all
            precisions that they serve.

    Returns:
        One row per precision.

    Raises:
        SourceError: `engines` is no folder, or holds no engine.
        BundleError: damaged, changed, or without self-test frames.
        NotSupportedError: backend or precision are not available here.
    """
    opened = Bundle.open(Path(bundle)) if isinstance(bundle, (str, os.PathLike)) else bundle
    folders = engine_folders(engines)
    taken, _ = backend_for(opened, backend, folders, device)
    chosen: tuple[str, ...] = (precision,)
    if precision == "auto":
        chosen = taken.ready(opened, folders, device) if folders else runnable(opened, taken)
    rows = []
    for name in chosen:
        with load(opened, taken.name, name, threads, device, cache, engines=engines) as session:
            rows.append(verify_session(session, opened.selftest()))
        release_memory()  # the next engine needs it
    return rows


def verify_session(session: Session, tests: Iterable[SelfTest]) -> ParityRow:
    """Run self-test frames through a session and compare with what they should give.

    Raises:
        BundleError: there are no frames.
    """
    pairs = list(run_selftests(session, tests))
    about, manifest = session.describe(), session.bundle.manifest

    def distance(test: SelfTest) -> NDArray[np.float32]:
        height, width = test.masks.shape[1:]
        sizes = manifest.variant.input_size, manifest.variant.low_res
        geometry = frame_geometry(session.family, height, width, None, *sizes)
        values = mask_values(test.low_res_logits, geometry, session.family)
        return decision_distance(values, session.family)

    judged = about["precision"]
    if judged == "fp32" and not all("fp32" in g for g in manifest.graphs.values()):
        judged = "fp16"  # computed in float32, from weights that are rounded to half
    return compare(pairs, about["backend"], about["precision"], distance, judged)


def run_selftests(session: Session, tests: Iterable[SelfTest]) -> Iterator[tuple[Result, SelfTest]]:
    """Each self-test's result, in turn. A frame that is the one before is not encoded again: that
    is nearly all of the time. An answer that a session refuses for NaN comes as nothing but NaN."""
    encoded: NDArray[np.uint8] | None = None
    for test in tests:
        again = encoded is not None and np.array_equal(encoded, test.frame)
        encoded = None
        try:
            if test.stack:
                result = _run_stack(session, test)
            else:
                if not again:
                    session.set_frame(test.frame)
                encoded = test.frame
                result = session.predict(**_prompts(test, slice(None)))
        except NonFiniteError:
            encoded, result = None, _nothing_but_nan(test)
        yield result, test


def _nothing_but_nan(test: SelfTest) -> Result:
    """What passes no comparison, in the shapes of the self-test."""
    return Result(
        masks=np.zeros_like(test.masks),
        scores=np.full_like(test.scores, np.nan),
        low_res_logits=np.full_like(test.low_res_logits, np.nan),
        object_index=np.zeros(len(test.masks), np.int64),
        timing_ms=Timing(),
    )


def _run_stack(session: Session, test: SelfTest) -> Result:
    """A self-test's prompts, asked of the slices of a stack one after the other."""
    prompts = [_prompts(test, slice(i, i + 1)) for i in range(len(test.points))]
    results = session.segment_slices(test.frame, prompts)
    return Result(
        masks=np.concatenate([r.masks for r in results]),
        scores=np.concatenate([r.scores for r in results]),
        low_res_logits=np.concatenate([r.low_res_logits for r in results]),
        object_index=np.concatenate([r.object_index + i for i, r in enumerate(results)]),
        timing_ms=results[0].timing_ms,
    )


def _prompts(test: SelfTest, objects: slice) -> dict[str, Any]:
    """Arguments of `Session.segment` for some objects of a self-test."""
    given: dict[str, Any] = {"multimask": test.multimask}
    if test.points.shape[1]:
        given |= {"points": test.points[objects], "labels": test.labels[objects]}
    if test.box is not None:
        given["box"] = test.box[objects]
    return given


def compare(
    pairs: list[tuple[Result, SelfTest]],
    backend: str,
    precision: str,
    distance: Callable[[SelfTest], NDArray[np.float32]] | None = None,
    judged_as: str | None = None,
) -> ParityRow:
    """Compare results with their references under the limits of `precision`, or of `judged_as`.

    Args:
        pairs: results, and the self-tests with what they should be.
        backend, precision: for the row.
        distance: how far each mask pixel of a self-test is from another decision, in logits; if it
            is given, pixels that flip far from one are counted.
        judged_as: the precision whose limits count, if it is another one.

    Raises:
        BundleError: there is nothing to compare, or shapes do not fit.
    """
    if not pairs:
        raise BundleError(
            "the bundle has no self-test frames, so nothing can be verified; export it again"
        )
    rms = min(_rms(test.low_res_logits.astype(np.float64)) for _, test in pairs)
    limits = LIMITS[judged_as or precision]
    limit = limits.scaled(rms)
    worst = [_compare_one(result, test) for result, test in pairs]
    far = sum(_flipped_far(*pair, distance, limit) for pair in pairs) if distance else 0
    error = max(row["max_logit_error"] for row in worst)
    flipped = max(row["flipped"] for row in worst)
    score_error = max(row["score_error"] for row in worst)
    margins = [
        limit.logits / max(error, 1e-30),
        limits.logits / max(score_error, 1e-30),
        limit.flipped / max(flipped, 1e-30),
        min(_dice_margin(result.masks, test.masks, limit) for result, test in pairs),
    ]
    return ParityRow(
        backend=backend,
        precision=precision,
        frames=len(pairs),
        max_logit_error=error,
        limit=limit.logits,
        rms_ratio=max(row["rms_ratio"] for row in worst),
        dice=min(row["dice"] for row in worst),
        dice_limit=limit.dice,
        flipped=flipped,
        flipped_limit=limit.flipped,
        flipped_far=far,
        score_error=score_error,
        margin=min(margins),
        passed=min(margins) >= 1 and far == 0,
    )


def _flipped_far(
    result: Result,
    test: SelfTest,
    distance: Callable[[SelfTest], NDArray[np.float32]],
    limit: Limit,
) -> int:
    """Mask pixels that differ although the reference is not near another decision."""
    flipped = result.masks != test.masks
    if not np.isfinite(limit.near_zero) or not flipped.any():
        return 0
    return int(np.count_nonzero(flipped & (distance(test) > limit.near_zero)))


def _compare_one(result: Result, test: SelfTest) -> dict[str, float]:
    pairs = (
        (result.low_res_logits, test.low_res_logits),
        (result.masks, test.masks),
        (result.scores, test.scores),
    )
    for got, expected in pairs:
        if got.shape != expected.shape:
            raise BundleError(
                f"self-test '{test.name}' expects an array of shape {list(expected.shape)}, the "
                f"engine gave {list(got.shape)}; export the bundle again"
            )
    reference = test.low_res_logits.astype(np.float64)
    difference = result.low_res_logits - reference
    return {
        "max_logit_error": _largest(difference),
        "rms_ratio": _rms(difference) / max(_rms(reference), 1e-30),
        "dice": min(map(dice, result.masks, test.masks)),
        "flipped": float(np.mean(result.masks != test.masks)),
        "score_error": _largest(result.scores.astype(np.float64) - test.scores),
    }


def _largest(difference: NDArray[np.float64]) -> float:
    """Largest absolute value. NaN counts as `BROKEN`, so that it never passes."""
    value = float(np.abs(difference).max())
    return value if np.isfinite(value) else BROKEN


def _rms(values: NDArray[np.float64]) -> float:
    value = float(np.sqrt(np.mean(values**2)))
    return value if np.isfinite(value) else BROKEN


def _dice_margin(masks: NDArray[np.uint8], references: NDArray[np.uint8], limit: Limit) -> float:
    """Smallest of allowed / real loss of Dice. An empty reference has no Dice to lose: what is
    marked there is in the share of flipped pixels."""
    margins = [float("inf")]
    if limit.dice:
        for mask, reference in zip(masks, references, strict=True):
            share = float(np.mean(reference != 0))
            if share:
                allowed = 1.0 - limit.least_dice(share)
                margins.append(allowed / max(1.0 - dice(mask, reference), 1e-30))
    return min(margins)
