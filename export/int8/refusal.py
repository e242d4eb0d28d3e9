"""Why INT8 was refused, and what is worth trying: never what was tried just now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from samedge._wording import spoken
from samedge.bundle import ParityRow
from samedge.runtime.precision import SELF_TEST

ENOUGH = 32  # frames; with fewer, more of them are the first thing to try


def refusal(record: Mapping[str, Any], row: ParityRow | None, worst_layers: str, page: str) -> str:
    """A message for the user.

    Args:
        record: of the calibration, see `make_record`.
        row: of the parity gate on the self-test frames; None if it was not run.
        worst_layers: those that hurt most.
        page: name of the report in the bundle.
    """
    kept = sum(bool(layer["kept"]) for layer in record["layers"])
    return (
        f"parity failed in INT8: {'; '.join(_failures(record, row))}. That is with {kept} of "
        f"{len(record['layers'])} layers left in higher precision; those that hurt most are "
        f"{worst_layers}. The bundle was written with half precision in its place and serves as "
        f"it is; its {page} has all layers. For INT8 {_advice(record)}"
    )


def _failures(record: Mapping[str, Any], row: ParityRow | None) -> Iterator[str]:
    """Each limit that was missed, with what was found."""
    agreement, bound = record["agreement"], record["bound"]
    if agreement["dice"] < bound["min_dice"]:
        yield (
            f"masks overlap with those of float32 by {_below(agreement['dice'])} on average (Dice, "
            f"{agreement['masks']} masks; the limit of the mean is {bound['min_dice']:g})"
        )
    worst = agreement["worst"]
    if worst is not None and bound["each"] and worst["dice"] < worst["limit"]:
        yield (
            f"the worst mask, on {worst['frame']}, overlaps with that of float32 by "
            f"{_below(worst['dice'])} (Dice; the limit of each mask is {_below(worst['limit'])})"
        )
    if row is not None and not row.passed:
        yield (
            f"on the self-test frames the logits differ by up to {row.max_logit_error:.2e} (limit "
            f"{row.limit:.2e}), the scores by {row.score_error:.2e}, {row.flipped:.2%} of the mask "
            f"pixels (limit {row.flipped_limit:.2%}), and the worst mask has a Dice of "
            f"{_below(row.dice)} (limit {row.dice_limit:g}, less for small masks)"
        )


def _below(value: float) -> str:
    """Four digits, cut off: rounding must not lift a value to the limit that it missed."""
    return f"{int(value * 1e4) / 1e4:.4f}"


def _advice(record: Mapping[str, Any]) -> str:
    used, offered = record["frames"], record["frames_offered"]
    if record["source"] == SELF_TEST:
        how = spoken("calibration=FRAMES", "--calibration with a folder, a video or a DICOM file")
        return (
            f"calibrate with frames that the model will see ({how}); the self-test "
            "frames, which served here, are few and synthetic"
        )
    if offered > used:
        more = min(offered, 2 * used)
        how = spoken(
            f"choose_frames(frames, family, limit={more}) of samedge.export.int8.calibration_data",
            f"--calibration-frames {more}",
        )
        first = f"take more of the {offered} frames: {how}"
    elif used < ENOUGH:
        first = (
            f"give more than these {used} frames: a folder with those of several loops, "
            f"{2 * ENOUGH} or more"
        )
    else:
        first = "give frames of other loops and settings as well, in a folder with these"
    unlike = " (these do not look like ultrasound: see the warnings)" if record["warnings"] else ""
    return (
        f"{first}{unlike}; the same frames give the same result. Otherwise leave INT8 out: "
        "bf16 needs no graph of its own where the processor has it, and fp16 is for NVIDIA GPUs"
    )
