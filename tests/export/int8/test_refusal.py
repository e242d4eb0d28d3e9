"""What is said of an INT8 that was refused: the limit that failed, and advice that is new."""

from __future__ import annotations

from typing import Any

import pytest

from samedge._wording import command_line
from samedge.bundle import ParityRow
from samedge.export.int8.calibration_data import choose_frames
from samedge.export.int8.duration import Duration, about
from samedge.export.int8.refusal import refusal
from samedge.families import FAMILIES
from tests.export.int8.cases import ultrasound


def record(**changes: Any) -> dict[str, Any]:
    """Of a calibration with 64 of 64 frames whose masks agree."""
    worst = {"frame": "calibration frame 7", "dice": 0.98, "limit": 0.97}
    agreement = {"dice": 0.995, "worst_dice": 0.98, "masks": 28, "worst": worst}
    made: dict[str, Any] = {
        "frames": 64, "frames_offered": 64, "source": "folder", "warnings": [],
        "agreement": agreement, "bound": {"min_dice": 0.99, "each": True},
        "layers": [{"name": "a", "kept": "x"}, {"name": "b", "kept": ""}],
    }  # fmt: skip
    for name, value in changes.items():
        made[name] = {**made[name], **value} if isinstance(value, dict) else value
    return made


def said(made: dict[str, Any], row: ParityRow | None = None) -> str:
    return refusal(made, row, "a (1.7%)", "page.html")


def test_the_mean() -> None:
    text = said(record(agreement={"dice": 0.98996}))
    assert "by 0.9899 on average" in text  # 0.9900 would keep the limit
    assert "the limit of the mean is 0.99)" in text
    assert "0.97" not in text
    assert "1 of 2 layers" in text
    assert "a (1.7%)" in text


def test_the_worst_mask_is_named_with_its_own_limit() -> None:
    worst = {"frame": "self-test frame 'apical'", "dice": 0.9646, "limit": 0.97}
    text = said(record(agreement={"worst": worst}))
    assert "self-test frame 'apical'" in text
    assert "0.9646" in text
    assert "the limit of each mask is 0.9700" in text
    assert "mean" not in text
    assert "0.99" not in text


def test_what_the_gate_measured() -> None:
    numbers = {"max_logit_error": 3.5, "limit": 0.5, "dice": 0.98, "dice_limit": 0.97}
    numbers |= {"score_error": 0.1, "flipped": 0.001, "flipped_limit": 0.02}
    row = ParityRow(backend="openvino", precision="int8", passed=False, **numbers)
    text = said(record(), row)
    assert "3.50e+00 (limit 5.00e-01)" in text
    assert "mean" not in text


@pytest.mark.parametrize(
    ("changes", "advised", "never"),
    [
        (
            {"source": "self-test", "frames": 3, "frames_offered": 3},
            "--calibration with a folder",
            "same",
        ),
        ({"frames_offered": 500}, "more of the 500 frames: --calibration-frames 128", "folder"),
        ({"frames_offered": 70}, "--calibration-frames 70", "folder"),
        ({"frames": 30, "frames_offered": 30}, "more than these 30 frames", "--calibration"),
        ({}, "other loops and settings", "--calibration"),
        ({"warnings": ["coloured"]}, "do not look like ultrasound", "--calibration"),
    ],
)
def test_advice_goes_by_what_was_given(changes: Any, advised: str, never: str) -> None:
    with command_line():
        text = said(record(agreement={"dice": 0.9}, **changes))
    advice = text.partition("For INT8 ")[2]
    assert advised in advice
    assert never not in advice.replace("the same frames give the same result", "")
    if changes.get("source") != "self-test":
        assert "bf16 needs no graph" in advice


def test_from_python_it_speaks_python() -> None:
    assert "calibration=FRAMES" in said(record(agreement={"dice": 0.9}, source="self-test"))
    text = said(record(agreement={"dice": 0.9}, frames_offered=500))
    assert "choose_frames(frames, family, limit=128)" in text
    assert "--" not in text


def test_frames_are_named_by_their_place_in_the_source() -> None:
    data = choose_frames(ultrasound(40, 20), FAMILIES["samus"], "folder", limit=4)
    assert data.offered == 40
    assert data.names()[0] == "calibration frame 0"
    assert data.numbers == (0, 8, 16, 24)


def test_how_long_it_takes_goes_by_passes() -> None:
    """SAMUS ViT-B with 64 frames, in round numbers."""
    work = Duration(4.0, 1.0, layers=72, probes=2, frames=64, rounds=5, questions=15, attempts=6)
    assert work.seconds(1) == 64 * 3 + 5 * 4 + 73 * 6 + 2 * 19
    assert str(work) == (
        "about 11 min to 13 min (72 layers, 64 frames; a pass of the encoder takes 1 s, compiling "
        "it 4 s)"
    )
    known = Duration(4.0, 1.0, layers=72, probes=2, frames=0, rounds=5, questions=15, attempts=6)
    assert known.seconds(1) == 73 * 6 + 2 * 19
    assert "frames" not in str(known)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1, "5 s"),
        (42, "40 s"),
        (89, "90 s"),
        (100, "1.5 min"),
        (400, "6.5 min"),
        (1080, "18 min"),
    ],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert about(seconds) == text
