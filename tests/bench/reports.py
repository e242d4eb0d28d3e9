"""Invented reports: latencies as a test says, everything else plausible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from samedge.bench.report.values import Layer, Mode, Report, Row
from samedge.bench.schedule import FLAT, PACED

MACHINE: dict[str, Any] = {
    "samedge": "0.1.0",
    "cpu": {
        "model": "Imagined CPU 9000",
        "features": ["avx2", "avx512", "amx_bf16"],
        "physical_cores": 8,
        "logical_cores": 16,
        "governor": "performance",
    },
    "memory": {"total_mb": 32000, "available_mb": 20000},
    "nvidia": {"gpus": [{"name": "Imagined GPU"}]},
}
_STAGES = {"preprocess": 0.08, "encode": 0.8, "decode": 0.1}


def mode(
    ms: float,
    rounds: int = 10,
    frames: int = 10,
    spread: float = 0.05,
    stalls: Mapping[int, float] | None = None,
    wait_ms: float = 0.0,
    period_ms: float | None = None,
    seed: int = 0,
    stages: bool = True,
    joules: bool = False,
) -> Mode:
    """Frames around `ms`.

    Args:
        ms: median.
        rounds, frames: blocks, and frames of each.
        spread: standard deviation of the latencies' logarithms.
        stalls: number of a frame -> milliseconds more; of that frame alone.
        wait_ms: of every frame, before the work on it.
        period_ms: between frames; None for flat out.
        seed: of the noise.
        stages: whether the contender tells them.
        joules: whether the machine tells them, at 20 W.
    """
    service = ms * np.exp(spread * np.random.default_rng(seed).standard_normal((rounds, frames)))
    for number, more in (stalls or {}).items():
        service.flat[number] += more
    latency = service + wait_ms
    gaps = latency if period_ms is None else np.full_like(latency, period_ms)
    at = (np.cumsum(gaps).reshape(latency.shape) - gaps) / 1e3
    seconds = gaps.sum(axis=1) / 1e3
    return Mode(
        _blocks(latency),
        _blocks(service),
        _blocks(at),
        {name: _blocks(service * part) for name, part in _STAGES.items()} if stages else {},
        tuple(seconds.tolist()),
        tuple((20 * seconds).tolist()) if joules else None,
    )


def row(name: str, flat: Mode | None = None, paced: Mode | None = None, **fields: Any) -> Row:
    """A row with those modes."""
    modes = {kind: found for kind, found in ((FLAT, flat), (PACED, paced)) if found is not None}
    return Row(name, modes={**modes, **fields.pop("modes", {})}, **fields)


def report(rows: Sequence[Row], fps: float | None = 30.0, **fields: Any) -> Report:
    """A report of those rows."""
    plan = {"rounds": 10, "frames": 10, "fps": fps, "modes": [FLAT, PACED], "pause_s": 0.05}
    given: dict[str, Any] = {
        "title": "demo bundle",
        "machine": MACHINE,
        "condition": {"warnings": []},
        "plan": plan,
        "source": "synthetic ultrasound",
        "command": "samedge bench demo.samedge --fps 30",
        "made": "2026-01-02T03:04:05Z",
        "overhead_us": 0.4,
    }
    return Report(rows=tuple(rows), **{**given, **fields})


def full() -> Report:
    """Of everything something: modes, baselines, layers, a refused row, warnings."""
    load = {
        "cold": {"start_s": 2.1, "load_s": 1.4, "first_frame_ms": 40.0, "peak_mb": 700.0},
        "warm": {"start_s": 0.6, "load_s": 0.2, "first_frame_ms": 31.0, "resident_mb": 512.0},
    }
    fast = row(
        "demo openvino bf16 2 threads",
        mode(12.0, joules=True),
        mode(15.0, stalls={40: 60.0}, wait_ms=0.2, period_ms=1e3 / 30, seed=1),
        about={"bundle": "demo", "backend": "openvino", "precision": "bf16", "threads": 2},
        load=load,
        extra={"share of peak": 0.77, "device_mb": 300},
        notes=("latencies had not settled",),
    )
    plain = row(
        "demo openvino fp32 2 threads",
        mode(24.0, seed=2),
        mode(26.0, seed=3, period_ms=1e3 / 30),
        about={"bundle": "demo", "backend": "openvino", "precision": "fp32", "threads": 2},
    )
    eager = row("eager PyTorch", mode(60.0, seed=4, stages=False), baseline=True)
    wrong = Row("demo openvino int8 2 threads", refused="largest logit error 3.1, limit 0.5")
    layers = (
        Layer(fast.name, "encoder", "blocks.0.attn.qkv", "MatMul", "brgemm_avx512_amx", 3.0),
        Layer(fast.name, "encoder", "blocks.0.mlp", "MatMul", "brgemm_avx512_amx", 4.0),
        Layer(fast.name, "encoder", "norm", "MVN", "jit_avx512", 0.5),
        Layer(fast.name, "decoder", "up", "Convolution", "jit_avx512", 0.7),
    )
    return report(
        [fast, plain, eager, wrong],
        layers=layers,
        condition={"warnings": ["other processes took 40 % of the CPU"]},
        notes=("sessions share one process",),
    )


def small() -> Report:
    """`full` with few frames, which is quick to show: ratios of two rounds have no bounds."""
    found = full()
    rows = tuple(
        replace(
            one, modes={name: mode(10.0, rounds=2, frames=3, joules=True) for name in one.modes}
        )
        for one in found.rows
    )
    return replace(found, rows=rows)


def _blocks(values: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(block) for block in values.tolist())
