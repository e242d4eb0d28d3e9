"""Arrays of a case against its reference, each with its limit and its margin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.tolerances import LIMITS, TABLE, Limit
from tests.golden.cases import Case

EXACT = frozenset(
    (
        "original_size",
        "input_size",
        "resized",
        "resized_sample",
        "network_input_u8",
        "label",
        "bbox",
        "box_256",
        "trace_names",
        "point_coords",
        "point_labels",
    )
)
MASKS = frozenset(("masks", "seg", "mask", "class_map"))
NUMBERED = re.compile(r"_\d+$")  # one array per prompt


@dataclass(frozen=True)
class Row:
    """One array's comparison.

    Attributes:
        case, array: names.
        error: largest absolute difference, or the share of differing pixels of masks.
        limit: what it may be.
        passed: within the limit, and of the same shape.
        remark: why not, or what else there is to say.
    """

    case: str
    array: str
    error: float
    limit: float
    passed: bool
    remark: str = ""

    @property
    def margin(self) -> float:
        """limit / error; above 1 is a pass."""
        return self.limit / self.error if self.error > 0 else float("inf")


def compare_case(case: Case, got: dict[str, NDArray[Any]], precision: str) -> list[Row]:
    """One row per array that was computed and has a reference; copied prompts have none."""
    limit, plain = _limit(case, precision), LIMITS[precision]
    rows = []
    if case.resized_sha256 and "_resized_sha256" in got:
        same = str(got["_resized_sha256"]) == case.resized_sha256
        rows.append(_exact(case.id, "resized_sha256", same))
    for name, value in got.items():
        copied = name in case.given and case.kind != "dataset"
        if name.startswith("_") or name not in case.reference or copied:
            continue
        reference = case.reference[name]
        if value.shape != reference.shape:
            remark = f"shape {list(value.shape)} instead of {list(reference.shape)}"
            rows.append(Row(case.id, name, float("inf"), 0.0, False, remark))
        elif NUMBERED.sub("", name) in MASKS:
            distance = got.get(f"_{name}_distance")
            rows.append(_masks(case.id, name, value, reference, distance, limit))
        else:
            bound = limit if "logits" in name else plain
            rows.append(_values(case.id, name, value, reference, bound))
    return rows


def _limit(case: Case, precision: str) -> Limit:
    """float32 is held to the same limits whatever the weights; the rounding of other precisions
    grows with the logits, which are of size 1 where the weights are the formula's."""
    if not case.weights or precision == "fp32":
        return LIMITS[precision]
    logits = [a for n, a in case.reference.items() if n.startswith("low_res_logits")]
    rms = float(np.sqrt(np.mean(np.square(np.concatenate(logits), dtype=np.float64))))
    return LIMITS[precision].scaled(rms)


def _exact(case: str, name: str, same: bool) -> Row:
    return Row(case, name, 0.0 if same else float("inf"), 0.0, same, "" if same else "differs")


def _values(
    case: str, name: str, value: NDArray[Any], reference: NDArray[Any], limit: Limit
) -> Row:
    if NUMBERED.sub("", name) in EXACT:
        return _exact(case, name, bool(np.array_equal(value, reference)))
    difference = np.abs(value.astype(np.float64) - reference.astype(np.float64))
    bound = limit.logits
    if "rel_pos" in name:
        bound = TABLE
    elif "embedding" in name:
        bound = limit.embedding
    elif name == "trace_values":  # activations of any size: relative to each row's largest
        difference /= np.maximum(np.abs(reference).max(axis=1, keepdims=True), 1.0)
    error = float(difference.max(initial=0.0))
    passed = bool(error <= bound)  # False for NaN
    return Row(case, name, error if np.isfinite(error) else float("inf"), bound, passed)


def _masks(
    case: str,
    name: str,
    value: NDArray[Any],
    reference: NDArray[Any],
    distance: NDArray[Any] | None,
    limit: Limit,
) -> Row:
    differs = value != reference
    share = float(differs.mean())
    far = 0
    if distance is not None:
        far = int((differs & (distance > limit.near_zero)).sum())
    remark = f"{far} pixels differ far from the threshold" if far else ""
    return Row(case, name, share, limit.flipped, share <= limit.flipped and not far, remark)


def table(rows: list[Row]) -> str:
    """Rows as aligned text."""
    head = f"{'case':<34} {'array':<42} {'error':>9} {'limit':>9} {'margin':>9}"
    lines = [head]
    for row in rows:
        verdict = "" if row.passed else "  FAILED" + (f": {row.remark}" if row.remark else "")
        margin = f"{row.margin:9.1f}" if np.isfinite(row.margin) else f"{'-':>9}"
        lines.append(
            f"{row.case:<34} {row.array:<42} {row.error:9.2e} {row.limit:9.2e} {margin}{verdict}"
        )
    return "\n".join(lines)
