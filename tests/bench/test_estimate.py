"""`samedge estimate`: what is counted, that it bounds, and that every figure has a source."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from samedge.bench.estimate import command as estimate_command
from samedge.bench.estimate.bound import Bound, bounds, measured_bounds
from samedge.bench.estimate.devices import BY_NAME, DEVICES, PRECISIONS, Device
from samedge.bench.estimate.work import Part, work_of
from samedge.bench.families import configs
from samedge.bench.peak import Peak
from samedge.cli import run
from samedge.errors import NotSupportedError
from samedge.fold.sizes import folded_sizes, unfolded_sizes
from tests.packaging.tree import ROOT

PAGE = ROOT / "docs" / "estimate.md"
MAKER = runpy.run_path(str(ROOT / "docs" / "make_estimate.py"))
TINY = ROOT / "tests" / "data" / "tiny.samedge"


@pytest.fixture(scope="module")
def work() -> Callable[[str], dict[str, Part]]:
    """Of an official network, counted once for all tests."""

    def count(name: str) -> dict[str, Part]:
        return work_of(folded_sizes(unfolded_sizes(configs()[name][1]())))

    return cache(count)


def test_products_of_sam_by_hand(work: Callable[[str], dict[str, Part]]) -> None:
    """ViT-B at 1024 px: 12 blocks, of which 4 are global, and windows of 14 x 14."""
    tokens, dim, heads, head = 64 * 64, 768, 12, 64
    patch = 2 * tokens * dim * (16 * 16 * 3)
    linear = 12 * 2 * tokens * dim * (3 * dim + dim + 2 * 4 * dim)
    attention = 2 * 2 * tokens * dim * (4 * tokens + 8 * 14 * 14)
    positions = 2 * 2 * tokens * heads * head * (4 * 64 + 8 * 14)
    conv = 2 * tokens * 256 * 256 * 9
    neck = 2 * tokens * dim * 256 + conv
    encoder = work("sam")["encoder"]
    assert encoder.flops == patch + linear + attention + positions + neck
    assert encoder.convolutions == conv


def test_products_of_samus_are_those_of_the_page_on_folding(
    work: Callable[[str], dict[str, Part]],
) -> None:
    text = (ROOT / "docs" / "folding.md").read_text()
    made = work("samus")
    assert f"| {made['encoder'].flops / 1e9:.1f} GFLOP |" in text
    assert f"| {made['decoder'].flops / 1e9:.3f} GFLOP |" in text


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_rates_are_those_that_vendors_quote(device: Device) -> None:
    fastest = device.modes[0]
    for quote in device.quotes:
        rate = device.ops_per_s(fastest, quote.precision)
        assert rate is not None
        if quote.mhz:
            rate *= quote.mhz / fastest.mhz.value
        assert rate * (2 if quote.sparse else 1) / 1e12 == pytest.approx(quote.tera, rel=0.03)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_every_figure_has_a_source_and_the_first_mode_is_the_fastest(device: Device) -> None:
    assert device.architecture.source
    assert all(figure.source and figure.value > 0 for figure in device.figures)
    assert all(quote.source for quote in device.quotes)
    assert set(device.architecture.ops) <= set(PRECISIONS)
    rates = [device.ops_per_s(mode, "fp16") or 0 for mode in device.modes]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_bounds_are_what_the_roofline_says(
    device: Device, work: Callable[[str], dict[str, Part]]
) -> None:
    made = work("samus")
    found = {(b.mode, b.precision): b for b in bounds(made, device)}
    whole = made["encoder"] + made["decoder"]
    for mode in device.modes:
        for precision in device.architecture.ops:
            bound = found[mode.name, precision]
            rate = device.ops_per_s(mode, precision) or 0
            read = whole.weights * PRECISIONS[precision] - device.cache_mb.value * 1e6
            assert bound.compute_ms == pytest.approx(whole.least_flops / rate * 1e3)
            assert bound.weights_ms == pytest.approx(max(0, read) / mode.gb_s.value / 1e6)
            assert bound.ms == max(bound.compute_ms, bound.weights_ms or 0)
            assert bound.encoder_ms + bound.decoder_ms == pytest.approx(bound.compute_ms)
            assert bound.fps == pytest.approx(1e3 / bound.ms)
        # Fewer bits are never slower, and neither is a faster mode.
        order = [p for p in ("fp32", "tf32", "fp16", "int8") if p in device.architecture.ops]
        times = [found[mode.name, p].ms for p in order]
        assert times == sorted(times, reverse=True)
        assert found[mode.name, "fp16"].ms >= found[device.modes[0].name, "fp16"].ms


def test_more_work_and_lower_clocks_take_longer(work: Callable[[str], dict[str, Part]]) -> None:
    device = BY_NAME["rtx-a4000"]
    small = bounds(work("samus"), device, ["fp16"])[0]
    assert bounds(work("sam"), device, ["fp16"])[0].ms > small.ms
    half = bounds(work("samus"), device, ["fp16"], mhz=device.modes[0].mhz.value / 2)
    assert [bound.compute_ms for bound in half] == [pytest.approx(2 * small.compute_ms)]


def test_winograd_is_given_to_convolutions_alone() -> None:
    part = Part(flops=100, convolutions=40, weights=1, moved=1)
    assert part.least_flops == 70
    assert Part(100, 0, 1, 1).least_flops == 100


def test_weights_may_be_the_limit() -> None:
    work = {"encoder": Part(10**6, 0, 10**9, 10**9), "decoder": Part(0, 0, 0, 0)}
    bound = bounds(work, BY_NAME["orin-nano"], ["fp16"])[0]
    assert bound.limit == "weights"
    assert bound.ms == bound.weights_ms
    small = {**work, "encoder": Part(10**9, 0, 10**6, 10**6)}
    assert bounds(small, BY_NAME["orin-nano"], ["fp16"])[0].limit == "products"


def test_a_precision_that_a_device_has_not() -> None:
    with pytest.raises(NotSupportedError, match=r"RTX A4000 has no units for fp8.*fp16"):
        bounds({"encoder": Part(1, 0, 1, 1), "decoder": Part(1, 0, 1, 1)}, BY_NAME["rtx-a4000"],
               ["fp8"])  # fmt: skip


def test_a_measured_processor_has_no_memory() -> None:
    work = {"encoder": Part(3 * 10**9, 0, 1, 1), "decoder": Part(10**9, 0, 1, 1)}
    found = measured_bounds(work, "a processor", {"fp32": 400.0})
    assert [(b.ms, b.weights_ms, b.limit) for b in found] == [(pytest.approx(10), None, "products")]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "estimate.json"
    asked = ["--device", "orin-nano", "--device", "h100", "--precision", "int8", "--sources"]
    assert run(["estimate", str(TINY), *asked, "-o", str(report)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("A bound and no prediction")
    assert "not faster than, ms" in text
    assert "nvpmodel" in text
    network, devices, sources = json.loads(report.read_text())["tables"]
    assert [row["part"] for row in network["rows"]] == ["encoder", "decoder", "frame"]
    assert {row["precision"] for row in devices["rows"]} == {"int8"}
    modes = [mode.name for name in ("orin-nano", "h100") for mode in BY_NAME[name].modes]
    assert [row["mode"] for row in devices["rows"]] == modes
    assert all(row["source"] for row in sources["rows"])


def test_this_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(precision: str, threads: int, _seconds: float) -> Peak:
        return Peak(precision, threads, 100.0, "a way", {})

    monkeypatch.setattr(estimate_command, "peak_gops", peak)
    monkeypatch.setattr(estimate_command, "native_precisions", lambda: ["fp32", "int8"])
    assert run(["estimate", str(TINY), "--device", "here", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["precision"] for row in found["tables"][1]["rows"]] == ["fp32", "int8"]
    assert "This machine, int8: 100 GFLOP/s by a way" in found["notes"]
    assert run(["estimate", str(TINY), "--device", "here", "--precision", "fp8"]) == 4
    assert "add --precision fp32" in capsys.readouterr().err


def test_a_processor_computes_at_least_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_command, "openvino_devices", lambda: {"error": "broken"})
    assert estimate_command.native_precisions() == ["fp32"]
    here = {"devices": [{"device": "CPU", "native": ["fp32", "bf16"]},
                        {"device": "GPU", "native": ["fp16"]}]}  # fmt: skip
    monkeypatch.setattr(estimate_command, "openvino_devices", lambda: here)
    assert estimate_command.native_precisions() == ["fp32", "bf16"]


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", str(TINY), "--device", "orin-nno"]) == 2
    assert "orin-nano" in capsys.readouterr().err
    assert run(["estimate", str(TINY), "--mhz", "1000"]) == 2
    assert "--device" in capsys.readouterr().err


def test_the_page_is_current(work: Callable[[str], dict[str, Part]]) -> None:
    """The tables of devices, and the bounds of SAMUS and SAM."""
    text = PAGE.read_text()
    made = {f"{configs()[name][0]} ViT-B": work(name) for name in MAKER["NETWORKS"]}
    assert MAKER["document"](text, made) == text, "run: python docs/make_estimate.py"


def test_plain_values() -> None:
    bound = Bound("a", "", "fp16", 1000, 2.0, 1.5, 0.5, 1.0, 3.0)
    assert bound.to_json()["ms"] == 2.0
    assert json.loads(json.dumps(bound.to_json()))["limit"] == "products"
