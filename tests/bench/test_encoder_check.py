"""No encoder is timed unless it computes what the eager one does, and its share of the peak."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from samedge.bench.contenders.eager import synthetic_samus
from samedge.bench.contenders.encoders import Embedding, Encoder
from samedge.bench.contenders.plain import export_plain
from samedge.bench.contenders.products import plain_products
from samedge.bench.encoder import SHARE, checked, compare, with_shares
from samedge.bench.measurement import measured_report
from samedge.bench.schedule import Plan
from tests.bench.clocks import FakeClock

REFERENCE = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)


def test_errors_are_reported() -> None:
    found = compare(REFERENCE + np.float32(1e-5), REFERENCE, "fp32")
    assert found["passed"]
    assert found["max_error"] == pytest.approx(1e-5, rel=0.1)


def test_bf16_may_be_farther_off() -> None:
    other = REFERENCE * np.float32(1.01)
    assert compare(other, REFERENCE, "bf16")["passed"]
    assert not compare(other, REFERENCE, "fp32")["passed"]


def test_nan_is_red() -> None:
    other = REFERENCE.copy()
    other[0, 0, 0, 0] = np.nan
    assert not compare(other, REFERENCE, "bf16")["passed"]


def encoder(
    name: str,
    clock: FakeClock,
    milliseconds: float,
    embedding: Embedding = REFERENCE,
    plain: str = "",
    gflop: Mapping[str, float] | None = None,
) -> Encoder:
    def call(_: int) -> None:
        clock.time += milliseconds / 1e3

    return Encoder(
        name,
        "engine",
        "bf16",
        gflop or {"bf16": 100.0},
        call,
        lambda: embedding,
        baseline=name != "ours",
        plain=plain,
    )


def test_a_wrong_one_is_freed_and_not_called() -> None:
    freed: list[str] = []
    clock = FakeClock()
    right = encoder("right", clock, 5)
    wrong = Encoder(
        "wrong", "engine", "bf16", call=pytest.fail,
        embedding=lambda: REFERENCE * np.float32(2), close=lambda: freed.append("wrong"),
    )  # fmt: skip
    absent = Encoder("absent", "engine", "bf16", refused="there is no compiler")
    report = measured_report("t", checked([right, wrong, absent]), Plan(2, 2), clock=clock)
    assert freed == ["wrong"]
    assert set(report.row("right").modes) == {"flat out"}
    assert "something else than the eager encoder (RMS ratio 1.00e+00, limit 0.05)" in (
        report.row("wrong").refused
    )
    assert report.row("absent").refused == "there is no compiler"
    assert not report.row("wrong").modes


def test_share_of_the_peak_and_ratio_to_the_plain_export() -> None:
    clock = FakeClock()
    encoders = [
        encoder("eager", clock, 400),
        encoder("plain", clock, 200),
        encoder("ours", clock, 100, plain="plain", gflop={"int8": 100.0, "bf16": 20.0}),
    ]
    report = measured_report("t", checked(encoders), Plan(5, 1), clock=clock)
    report = with_shares(report, encoders, {"int8": 4000.0, "bf16": 1000.0})
    ours = report.row("ours")
    # 25 ms in int8 and 20 ms in bf16, of 100 ms.
    assert ours.extra == {"gflop": 120.0, SHARE: pytest.approx(0.45)}
    assert report.row("plain").extra[SHARE] == pytest.approx(0.5)
    assert [other.name for other in report.yardsticks(ours)] == ["plain", "eager"]


def test_operations_of_the_plain_export_are_those_of_pytorch(tmp_path: Path) -> None:
    model = synthetic_samus("tiny").requires_grad_(False)
    size = model.config.img_size
    x = torch.zeros(1, model.input_channels[-1], size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.image_encoder(x)
    found = plain_products(export_plain(model.image_encoder, x, tmp_path / "plain.onnx"))
    assert found == {"float": pytest.approx(counter.get_total_flops() * 1e-9, rel=1e-6), "int8": 0}
